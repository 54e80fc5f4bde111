"""Rows of `frames` and `detections` from the results of the workers."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import InferenceError
from core.types import FrameResult

COORDINATE_DECIMALS = 2
SCORE_DECIMALS = 4

FrameKey: TypeAlias = tuple[int, datetime, int]
"""Camera id, captured_at and index: what tells the frames of one model apart."""


def frame_row(result: FrameResult, camera_id: int, model_id: int, stored_at: datetime) -> dict[str, Any]:
    """The row of `frames`."""
    width, height = result.source_size
    return {
        "camera_id": camera_id,
        "captured_at": result.captured_at,
        "frame_index": result.index,
        "model_id": model_id,
        "width": width,
        "height": height,
        "detection_count": len(result.detections),
        "recorded": result.recorded,
        "enqueued_at": result.enqueued_at,
        "claimed_at": result.claimed_at,
        "inferred_at": result.inferred_at,
        "stored_at": stored_at,
    }


def detection_rows(
    result: FrameResult, camera_id: int, model_id: int, captured_at: Any
) -> Iterator[tuple[Any, ...]]:
    """The rows of `detections` in the order of its columns, with captured_at as the driver takes it."""
    found = result.detections
    x, y, width, height, area = (column.tolist() for column in box_columns(found.boxes, result.source_size))
    scores = np.round(found.scores.astype(np.float64), SCORE_DECIMALS).tolist()
    labels = found.labels.tolist()
    for ordinal, box in enumerate(zip(labels, scores, x, y, width, height, area, strict=True)):
        yield (camera_id, captured_at, result.index, model_id, ordinal, *box, None)


def box_columns(boxes: NDArray[np.float32], frame_size: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """x, y, width, height and area, each (N,), of corner boxes (N, 4) in pixels of the source frame.

    Corners are cut to the frame and rounded to hundredths of a pixel, finer than any detector sees; the area
    belongs to the rounded sides.
    """
    limits = np.array([*frame_size, *frame_size], np.float64)
    inside = np.clip(boxes.astype(np.float64), 0.0, limits)
    corners = inside.round(COORDINATE_DECIMALS)  # (N, 4)
    x, y = corners[:, 0], corners[:, 1]
    sides = np.clip(corners[:, 2:] - corners[:, :2], 0.0, None).round(COORDINATE_DECIMALS)  # (N, 2)
    width, height = sides[:, 0], sides[:, 1]
    return x, y, width, height, (width * height).round(COORDINATE_DECIMALS)


def check_result(result: FrameResult, class_count: int) -> None:
    """Raises InferenceError for numbers that no sound detector gives and no database can be asked about."""
    found = result.detections
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise InferenceError(f"{result.model}: expected finite boxes and scores, got NaN or infinity")
    if len(found) and not 0 <= found.labels.min() <= found.labels.max() < class_count:
        raise InferenceError(f"{result.model}: expected labels below {class_count}, got {found.labels.max()}")
