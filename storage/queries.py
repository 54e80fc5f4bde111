"""Answers about the history: detections that pass a filter, and how many there were."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage.database import Database

HISTORY_COLUMNS = (
    "camera",
    "captured_at",
    "class_name",
    "score",
    "x",
    "y",
    "width",
    "height",
    "area",
    "frame_width",
    "frame_height",
    "frame_index",
    "model",
    "track_id",
    "latency_ms",
)
"""The columns of the view `detection_history`, in its order; `DetectionRow` has a field for each."""


@dataclass(frozen=True, slots=True)
class DetectionFilter:
    """Which detections are wanted; an empty field wants all. Raises QueryError for values that cannot be meant."""

    cameras: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    since: datetime | None = None
    """First captured_at wanted (included); aware."""
    until: datetime | None = None
    """First captured_at no longer wanted (excluded); aware."""
    min_score: float | None = None
    region: tuple[float, float, float, float] | None = None
    """x1, y1, x2, y2 in pixels of the source frame: boxes that overlap it."""
    min_area: float | None = None
    """Least width x height in square pixels."""
    limit: int | None = None
    newest_first: bool = True


@dataclass(frozen=True, slots=True)
class DetectionRow:
    """One row of `detection_history`."""

    camera: str
    captured_at: datetime
    class_name: str
    score: float
    x: float
    y: float
    width: float
    height: float
    area: float
    frame_width: int
    frame_height: int
    frame_index: int
    model: str
    track_id: int | None
    latency_ms: float | None

    def values(self) -> tuple[object, ...]:
        """The values in the order of HISTORY_COLUMNS."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CountRow:
    """How many detections one group has; fields that the count was not split by are None."""

    bucket: datetime | None
    """Start of the bucket, aware UTC."""
    camera: str | None
    class_name: str | None
    model: str | None
    count: int


def find_detections(database: Database, wanted: DetectionFilter) -> Iterator[DetectionRow]:
    """The detections that pass the filter, streamed from the database, newest first by default.

    Raises CameraNotFoundError and QueryError for names that the database does not know, listing the known ones.
    """
    raise NotImplementedError


def count_detections(
    database: Database,
    by: Sequence[str] = ("class",),
    bucket: timedelta | None = None,
    wanted: DetectionFilter | None = None,
) -> list[CountRow]:
    """Counts split by any of "class", "camera" and "model", and by time buckets aligned to the UTC epoch."""
    raise NotImplementedError
