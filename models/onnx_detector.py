"""Detectors from ONNX files of `models.export`, run by ONNX Runtime."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import SettingsError, WeightsError
from core.types import Size
from models.catalogue import CARD_KEY, WeightsEntry, decode_card, file_sha256
from models.network import Predictions
from models.one_stage import CanvasDetector

MULTIPLE_KEY = "framewatch.multiple"
"""Key of the number that a picture's width and height are multiples of, in pixels."""
PRECISION_KEY = "framewatch.precision"
"""Key of the numbers that a file computes in; without it they are fp32."""
INPUT = "pictures"
"""uint8 (B, H, W, 3), BGR."""
OUTPUTS = ("logits", "boxes")
"""float32 (B, A, K) and (B, A, 4), as in `models.network.Predictions`."""
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_Provider = str | tuple[str, dict[str, int]]
"""A name, or a name with options."""


class OnnxEngine:
    """A session of ONNX Runtime; pictures come through host memory, wherever it computes."""

    def __init__(self, session: Any, multiple: int) -> None:
        self.device = torch.device("cpu")
        self.multiple = multiple
        self._session = session

    def __call__(self, pictures: Tensor) -> Predictions:
        """Predictions for BGR pictures, uint8 (B, H, W, 3)."""
        logits, boxes = self._session.run(OUTPUTS, {INPUT: pictures.numpy()})
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
    session = _open(path, _providers(device))
    entry = _card(path, session)
    held = session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY, "fp32")
    if precision not in ("auto", held):
        raise SettingsError(f"precision: an ONNX file runs in the {held} that it holds, got {precision!r}")
    engine = OnnxEngine(session, _multiple(path, session))
    return OnnxDetector(engine, entry.adjusted(score_threshold, canvas), held)


def read_onnx_card(path: Path) -> WeightsEntry:
    """The description inside an ONNX file. Raises WeightsError."""
    return _card(path, _open(path, [_CPU]))


def _providers(device: str) -> list[_Provider]:
    known = _runtime().get_available_providers()
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", device):
        raise SettingsError(f"device: expected auto, cpu, cuda or cuda:N; got {device!r}")
    kind, _, number = device.partition(":")
    if kind == "cuda" and _CUDA not in known:
        raise SettingsError(
            f"device: expected one that ONNX Runtime offers here ({', '.join(known)}), got {device!r}; "
            "install onnxruntime-gpu in place of onnxruntime, or use cpu"
        )
    if kind == "cpu" or _CUDA not in known:
        return [_CPU]
    return [(_CUDA, {"device_id": int(number or 0)}), _CPU]


def _open(path: Path, providers: Sequence[_Provider]) -> Any:
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found none there; check the path")
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin between batches would take the processor from decoding and storing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised as well
    try:
        # As bytes: a file has to hold all of its weights, and can name no other file.
        return runtime.InferenceSession(path.read_bytes(), options, providers=providers)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise WeightsError(
            f"{path}: expected an ONNX file that ONNX Runtime loads, got a damaged file or another ({reason})"
        ) from error


def _card(path: Path, session: Any) -> WeightsEntry:
    text = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: expected weights that describe themselves, got an ONNX file without a {CARD_KEY!r} "
            "entry; write it with `framewatch models export`"
        )
    entry = decode_card(path, text)
    _require_interface(path, session, len(entry.categories))
    return replace(entry, sha256=file_sha256(path))


def _require_interface(path: Path, session: Any, classes: int) -> None:
    inputs = [(one.name, one.type, len(one.shape), one.shape[-1]) for one in session.get_inputs()]
    outputs = [(one.name, one.type, len(one.shape), one.shape[-1]) for one in session.get_outputs()]
    wanted = [(name, "tensor(float)", 3, last) for name, last in zip(OUTPUTS, (classes, 4), strict=True)]
    if inputs != [(INPUT, "tensor(uint8)", 4, 3)] or outputs != wanted:
        raise WeightsError(
            f"{path}: expected the network that its description names, uint8 pictures (B, H, W, 3) to "
            f"{' and '.join(OUTPUTS)} of {classes} classes; got {inputs} to {outputs}"
        )


def _multiple(path: Path, session: Any) -> int:
    text = session.get_modelmeta().custom_metadata_map.get(MULTIPLE_KEY, "")
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise WeightsError(f"{path}: expected {MULTIPLE_KEY!r} to be 1 to 256 pixels, got {text!r}")
    return int(text)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError("ONNX files need ONNX Runtime: pip install 'framewatch[onnx]'") from error
    return onnxruntime
