"""Detectors from ONNX files of `models.export`."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from core.errors import SettingsError, WeightsError
from core.types import Size
from models.catalogue import CARD_KEY, WeightsEntry, decode_card, file_sha256
from models.network import Predictions
from models.one_stage import CanvasDetector
from models.onnx_runtimes import PRECISION_KEY, OnnxFile, Port, open_onnx

MULTIPLE_KEY = "framewatch.multiple"
"""Key of the number that a picture's width and height are multiples of, in pixels."""
INPUT = "pictures"
"""uint8 (B, H, W, 3), BGR."""
OUTPUTS = ("logits", "boxes")
"""float32 (B, A, K) and (B, A, 4), as in `models.network.Predictions`."""


class OnnxEngine:
    """A network from an ONNX file; pictures come through host memory, wherever it computes."""

    def __init__(self, file: OnnxFile, multiple: int) -> None:
        self.device = torch.device("cpu")
        self.multiple = multiple
        self._file = file

    def __call__(self, pictures: Tensor) -> Predictions:
        """Predictions for BGR pictures, uint8 (B, H, W, 3)."""
        logits, boxes = self._file.run(pictures.numpy())
        return Predictions(torch.from_numpy(logits), torch.from_numpy(boxes))


class OnnxDetector(CanvasDetector):
    """A detector that came from an ONNX file."""

    def __init__(self, engine: OnnxEngine, entry: WeightsEntry, precision: str) -> None:
        super().__init__(engine, entry)
        self.precision = precision
        """What the file computes in, fp32 or int8."""


def load_onnx_detector(
    path: Path,
    device: str = "auto",
    precision: str = "auto",
    score_threshold: float | None = None,
    canvas: Size | None = None,
) -> OnnxDetector:
    """The detector in a file that `export` or `export_int8` of `models.export` wrote.

    Raises WeightsError for any other file, SettingsError for a device or precision that cannot be had.
    """
    file = open_onnx(path, device)
    entry = _card(path, file)
    held = file.metadata.get(PRECISION_KEY, "fp32")
    if precision not in ("auto", held):
        raise SettingsError(f"precision: an ONNX file runs in the {held} that it holds, got {precision!r}")
    engine = OnnxEngine(file, _multiple(path, file))
    return OnnxDetector(engine, entry.adjusted(score_threshold, canvas), held)


def read_onnx_card(path: Path) -> WeightsEntry:
    """The description inside an ONNX file. Raises WeightsError."""
    return _card(path, open_onnx(path, "cpu"))


def _card(path: Path, file: OnnxFile) -> WeightsEntry:
    text = file.metadata.get(CARD_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: expected weights that describe themselves, got an ONNX file without a {CARD_KEY!r} "
            "entry; write it with `framewatch models export`"
        )
    entry = decode_card(path, text)
    _require_interface(path, file, len(entry.categories))
    return replace(entry, sha256=file_sha256(path))


def _require_interface(path: Path, file: OnnxFile, classes: int) -> None:
    sizes = zip(OUTPUTS, (classes, 4), strict=True)
    outputs = tuple(Port(name, "float32", 3, last) for name, last in sizes)
    if file.inputs != (Port(INPUT, "uint8", 4, 3),) or file.outputs != outputs:
        raise WeightsError(
            f"{path}: expected the network that its description names, uint8 pictures (B, H, W, 3) to "
            f"{' and '.join(OUTPUTS)} of {classes} classes; got {file.inputs} to {file.outputs}"
        )


def _multiple(path: Path, file: OnnxFile) -> int:
    text = file.metadata.get(MULTIPLE_KEY, "")
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise WeightsError(f"{path}: expected {MULTIPLE_KEY!r} to be 1 to 256 pixels, got {text!r}")
    return int(text)
