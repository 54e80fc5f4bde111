"""ONNX detectors whose convolutions run in 8-bit integers, faster than floats on CPUs without bf16.

Post-training quantization (Jacob et al. 2018, arXiv:1712.05877, section 2): weights get a scale for each
output channel, tensors between layers the range that they took on calibration pictures. The sums of residual
blocks stay in float32.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import WeightsError
from core.types import Size
from models.onnx_detector import INPUT, PRECISION_KEY
from models.preprocessing import draw_letterbox, fit_letterbox

INT8 = "int8"
QUANTIZED = ("Conv", "Relu", "MaxPool")
"""Operators of ONNX that take and give integers."""


class CalibrationPictures:
    """Pictures (H, W, 3) BGR, one a batch, as the detector would see them; what ONNX Runtime reads from."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], canvas: Size, multiple: int) -> None:
        self._canvas, self._multiple = canvas, multiple
        self._batches = self._draw(pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next input of the network, or None at the end."""
        return next(self._batches, None)

    def _draw(self, pictures: Sequence[NDArray[np.uint8]]) -> Iterator[dict[str, NDArray[np.uint8]]]:
        for picture in pictures:
            letterbox = fit_letterbox((picture.shape[1], picture.shape[0]), self._canvas, self._multiple)
            width, height = letterbox.canvas
            drawn = np.empty((1, height, width, 3), np.uint8)
            draw_letterbox(picture, letterbox, drawn[0])
            yield {INPUT: drawn}


def quantize_onnx(source: Path, target: Path, pictures: CalibrationPictures) -> None:
    """Write a float32 file of `models.export` anew, with convolutions in 8-bit integers.

    Raises WeightsError where ONNX and ONNX Runtime are not installed.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise WeightsError("int8 needs more: pip install 'framewatch[onnx]'") from error
    prepared = target.with_suffix(".prepared")
    reader: Any = pictures
    level = logging.root.level
    try:
        logging.root.setLevel(logging.ERROR)  # it asks for the preparation that was just done
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(target),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            # Unsigned times signed is what AVX2 and VNNI multiply (page below).
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            # Weights of 7 bits: with 8, sums of two products overflow on CPUs without VNNI
            # (onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
            reduce_range=True,
        )
    finally:
        logging.root.setLevel(level)
        prepared.unlink(missing_ok=True)
    model = onnx.load(str(target))
    model.metadata_props.add(key=PRECISION_KEY, value=INT8)
    onnx.save(model, str(target))
