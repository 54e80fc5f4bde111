"""Results as the workers hand them over, with detections made up for the test."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from core.types import Detections, FrameResult, WeightsInfo

START = datetime(2026, 11, 23, 22, 53, tzinfo=UTC)
WEIGHTS = WeightsInfo("street", "a" * 64, ("person", "car", "bus"))

Box = tuple[float, float, float, float]


def make_result(
    camera: str = "gate",
    index: int = 0,
    boxes: Sequence[Box] = (),
    *,
    labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    **changes: Any,
) -> FrameResult:
    """A 768x576 frame, captured `index` tenths of a second after START, with these corner boxes."""
    captured_at: datetime = changes.pop("captured_at", START + index * timedelta(milliseconds=100))
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores if scores is not None else [0.9] * len(boxes), np.float32),
        np.array(labels if labels is not None else [0] * len(boxes), np.int64),
        WEIGHTS.categories,
    )
    given: dict[str, Any] = {
        "source_size": (768, 576),
        "model": WEIGHTS.name,
        "enqueued_at": captured_at + timedelta(milliseconds=5),
        "claimed_at": captured_at + timedelta(milliseconds=10),
        "inferred_at": captured_at + timedelta(milliseconds=40),
    }
    return FrameResult(
        camera=camera, index=index, captured_at=captured_at, detections=found, **{**given, **changes}
    )
