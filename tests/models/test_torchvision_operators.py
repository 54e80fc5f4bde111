import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.ops import batched_nms

from models import torchvision_operators
from models.postprocess import suppress
from tests.fakes import save_tiny_detector

DETECT = """
import sys
import numpy as np
from models.detector import load_detector
load_detector(sys.argv[1], "cpu", score_threshold=0.01).predict([np.zeros((96, 96, 3), np.uint8)])
sys.exit(", ".join({"torchvision", "torch._dynamo"} & set(sys.modules)) or None)
"""


def test_a_process_that_detects_imports_neither_torchvision_nor_what_comes_with_it(tmp_path: Path) -> None:
    weights = save_tiny_detector(tmp_path / "tiny.safetensors")
    done = subprocess.run([sys.executable, "-c", DETECT, str(weights)], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("number", [0, 1, 40, 3000])
def test_what_remains_is_what_torchvision_leaves(number: int) -> None:
    random = torch.Generator().manual_seed(number)
    corners = 60 * torch.rand(number, 2, generator=random)
    boxes = torch.cat((corners, corners + 60 * torch.rand(number, 2, generator=random) + 1), dim=1)
    scores = torch.rand(number, generator=random)
    groups = torch.randint(0, 4, (number,), generator=random)
    kept = suppress(boxes, scores, groups, 0.5)
    assert number < 2 or 0 < len(kept) < number
    assert torch.equal(kept, batched_nms(boxes.double(), scores.double(), groups, 0.5))


def test_where_the_extension_lies_elsewhere_the_package_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("importlib.import_module", imported.append)
    torchvision_operators._load()
    assert imported == ["torchvision"]
