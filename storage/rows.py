"""Rows of `frames` and `detections` from the results of the workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
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


def detection_rows(
    keyed: Mapping[FrameKey, FrameResult], model_id: int, stamp: Callable[[datetime], Any] | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows of `detections` in the order of its columns; `stamp` makes captured_at what the driver takes.

    All frames go through numpy together: frame by frame that took as long as the database.
    """
    found = [result.detections for result in keyed.values()]
    if not found:
        return
    sizes = np.array([result.source_size for result in keyed.values()], np.float64)  # (F, 2)
    counts = [len(one) for one in found]
    boxes = np.concatenate([one.boxes for one in found])
    columns = box_columns(boxes, np.repeat(sizes, counts, axis=0))
    scores = np.concatenate([one.scores for one in found]).astype(np.float64).round(SCORE_DECIMALS)
    labels = np.concatenate([one.labels for one in found])
    values = zip(labels.tolist(), scores.tolist(), *(column.tolist() for column in columns), strict=True)
    for (camera_id, captured_at, index), count in zip(keyed, counts, strict=True):
        moment = captured_at if stamp is None else stamp(captured_at)
        for ordinal, box in enumerate(islice(values, count)):
            yield (camera_id, moment, index, model_id, ordinal, *box, None)


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
