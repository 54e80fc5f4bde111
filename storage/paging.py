"""The history page by page: each page begins after the last row of the one before, wherever that is by now.

Rows that existed when the first page was asked for come exactly once, however many are inserted meanwhile:
a position is a key, not a count of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, tuple_

from storage.database import Database
from storage.filters import CountedColumns, DetectionFilter, conditions
from storage.queries import DetectionRow, history_statement, read_row
from storage.tables import cameras, detections, evidence, frames, models

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Position:
    """A row's place in the order of pages: its key."""

    captured_at: datetime
    camera_id: int
    frame_index: int
    model_id: int
    ordinal: int = 0
    """Of a detection; frames have none."""


@dataclass(frozen=True, slots=True)
class DetectionPage:
    """Some detections, and where the next page begins."""

    rows: tuple[DetectionRow, ...]
    last: Position | None
    """None: no further rows."""
    pictures: tuple[str | None, ...] = ()
    """For each row the path of its evidence picture, below the evidence URL; None: it has none."""


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame that went through a model, with or without detections."""

    camera: str
    captured_at: datetime
    frame_index: int
    model: str
    width: int
    height: int
    detection_count: int
    recorded: bool
    latency_ms: float | None
    """From capture to the stored row; None for recorded files, which have their own timeline."""


@dataclass(frozen=True, slots=True)
class FramePage:
    """Some frames, and where the next page begins."""

    rows: tuple[StoredFrame, ...]
    last: Position | None


def find_detection_page(
    database: Database,
    wanted: DetectionFilter,
    size: int,
    after: Position | None = None,
    limit_s: float | None = None,
) -> DetectionPage:
    """The first `size` detections that pass the filter, or those after a position, whatever its limit.

    Raises CameraNotFoundError and QueryError for unknown names, QueryError when it takes longer than
    `limit_s`, and DatabaseUnavailableError.
    """
    box = detections.c
    statement = history_statement(wanted).add_columns(box.camera_id, box.model_id, box.ordinal)
    key = (box.camera_id, box.frame_index, box.model_id, box.ordinal)
    columns = CountedColumns(box.camera_id, box.model_id, box.class_id, box.captured_at)
    if after is not None:
        place = (after.camera_id, after.frame_index, after.model_id, after.ordinal)
        statement = statement.where(behind(wanted, box.captured_at, key, after.captured_at, place))
    with database.reading(limit_s) as connection:
        statement = statement.where(*conditions(connection, wanted, columns)).limit(size + 1)
        found = connection.execute(statement).all()
        pictures = _find_pictures(connection, found[:size])
    rows = tuple(read_row(row[:-3]) for row in found[:size])
    if len(found) <= size:
        return DetectionPage(rows, None, pictures)
    camera_id, model_id, ordinal = found[size - 1][-3:]
    last = Position(rows[-1].captured_at, camera_id, rows[-1].frame_index, model_id, ordinal)
    return DetectionPage(rows, last, pictures)


def _find_pictures(connection: Connection, rows: Sequence[Any]) -> tuple[str | None, ...]:
    """For each detection the path of its picture.

    They are looked up by time. A join that PostgreSQL has no statistics for yet goes through all pictures of
    a camera and class, again for every row.
    """
    key = ("camera_id", "captured_at", "frame_index", "model_id", "ordinal")
    kept = select(evidence.c.path, *(evidence.c[name] for name in key))
    kept = kept.where(evidence.c.captured_at.in_({row.captured_at for row in rows}))
    paths = {tuple(found[1:]): found.path for found in connection.execute(kept)}
    return tuple(paths.get(tuple(getattr(row, name) for name in key)) for row in rows)


def find_frame_page(
    database: Database,
    wanted: DetectionFilter,
    size: int,
    after: Position | None = None,
    limit_s: float | None = None,
) -> FramePage:
    """The same for frames, of which a filter knows cameras and times; its other fields play no part."""
    frame = frames.c
    statement = _frames_statement(wanted)
    key = (frame.camera_id, frame.frame_index, frame.model_id)
    if after is not None:
        place = (after.camera_id, after.frame_index, after.model_id)
        statement = statement.where(behind(wanted, frame.captured_at, key, after.captured_at, place))
    of_frames = DetectionFilter(cameras=wanted.cameras, since=wanted.since, until=wanted.until)
    columns = CountedColumns(frame.camera_id, frame.model_id, frame.model_id, frame.captured_at)
    with database.reading(limit_s) as connection:
        statement = statement.where(*conditions(connection, of_frames, columns)).limit(size + 1)
        found = connection.execute(statement).all()
    rows = tuple(_stored_frame(row) for row in found[:size])
    if len(found) <= size:
        return FramePage(rows, None)
    last = found[size - 1]
    return FramePage(rows, Position(last.captured_at, last.camera_id, last.frame_index, last.model_id))


def _frames_statement(wanted: DetectionFilter) -> Select[Any]:
    frame = frames.c
    time = frame.captured_at.desc() if wanted.newest_first else frame.captured_at.asc()
    statement = (
        select(frames, cameras.c.name.label("camera"), models.c.name.label("model"))
        .outerjoin(cameras, cameras.c.id == frame.camera_id)
        .outerjoin(models, models.c.id == frame.model_id)
        .order_by(time, frame.camera_id, frame.frame_index, frame.model_id)
    )
    if len(wanted.cameras) == 1:  # then the primary key has the order
        return statement
    return statement.with_hint(frames, "INDEXED BY ix_frames_captured_at", "sqlite")


def _stored_frame(row: Any) -> StoredFrame:
    return StoredFrame(
        camera=row.camera,
        captured_at=row.captured_at,
        frame_index=row.frame_index,
        model=row.model,
        width=row.width,
        height=row.height,
        detection_count=row.detection_count,
        recorded=row.recorded,
        latency_ms=None if row.recorded else (row.stored_at - row.captured_at) / _MILLISECOND,
    )


def behind(
    wanted: DetectionFilter,
    time: ColumnElement[Any],
    key: tuple[ColumnElement[Any], ...],
    moment: datetime,
    place: tuple[int, ...],
) -> ColumnElement[bool]:
    """Rows behind a position. Its time stands apart, as a range that the index on time can begin at."""
    later_key = tuple_(*key) > tuple_(*place)
    if wanted.newest_first:
        return and_(time <= moment, or_(time < moment, later_key))
    return and_(time >= moment, or_(time > moment, later_key))
