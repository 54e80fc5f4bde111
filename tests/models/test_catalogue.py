import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

from core.errors import ModelNotFoundError, WeightsError
from models import catalogue
from models.architecture import Architecture, TorchvisionArchitecture
from models.catalogue import WeightsEntry, decode_card, encode_card, get_weights, list_weights, read_card
from tests.fakes import save_tiny_detector

ENTRY = WeightsEntry(
    "yard",
    Architecture("dpn68", "fpn", 3, 32),
    ("person", "car", "truck"),
    canvas=(640, 480),
    score_threshold=0.4,
    licence="CC0-1.0",
    source="pictures of a yard",
    exclusive=(("car", "truck"),),
)


def test_a_card_survives_the_way_through_its_file(tmp_path: Path) -> None:
    assert decode_card(tmp_path, encode_card(ENTRY)) == ENTRY


def test_exclusive_categories_share_a_suppression_group() -> None:
    person, car, truck = ENTRY.suppression_groups()
    assert car == truck != person


def test_a_file_describes_itself(tmp_path: Path) -> None:
    entry = read_card(save_tiny_detector(tmp_path / "tiny.safetensors"))
    assert entry.name == "tiny"
    assert entry.architecture == Architecture("resnet18_thin", "fpn", 5, 16)
    assert len(entry.sha256) == 64


@pytest.mark.parametrize("keep", [0, 5, 100, 5000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = save_tiny_detector(tmp_path / "tiny.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"truncated|got another or a part of one"):
        read_card(path)


@pytest.mark.parametrize("content", [b"\x80\x04\x95" + bytes(500), b"hello, this is text\n" * 9, b""])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        read_card(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canvas": [640]}, "canvas"),
        ({"score_threshold": "high"}, "score_threshold"),
        ({"categories": ["person"]}, "a category for each of its network's 3 classes"),
    ],
)
def test_a_broken_card_names_what_is_wrong_with_it(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    card = json.loads(encode_card(ENTRY)) | change
    with pytest.raises(WeightsError, match=message):
        decode_card(tmp_path / "x.safetensors", json.dumps(card))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError, match=r"resnet50_thin_fpn.*fcos_resnet50_fpn.*got 'yolo'"):
        get_weights("yolo")


def test_the_default_comes_first_and_torchvisions_are_there() -> None:
    assert list_weights()[0] == catalogue.DEFAULT_WEIGHTS
    entry = get_weights("fcos_resnet50_fpn")
    assert entry.architecture == TorchvisionArchitecture("fcos_resnet50_fpn")
    assert entry.source == FCOS_ResNet50_FPN_Weights.COCO_V1.url
    gaps = {"__background__", "N/A"}
    assert list(entry.categories) == [
        name for name in FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"] if name not in gaps
    ]


def test_a_shipped_file_that_was_changed_or_removed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="are missing"):
        get_weights(catalogue.DEFAULT_WEIGHTS)
    save_tiny_detector(catalogue.weights_file(catalogue.DEFAULT_WEIGHTS))
    with pytest.raises(WeightsError, match=r"expected sha256 .* the file was changed"):
        get_weights(catalogue.DEFAULT_WEIGHTS)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        catalogue.register_weights("fcos_resnet50_fpn", lambda: replace(ENTRY, name="fcos_resnet50_fpn"))


def test_listing_weights_needs_no_torch() -> None:
    code = "import sys, models.catalogue as c; c.list_weights(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
