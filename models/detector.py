"""Detectors: pictures in, objects out. `load_detector` is the way to one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from core.errors import ModelNotFoundError, SettingsError, WeightsError
from core.process_memory import keep_freed_memory
from core.types import Detections, Size
from models.architecture import Architecture
from models.device import choose_device, choose_precision
from models.engine import Execution
from models.network import DetectionNetwork, create_detector_network
from models.one_stage import OneStageDetector
from models.preprocessing import Picture
from models.weights import (
    DEFAULT_WEIGHTS,
    ONNX_SUFFIX,
    WeightsEntry,
    get_weights,
    list_weights,
    load_state_dict,
    read_card,
    read_state_dict,
    weights_file,
)


class Detector(Protocol):
    """Finds objects in pictures; it serves one caller at a time."""

    @property
    def name(self) -> str:
        """Of the weights."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""

    @property
    def sha256(self) -> str:
        """Of the weights file, hexadecimal."""

    @property
    def score_threshold(self) -> float:
        """Least score of what `predict` returns."""

    def predict(self, images: Sequence[Picture]) -> list[Detections]:
        """Objects in each picture, boxes in its own pixels; sizes may differ, and none is fine."""

    def warm_up(self, batch_size: int) -> None:
        """Run once on blank pictures, so that the first real batch does not pay for set-up."""


def load_detector(
    name_or_path: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    *,
    compile: bool = False,
    score_threshold: float | None = None,
    canvas: Size | None = None,
) -> Detector:
    """The detector of a name in the catalogue, or of a weights file; None takes the shipped default.

    A file is a safetensors file of `models.weights.save_checkpoint` or an ONNX file of `models.export`, which
    describe themselves, or a torch file of one of torchvision's three detectors. `precision` is auto, fp32,
    bf16 or fp16; `canvas`, in place of the weights' own, is the width and height that landscape pictures are
    scaled to fit (portrait ones swap them).
    On a CPU the process keeps memory that it frees (`core.process_memory`), which is faster.
    Raises ModelNotFoundError for an unknown name, WeightsError for a file that is damaged, unsafe or of
    another network, SettingsError for a device or precision that is not there.
    """
    if score_threshold is not None and not 0.0 <= score_threshold <= 1.0:
        raise SettingsError(f"score_threshold: expected 0 to 1, got {score_threshold}")
    name = str(name_or_path or DEFAULT_WEIGHTS)
    if name.endswith(ONNX_SUFFIX):
        from models.onnx_detector import load_onnx_detector  # ONNX Runtime is an extra

        return load_onnx_detector(Path(name), device, precision, score_threshold, canvas)
    chosen = choose_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    execution = Execution(chosen, choose_precision(precision, chosen), compile)
    is_known = name in list_weights()
    entry = (get_weights(name) if is_known else read_entry(Path(name))).adjusted(score_threshold, canvas)
    if isinstance(entry.architecture, Architecture):
        return OneStageDetector(_build(entry, weights_file(name)), entry, execution)
    from models.torchvision_detectors import TorchvisionDetector, download

    return TorchvisionDetector(entry, download(entry) if is_known else Path(name), execution)


def read_entry(path: Path) -> WeightsEntry:
    """What is known of the weights in a file; torch files hold those of torchvision's detectors.

    Raises ModelNotFoundError and WeightsError.
    """
    if not path.is_file() and path.suffix not in (".safetensors", ".pth", ".pt"):
        known = ", ".join(list_weights())
        raise ModelNotFoundError(f"model: expected one of {known}, or a weights file; got {str(path)!r}")
    if path.suffix == ".safetensors":
        return read_card(path)
    from models.torchvision_detectors import builder_of

    builder = builder_of(read_state_dict(path))
    if builder is None:
        raise WeightsError(
            f"{path}: expected a torch file of one of torchvision's detectors, got other weights; "
            "save framewatch's own with models.weights.save_checkpoint"
        )
    return replace(get_weights(builder), source=str(path))


def load_network(name_or_path: str | Path) -> tuple[DetectionNetwork, WeightsEntry]:
    """The network of one of framewatch's own detectors as it was trained, and its description.

    Raises ModelNotFoundError for an unknown name, WeightsError for a file that is damaged or of another kind.
    """
    name = str(name_or_path)
    is_known = name in list_weights()
    if not is_known and not name.endswith(".safetensors"):
        known = ", ".join(list_weights())
        raise ModelNotFoundError(f"model: expected one of {known} or a .safetensors file; got {name!r}")
    entry = get_weights(name) if is_known else read_card(Path(name))
    if not isinstance(entry.architecture, Architecture):
        raise WeightsError(f"{name}: expected a network of framewatch's own, got {entry.architecture}")
    return _build(entry, weights_file(name)), entry


def _build(entry: WeightsEntry, path: Path) -> DetectionNetwork:
    assert isinstance(entry.architecture, Architecture)
    parts = entry.architecture
    network = create_detector_network(
        parts.backbone,
        parts.neck,
        parts.num_classes,
        parts.neck_channels,
        normalization=entry.normalization,
    )
    load_state_dict(network, read_state_dict(path))
    return network
