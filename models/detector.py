"""Detectors: pictures in, objects out. `load_detector` is the way to one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from core.errors import ModelNotFoundError, SettingsError, WeightsError
from core.process_memory import keep_freed_memory
from core.types import Detections
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
    shipped_file,
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
) -> Detector:
    """The detector of a name in the catalogue, or of a weights file; None takes the shipped default.

    A file is a safetensors file of `models.weights.save_checkpoint` or an ONNX file of `models.export`, which
    describe themselves, or a torch file of one of torchvision's three detectors. `precision` is auto, fp32,
    bf16 or fp16. On a CPU the process keeps memory that it frees (`core.process_memory`), which is faster.
    Raises ModelNotFoundError for an unknown name, WeightsError for a file that is damaged, unsafe or of
    another network, SettingsError for a device or precision that is not there.
    """
    if score_threshold is not None and not 0.0 <= score_threshold <= 1.0:
        raise SettingsError(f"score_threshold: expected 0 to 1, got {score_threshold}")
    name = str(name_or_path or DEFAULT_WEIGHTS)
    if name.endswith(ONNX_SUFFIX):
        from models.onnx_detector import load_onnx_detector  # ONNX Runtime is an extra

        return load_onnx_detector(Path(name), device, precision, score_threshold)
    chosen = choose_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    execution = Execution(chosen, choose_precision(precision, chosen), compile)
    if name in list_weights():
        return _load_known(get_weights(name), execution, score_threshold)
    return _load_file(Path(name), execution, score_threshold)


def _load_known(entry: WeightsEntry, execution: Execution, score_threshold: float | None) -> Detector:
    if isinstance(entry.architecture, Architecture):
        return _one_stage(entry, shipped_file(entry.name), execution, score_threshold)
    from models.torchvision_detectors import TorchvisionDetector, download

    return TorchvisionDetector(entry, download(entry), execution, score_threshold)


def _load_file(path: Path, execution: Execution, score_threshold: float | None) -> Detector:
    if not path.is_file() and path.suffix not in (".safetensors", ".pth", ".pt"):
        known = ", ".join(list_weights())
        raise ModelNotFoundError(f"model: expected one of {known}, or a weights file; got {str(path)!r}")
    if path.suffix == ".safetensors":
        return _one_stage(read_card(path), path, execution, score_threshold)
    from models.torchvision_detectors import TorchvisionDetector, builder_of

    builder = builder_of(read_state_dict(path))
    if builder is None:
        raise WeightsError(
            f"{path}: expected a torch file of one of torchvision's detectors, got other weights; "
            "save framewatch's own with models.weights.save_checkpoint"
        )
    entry = replace(get_weights(builder), source=str(path))
    return TorchvisionDetector(entry, path, execution, score_threshold)


def load_network(name_or_path: str | Path) -> tuple[DetectionNetwork, WeightsEntry]:
    """The network of one of framewatch's own detectors as it was trained, and its description.

    Raises ModelNotFoundError for an unknown name, WeightsError for a file that is damaged or of another kind.
    """
    name = str(name_or_path)
    path = shipped_file(name) if name in list_weights() else Path(name)
    if name not in list_weights() and path.suffix != ".safetensors":
        known = ", ".join(list_weights())
        raise ModelNotFoundError(f"model: expected one of {known} or a .safetensors file; got {name!r}")
    entry = get_weights(name) if name in list_weights() else read_card(path)
    if not isinstance(entry.architecture, Architecture):
        raise WeightsError(f"{name}: expected a network of framewatch's own, got {entry.architecture}")
    return _build(entry, path), entry


def _one_stage(
    entry: WeightsEntry, path: Path, execution: Execution, score_threshold: float | None
) -> OneStageDetector:
    return OneStageDetector(_build(entry, path), entry, execution, score_threshold)


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
