from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.errors import ModelNotFoundError, SettingsError, WeightsError
from core.types import Detections
from models.detector import Detector, load_detector
from models.engine import Execution
from models.network import create_detector_network
from models.one_stage import OneStageDetector
from models.weights import WeightsEntry, save_checkpoint
from tests.clips import numbered_picture
from tests.fakes import TINY_CATEGORIES, save_tiny_detector
from tests.models.networks import stir_batch_norms
from tests.models.precision import needs_bf16


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_detector(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def detector(weights: Path) -> Detector:
    return load_detector(weights, device="cpu", precision="fp32")


def pictures() -> list[NDArray[np.uint8]]:
    """Landscape, portrait, square, larger and smaller than the canvas."""
    sizes = [(320, 240), (240, 320), (256, 256), (1280, 720), (100, 80), (320, 240)]
    return [numbered_picture(number * 11, (max(w, 200), h)) for number, (w, h) in enumerate(sizes)]


def assert_same(left: Detections, right: Detections) -> None:
    assert left.labels.tolist() == right.labels.tolist()
    np.testing.assert_allclose(left.scores, right.scores, atol=1e-4)
    np.testing.assert_allclose(left.boxes, right.boxes, atol=0.05)


def test_a_detector_tells_what_it_is(detector: Detector) -> None:
    assert detector.name == "tiny"
    assert detector.categories == TINY_CATEGORIES
    assert len(detector.sha256) == 64
    assert detector.score_threshold == 0.3


def test_it_finds_objects_inside_each_picture_best_first(detector: Detector) -> None:
    found = detector.predict(pictures())
    assert sum(len(single) for single in found) > 10
    for picture, single in zip(pictures(), found, strict=True):
        height, width = picture.shape[:2]
        assert (single.boxes >= 0).all()
        assert (single.boxes[:, [0, 2]] <= width).all()
        assert (single.boxes[:, [1, 3]] <= height).all()
        assert (single.boxes[:, 2:] > single.boxes[:, :2]).all()
        assert (np.diff(single.scores) <= 0).all()
        assert (single.scores >= detector.score_threshold).all()


def test_what_is_found_does_not_depend_on_the_rest_of_the_batch(detector: Detector) -> None:
    together = detector.predict(pictures())
    for picture, single in zip(pictures(), together, strict=True):
        assert_same(detector.predict([picture])[0], single)


def test_an_empty_batch_is_fine(detector: Detector) -> None:
    assert detector.predict([]) == []


def test_a_picture_twice_the_size_has_boxes_twice_the_size(weights: Path) -> None:
    detector = load_detector(weights, device="cpu", precision="fp32")
    small = numbered_picture(5, (256, 192))
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    first, second = detector.predict([small])[0], detector.predict([large])[0]
    assert len(first) > 0
    np.testing.assert_allclose(second.boxes, first.boxes * 2, atol=1.0)


def test_the_threshold_can_be_given(weights: Path) -> None:
    strict = load_detector(weights, precision="fp32", score_threshold=0.9)
    assert strict.score_threshold == 0.9
    assert all((single.scores >= 0.9).all() for single in strict.predict(pictures()))
    with pytest.raises(SettingsError, match="expected 0 to 1"):
        load_detector(weights, score_threshold=1.5)


def test_the_canvas_can_be_given(weights: Path, tmp_path: Path) -> None:
    large = load_detector(
        save_tiny_detector(tmp_path / "large.safetensors", canvas=(256, 160)), "cpu", "fp32"
    )
    given = load_detector(weights, "cpu", "fp32", canvas=(256, 160))
    own = load_detector(weights, "cpu", "fp32")
    picture = numbered_picture(7, (640, 480))
    assert_same(given.predict([picture])[0], large.predict([picture])[0])
    assert len(given.predict([picture])[0]) != len(own.predict([picture])[0])


@needs_bf16
def test_bfloat16_sees_nearly_the_same(weights: Path, detector: Detector) -> None:
    reduced = load_detector(weights, precision="bf16")
    picture = numbered_picture(5)
    exact, near = detector.predict([picture])[0], reduced.predict([picture])[0]
    assert abs(float(exact.scores[0]) - float(near.scores[0])) < 0.1
    np.testing.assert_allclose(near.boxes[0], exact.boxes[0], atol=8)


@pytest.mark.parametrize(
    ("backbone", "neck"),
    [("dpn48b", "csp"), ("resnet18", "fpn_p6"), ("resnet50_thin", "fpn")],
)
def test_a_saved_network_detects_what_it_detected_in_memory(backbone: str, neck: str, tmp_path: Path) -> None:
    network = create_detector_network(backbone, neck, num_classes=2, neck_channels=16)
    torch.nn.init.constant_(network.head.class_logits.bias, -2.0)
    entry = WeightsEntry(
        "yard",
        network.architecture,
        ("person", "car"),
        canvas=(128, 128),
        score_threshold=0.05,
        licence="none",
        source="a test",
        normalization=network.normalize.normalization,
    )
    stir_batch_norms(network).half().float()  # numbers that the file holds without rounding
    save_checkpoint(tmp_path / "yard.safetensors", network, entry)
    loaded = load_detector(tmp_path / "yard.safetensors", device="cpu", precision="fp32")
    in_memory = OneStageDetector(network, entry, Execution(torch.device("cpu"), torch.float32))
    picture = numbered_picture(3)
    best = np.arange(3)  # further down, scores are equal but for rounding, and their order chance
    found = loaded.predict([picture])[0].select(best)
    assert len(found) > 0
    assert_same(found, in_memory.predict([picture])[0].select(best))


def test_warming_up_runs_the_whole_batch(detector: OneStageDetector) -> None:
    batches: list[int] = []
    hook = detector.engine._network.register_forward_pre_hook(
        lambda _, inputs: batches.append(len(inputs[0]))
    )
    detector.warm_up(3)
    hook.remove()
    assert batches == [3]


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError, match=r"expected one of resnet50_thin_fpn.*got 'resnet5'"):
        load_detector("resnet5")


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="check the path"):
        load_detector(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="check the path"):
        load_detector(tmp_path / "none.pth")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    for name in ("evil.pth", "evil.safetensors", "evil.bin"):
        torch.save(torch.nn.Linear(1, 1), tmp_path / name)
        with pytest.raises(WeightsError):
            load_detector(tmp_path / name)


def test_a_torch_file_of_no_known_detector_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="torchvision's detectors, got other weights"):
        load_detector(tmp_path / "other.pth")
