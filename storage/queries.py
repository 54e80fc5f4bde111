"""Answers about the history: detections that pass a filter, and how many there were."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    FromClause,
    Integer,
    Select,
    and_,
    cast,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from core.errors import QueryError
from core.types import EPOCH
from storage.columns import UtcDateTime
from storage.database import Database
from storage.filters import CountedColumns, DetectionFilter, conditions, time_conditions
from storage.tables import (
    cameras,
    classes,
    detection_count_changes,
    detection_counts_hourly,
    detections,
    frames,
    models,
)

__all__ = [
    "HISTORY_COLUMNS",
    "CountRow",
    "DetectionFilter",
    "DetectionRow",
    "count_detections",
    "find_detections",
]

ROWS_PER_FETCH = 1000
GROUPS = ("class", "camera", "model")
HOUR = timedelta(hours=1)
_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class DetectionRow:
    """One row of the view `detection_history`: the same columns in the same order."""

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
    """From capture to the stored row; None for recorded files, which have their own timeline."""

    def values(self) -> tuple[Any, ...]:
        """The values in the order of HISTORY_COLUMNS."""
        return tuple(getattr(self, name) for name in HISTORY_COLUMNS)


HISTORY_COLUMNS = tuple(field.name for field in fields(DetectionRow))
"""The columns of `detection_history`."""


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

    Raises CameraNotFoundError and QueryError at once for names that the database does not know, listing the
    known ones, and DatabaseUnavailableError whenever the server is lost.
    """
    rows = _stream(database, wanted)
    next(rows, None)  # it has begun: it closes its connection also if nobody reads the rows
    return (row for row in rows if row is not None)


def _stream(database: Database, wanted: DetectionFilter) -> Iterator[DetectionRow | None]:
    """None once the names are known, then the rows, through one connection."""
    with database.reading() as connection:
        statement = history_statement(wanted).where(*conditions(connection, wanted, _boxes().columns))
        yield None
        connection.execution_options(stream_results=True, max_row_buffer=ROWS_PER_FETCH)
        with connection.execute(statement) as result:  # closes the server's cursor if the reader stops early
            for row in result:
                yield read_row(row)


def read_row(row: Sequence[Any]) -> DetectionRow:
    """A row of `history_statement`."""
    *values, recorded, stored_at = row
    latency_ms = None if recorded else (stored_at - values[1]) / _MILLISECOND
    return DetectionRow(*[*values, latency_ms])


def history_statement(wanted: DetectionFilter) -> Select[Any]:
    """DetectionRow's columns but the last, and what that is made of; in an order without ties.

    Every join finds exactly one row. Outer joins tell PostgreSQL so: it takes inner ones for filters, expects
    one row in the end, and sorts the whole history for the newest hundred (a million rows: 1.8 s, not 4 ms).
    """
    box = detections.c
    of_frame = and_(
        frames.c.camera_id == box.camera_id,
        frames.c.captured_at == box.captured_at,
        frames.c.frame_index == box.frame_index,
        frames.c.model_id == box.model_id,
        # Said twice, for PostgreSQL to leave out partitions of frames as it does those of detections.
        *time_conditions(frames.c.captured_at, wanted),
    )
    of_class = and_(classes.c.model_id == box.model_id, classes.c.class_id == box.class_id)
    statement = (
        select(
            *(cameras.c.name, box.captured_at, classes.c.name, box.score),
            *(box.x, box.y, box.width, box.height, box.area),
            *(frames.c.width, frames.c.height, box.frame_index, models.c.name, box.track_id),
            *(frames.c.recorded, frames.c.stored_at),
        )
        .select_from(detections)
        .outerjoin(frames, of_frame)
        .outerjoin(cameras, cameras.c.id == box.camera_id)
        .outerjoin(models, models.c.id == box.model_id)
        .outerjoin(classes, of_class)
    )
    time = box.captured_at.desc() if wanted.newest_first else box.captured_at.asc()
    ordered = statement.order_by(time, box.camera_id, box.frame_index, box.model_id, box.ordinal)
    index = _index_in_time_order(wanted)
    hinted = ordered if index is None else ordered.with_hint(detections, f"INDEXED BY {index}", "sqlite")
    return hinted if wanted.limit is None else hinted.limit(wanted.limit)


def _index_in_time_order(wanted: DetectionFilter) -> str | None:
    """The index to name to SQLite, which keeps no statistics; None leaves the primary key (camera, time).

    Its own choice sorts a class's whole history for the newest hundred: on a million rows 800 ms, not 2.
    """
    if len(wanted.cameras) == 1:
        return "ix_detections_camera_id_class_id_captured_at" if len(wanted.classes) == 1 else None
    return "ix_detections_captured_at"


def count_detections(
    database: Database,
    by: Sequence[str] = ("class",),
    bucket: timedelta | None = None,
    wanted: DetectionFilter | None = None,
    limit_s: float | None = None,
) -> list[CountRow]:
    """Counts split by any of "class", "camera" and "model", and by time buckets; sorted.

    Buckets are whole seconds long and aligned to 1970-01-01T00:00Z, so that hours and days start where UTC's
    do (weeks on a Thursday). A group without detections has no row; a limit in the filter plays no part.
    Whole hours come from the table of hourly counts, unless the filter looks at single boxes.

    Raises QueryError and CameraNotFoundError as `find_detections` does, for an unknown group, and when it
    takes longer than `limit_s`.
    """
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise QueryError(f"by: expected any of {', '.join(GROUPS)}, got {unknown[0]!r}")
    if bucket is not None and (bucket < _SECOND or bucket % _SECOND):
        raise QueryError(f"bucket: expected whole seconds, 1 or more, got {bucket.total_seconds():g} s")
    wanted = wanted or DetectionFilter()
    found: Counter[tuple[Any, ...]] = Counter()
    keys: dict[str, ColumnElement[Any]] = {}
    with database.reading(limit_s) as connection:
        for sources, span in _parts(wanted, bucket):
            statements = []
            for source in sources:
                keys = _group_keys(connection.dialect.name, source, by, bucket)
                where = conditions(connection, span, source.columns)
                statement = select(source.total, *keys.values()).select_from(source.table).where(*where)
                statements.append(statement.group_by(*keys.values()))
            for count, *values in connection.execute(union_all(*statements)):
                found[tuple(values)] += count or 0
        names = _names(connection)  # last, for others may add some meanwhile
    counts: Counter[tuple[Any, ...]] = Counter()
    for group, count in found.items():
        counts[_name_group(dict(zip(keys, group, strict=True)), by, bucket, names)] += count
    rows = [CountRow(*[*group, count]) for group, count in counts.items() if count or not (by or bucket)]
    return sorted(rows, key=_order)


@dataclass(frozen=True, slots=True)
class _Source:
    """A table to count in."""

    table: FromClause
    columns: CountedColumns
    total: ColumnElement[int]
    is_hourly: bool = False


def _boxes() -> _Source:
    box = detections.c
    return _Source(
        detections, CountedColumns(box.camera_id, box.model_id, box.class_id, box.captured_at), func.count()
    )


def _hours() -> list[_Source]:
    """Both tables that hold the hourly counts. Grouped each by itself, they can go along their keys."""
    return [
        _Source(
            table,
            CountedColumns(table.c.camera_id, table.c.model_id, table.c.class_id, table.c.hour),
            cast(func.sum(table.c.detections), BigInteger),
            is_hourly=True,
        )
        for table in (detection_counts_hourly, detection_count_changes)
    ]


def _parts(wanted: DetectionFilter, bucket: timedelta | None) -> list[tuple[list[_Source], DetectionFilter]]:
    """Where to count what: whole hours in the table of counts, the rest box by box."""
    looks_at_boxes = (wanted.min_score, wanted.region, wanted.min_area) != (None, None, None)
    if looks_at_boxes or (bucket is not None and bucket % HOUR):
        return [([_boxes()], wanted)]
    try:
        first = None if wanted.since is None else -(-(wanted.since - EPOCH) // HOUR) * HOUR + EPOCH
    except OverflowError:
        raise QueryError("since: expected a time before the last hour of the year 9999") from None
    last = None if wanted.until is None else (wanted.until - EPOCH) // HOUR * HOUR + EPOCH
    if first is not None and last is not None and first >= last:
        return [([_boxes()], wanted)]
    parts = [(_hours(), replace(wanted, since=first, until=last))]
    if first is not None and first != wanted.since:
        parts.append(([_boxes()], replace(wanted, until=first)))
    if last is not None and last != wanted.until:
        parts.append(([_boxes()], replace(wanted, since=last)))
    return parts


@dataclass(frozen=True, slots=True)
class _Names:
    cameras: dict[int, str]
    models: dict[int, str]
    classes: dict[tuple[int, int], str]


def _names(connection: Connection) -> _Names:
    rows = connection.execute(select(classes.c.model_id, classes.c.class_id, classes.c.name))
    return _Names(
        cameras=dict(connection.execute(select(cameras.c.id, cameras.c.name)).all()),
        models=dict(connection.execute(select(models.c.id, models.c.name)).all()),
        classes={(model, number): name for model, number, name in rows},
    )


def _group_keys(
    dialect: str, source: _Source, by: Sequence[str], bucket: timedelta | None
) -> dict[str, ColumnElement[Any]]:
    """What to group by in SQL: ids, which the names are put to afterwards."""
    keys: dict[str, ColumnElement[Any]] = {}
    if bucket is not None:
        time = source.columns.time
        keys["bucket"] = time if source.is_hourly else _bucket(dialect, time, bucket)
    if "camera" in by:
        keys["camera"] = source.columns.camera_id
    if "class" in by or "model" in by:
        keys["model"] = source.columns.model_id
    if "class" in by:
        keys["class"] = source.columns.class_id
    return keys


def _bucket(dialect: str, moment: ColumnElement[Any], bucket: timedelta) -> ColumnElement[Any]:
    """The start of a row's bucket; its constants stand in the text, or GROUP BY would see two expressions."""
    length_s = bucket // _SECOND
    if dialect == "postgresql":
        step: ColumnElement[timedelta] = literal_column(f"INTERVAL '{length_s} seconds'")
        origin: ColumnElement[datetime] = literal_column("TIMESTAMPTZ '1970-01-01 00:00:00+00'")
        return func.date_bin(step, moment, origin, type_=UtcDateTime())
    whole = func.substr(moment, 1, 19)  # strftime('%s') of 59.9997 s gives the next second
    second = cast(func.strftime(literal_column("'%s'"), whole), Integer)
    length = literal_column(str(length_s), Integer)
    return second - (second % length + length) % length  # % of a negative number is negative here


def _name_group(
    values: dict[str, Any], by: Sequence[str], bucket: timedelta | None, names: _Names
) -> tuple[Any, ...]:
    """bucket, camera, class and model of one group; what the count was not split by is None."""
    start = values.get("bucket")
    if isinstance(start, int):
        start = EPOCH + timedelta(seconds=start)
    elif start is not None and bucket is not None and bucket != HOUR:
        start = EPOCH + (start - EPOCH) // bucket * bucket
    return (
        start,
        names.cameras[values["camera"]] if "camera" in by else None,
        names.classes[values["model"], values["class"]] if "class" in by else None,
        names.models[values["model"]] if "model" in by else None,
    )


def _order(row: CountRow) -> tuple[datetime, str, str, str]:
    return row.bucket or EPOCH, row.camera or "", row.class_name or "", row.model or ""
