"""Rows of `frames` and `detections` from the results of the workers."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InferenceError
from core.types import Detections, FrameResult

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


def detection_columns(
    keyed: Mapping[FrameKey, FrameResult], model_id: int, moment: Callable[[datetime], Any]
) -> dict[str, NDArray[Any]]:
    """The columns of `detections` in order, each (N,); `moment` makes captured_at what the driver takes.

    `track_id` is left out. All frames go through numpy together: one by one took as long as the database.
    """
    found = [result.detections for result in keyed.values()]
    counts = [len(one) for one in found]
    cameras, moments, indices = (np.repeat(np.array(part), counts) for part in _parts(keyed, moment))
    frame_starts = np.repeat(np.cumsum(counts) - counts, counts)
    sizes = np.array([result.source_size for result in keyed.values()], np.float64)  # (F, 2)
    boxes = np.concatenate([one.boxes for one in found])
    x, y, width, height, area = box_columns(boxes, np.repeat(sizes, counts, axis=0))
    scores = np.concatenate([one.scores for one in found]).astype(np.float64)
    return {
        "camera_id": cameras,
        "captured_at": moments,
        "frame_index": indices,
        "model_id": np.full(len(boxes), model_id),
        "ordinal": np.arange(len(boxes)) - frame_starts,
        "class_id": np.concatenate([one.labels for one in found]),
        "score": scores.round(SCORE_DECIMALS),
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "area": area,
    }


def _parts(
    keyed: Mapping[FrameKey, FrameResult], moment: Callable[[datetime], Any]
) -> tuple[list[int], list[Any], list[int]]:
    return [key[0] for key in keyed], [moment(key[1]) for key in keyed], [key[2] for key in keyed]


def box_columns(boxes: NDArray[np.float32], frame_sizes: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """x, y, width, height and area, each (N,), of corner boxes (N, 4) in pixels of the source frame.

    `frame_sizes` are widths and heights, (N, 2), or (2,) for one size of all. Corners are cut to the frame
    and rounded to hundredths of a pixel, finer than any detector sees; the area belongs to the rounded sides.
    """
    sizes = np.asarray(frame_sizes, np.float64)
    limits = np.concatenate([sizes, sizes], axis=-1)
    inside = np.clip(boxes.astype(np.float64), 0.0, limits)
    corners = inside.round(COORDINATE_DECIMALS)  # (N, 4)
    x, y = corners[:, 0], corners[:, 1]
    sides = np.clip(corners[:, 2:] - corners[:, :2], 0.0, None).round(COORDINATE_DECIMALS)  # (N, 2)
    width, height = sides[:, 0], sides[:, 1]
    return x, y, width, height, (width * height).round(COORDINATE_DECIMALS)


def check_results(results: Sequence[FrameResult], class_count: int) -> None:
    """Raises InferenceError for numbers that no sound detector gives and no database can be asked about."""
    model = results[0].model
    found = [result.detections for result in results]
    labels = np.concatenate([one.labels for one in found])
    if not all(np.isfinite(np.concatenate(a)).all() for a in _floats(found)):
        raise InferenceError(f"{model}: expected finite boxes and scores, got NaN or infinity")
    if len(labels) and not 0 <= labels.min() <= labels.max() < class_count:
        raise InferenceError(f"{model}: expected labels below {class_count}, got {labels.max()}")


def _floats(found: Sequence[Detections]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    return [one.boxes for one in found], [one.scores for one in found]
