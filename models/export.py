"""Detectors as files for other runtimes, ONNX and TorchScript, kept only if they agree with the network.

Both take pictures uint8 (B, H, W, 3) BGR, with H and W multiples of the last stride, and give logits
(B, A, K) and boxes (B, A, 4) in pixels, float32, as in `models.network.Predictions`; B, H and W are free.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import box_iou

from core.errors import WeightsError
from core.types import Detections
from models.catalogue import CARD_KEY, WeightsEntry, encode_card
from models.folding import fold_batch_norms
from models.network import DetectionNetwork
from models.onnx_detector import INPUT, MULTIPLE_KEY, OUTPUTS, OnnxEngine, load_onnx_detector
from models.quantization import INT8, CalibrationPictures, quantize_onnx

SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE_PX = 0.1
LEAST_AGREEMENT = 0.8
"""Share of the network's objects that an int8 file must find."""
SAME_OBJECT_IOU = 0.5
_MOST_CELLS = 256
"""Of the coarsest map along a side: pictures of up to 8192 pixels with strides of 32."""

Run = Callable[[Tensor], tuple[Tensor, Tensor]]


class ExportFormat(StrEnum):
    """What a detector can be exported to."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How far an exported file is from the network, over batches and pictures of several sizes."""

    path: Path
    score_difference: float
    box_difference_px: float
    shapes: tuple[tuple[int, int, int], ...]
    """Batch, height and width of each comparison."""


@dataclass(frozen=True, slots=True)
class Int8Report:
    """How an int8 file's detections differ from those of the network, on its calibration pictures."""

    path: Path
    pictures: int
    objects: int
    """That the network detects at its threshold."""
    found: int
    """Of these, by the file: same class, overlap of SAME_OBJECT_IOU."""
    added: int
    """That only the file detects."""


class Surface(nn.Module):
    """A detection network with the interface of the exported files."""

    def __init__(self, network: DetectionNetwork) -> None:
        super().__init__()
        self.network = fold_batch_norms(network)
        self.multiple = max(network.head.strides)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes of pictures uint8 (B, H, W, 3)."""
        output = self.network(pictures.permute(0, 3, 1, 2).float())
        return output.logits, output.boxes


def export(network: DetectionNetwork, entry: WeightsEntry, to: ExportFormat, path: Path) -> ExportReport:
    """Write a detector in float32 with its description, for the CPU or any other device.

    The file appears only after it gave the network's own scores and boxes. Raises WeightsError where it does
    not, or where what the format takes is not installed.
    """
    surface = Surface(network).eval()
    partial = path.with_name(f".{path.name}.partial")
    try:
        run = _WRITERS[to](surface, entry, partial)
        report = _compare(surface, run, path, entry)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return report


def export_int8(
    network: DetectionNetwork, entry: WeightsEntry, pictures: Sequence[NDArray[np.uint8]], path: Path
) -> Int8Report:
    """Write a detector as ONNX in 8-bit integers, called after the weights and int8, for the CPU.

    `pictures` (H, W, 3) BGR of places like those it will see give the integers' ranges. The file appears only
    if it finds what the network finds in them. Raises WeightsError where it does not, or where the network
    finds nothing there.
    """
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        exact, partial = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        export(network, replace(entry, name=f"{entry.name}_{INT8}"), ExportFormat.ONNX, exact)
        multiple = max(network.head.strides)
        quantize_onnx(exact, partial, CalibrationPictures(pictures, entry.canvas, multiple))
        report = _compare_detections(exact, partial, pictures, path)
        partial.replace(path)
    return report


def _compare_detections(
    exact: Path, quantized: Path, pictures: Sequence[NDArray[np.uint8]], path: Path
) -> Int8Report:
    detectors = load_onnx_detector(exact, "cpu"), load_onnx_detector(quantized, "cpu")
    objects, found, added = 0, 0, 0
    for picture in pictures:
        expected, got = (detector.predict([picture])[0] for detector in detectors)
        same = _count_same(expected, got)
        objects, found, added = objects + len(expected), found + same, added + len(got) - same
    if not objects:
        raise WeightsError(
            f"{path}: expected calibration pictures with objects that the network finds, got "
            f"{len(pictures)} without any; take pictures or a video of the places that it is for"
        )
    if found < LEAST_AGREEMENT * objects:
        raise WeightsError(
            f"{path}: expected {LEAST_AGREEMENT:.0%} of the network's {objects} objects to be found in int8, "
            f"got {found}; it was not kept: take more pictures, or other ones"
        )
    return Int8Report(path, len(pictures), objects, found, added)


def _count_same(expected: Detections, got: Detections) -> int:
    """How many objects both have found; each is counted once."""
    iou = box_iou(torch.from_numpy(expected.boxes), torch.from_numpy(got.boxes)).numpy()  # (N, M)
    iou *= expected.labels[:, None] == got.labels
    count = 0
    while iou.size and iou.max() >= SAME_OBJECT_IOU:
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        iou[row], iou[:, column] = 0.0, 0.0
        count += 1
    return count


def _write_onnx(surface: Surface, entry: WeightsEntry, path: Path) -> Run:
    try:
        import onnxscript  # noqa: F401  torch.onnx imports it late
    except ImportError as error:
        raise WeightsError("exporting to ONNX needs more: pip install 'framewatch[onnx]'") from error
    batch = torch.export.Dim("batch", min=1, max=1024)
    rows, columns = (torch.export.Dim(name, min=1, max=_MOST_CELLS) for name in ("rows", "columns"))
    sides = {0: batch, 1: surface.multiple * rows, 2: surface.multiple * columns}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own use of itself
        program = torch.onnx.export(
            surface,
            (_pictures(2, 3 * surface.multiple, 5 * surface.multiple),),
            dynamic_shapes=({**sides},),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    metadata = {CARD_KEY: encode_card(entry), MULTIPLE_KEY: str(surface.multiple)}
    program.model.metadata_props.update(metadata)
    program.save(path)
    detector = load_onnx_detector(path, "cpu")
    engine: Any = detector.engine
    assert isinstance(engine, OnnxEngine)

    def run(pictures: Tensor) -> tuple[Tensor, Tensor]:
        predictions = engine(pictures)
        return predictions.logits, predictions.boxes

    return run


def _write_torchscript(surface: Surface, entry: WeightsEntry, path: Path) -> Run:
    metadata = {CARD_KEY: encode_card(entry), MULTIPLE_KEY: json.dumps(surface.multiple)}
    pictures = _pictures(2, 3 * surface.multiple, 5 * surface.multiple)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is no longer developed, and says so
        script: Any = torch.jit
        traced = script.trace(surface, (pictures,), check_trace=False)
        script.save(script.freeze(traced), path, _extra_files=metadata)
        return script.load(path, map_location="cpu")  # type: ignore[no-any-return]


_WRITERS: dict[ExportFormat, Callable[[Surface, WeightsEntry, Path], Run]] = {
    ExportFormat.ONNX: _write_onnx,
    ExportFormat.TORCHSCRIPT: _write_torchscript,
}


@torch.inference_mode()
def _compare(surface: Surface, run: Run, path: Path, entry: WeightsEntry) -> ExportReport:
    """Also at sizes that the export did not see: the canvas, a batch of three, and the smallest picture."""
    width, height = (-(-side // surface.multiple) * surface.multiple for side in entry.canvas)
    few = surface.multiple
    shapes = ((1, height, width), (3, 2 * few, 4 * few), (1, few, few))
    scores, boxes = 0.0, 0.0
    for shape in shapes:
        expected, got = surface(_pictures(*shape)), run(_pictures(*shape))
        if [one.shape for one in expected] != [one.shape for one in got]:
            raise WeightsError(f"{path}: the exported network gives other shapes for pictures {shape}")
        scores = max(scores, _largest(expected[0].sigmoid() - got[0].sigmoid()))
        boxes = max(boxes, _largest(expected[1] - got[1]))
    if not (scores <= SCORE_TOLERANCE and boxes <= BOX_TOLERANCE_PX):
        raise WeightsError(
            f"{path}: expected the network's own scores and boxes from the exported file, got them "
            f"{scores:.2g} and {boxes:.2g} pixels off; it was not kept"
        )
    return ExportReport(path, scores, boxes, shapes)


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _pictures(*shape: int) -> Tensor:
    """The same random pictures uint8 (B, H, W, 3) for the same shape."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)


def default_path(entry: WeightsEntry, to: ExportFormat, *, int8: bool = False) -> Path:
    """Where an export goes unless told otherwise: in the working directory, after the weights."""
    return Path(f"{entry.name}{f'_{INT8}' if int8 else ''}.{to.value}")
