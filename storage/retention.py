"""Removes what a policy no longer keeps: whole days where nothing of a day is kept, else rows in batches.

The table of hourly counts tells where old rows are, so that nothing is searched. Times are cut to whole
hours. On PostgreSQL a day goes by dropping its partitions, and rows whose time is up wait for that.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import Column, Connection, delete, func, select, text

from core.errors import DatabaseUnavailableError
from storage.database import Database
from storage.ledger import count_settled_minutes, settle_ledger_minutes
from storage.postgres import Partitions, partition_days, partition_name
from storage.retention_policy import RetentionPolicy
from storage.rollup import (
    CountKey,
    fold_changes,
    forget_counts,
    hour_of,
    lock_counts,
    note_changes,
)
from storage.statements import hourly_counts
from storage.tables import (
    PARTITIONED,
    camera_events,
    cameras,
    classes,
    detection_count_changes,
    detection_counts_hourly,
    detections,
    frame_ledger,
    frames,
)

ROWS_PER_BATCH = 20_000
"""Rows removed in one transaction: a writer on SQLite waits for it, about 0.1 s."""
DAYS_AHEAD = 7
DROP_TRIES = 20
DROP_WAIT_S = 0.2
"""How long one try to drop a day may hold up writers while it waits for a reader to end, and then rests."""
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_NEVER = datetime.min.replace(tzinfo=UTC)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class PruneReport:
    """What one run removed, or with `dry_run` would remove."""

    dry_run: bool = False
    detections: int = 0
    """Including those of dropped days."""
    frames: int = 0
    """Without those of dropped days."""
    days_dropped: list[date] = field(default_factory=list)
    """UTC days whose partitions went as a whole."""
    days_postponed: list[date] = field(default_factory=list)
    """UTC days that a long query still reads; the next run drops them."""
    ledger_minutes: int = 0
    camera_events: int = 0


@dataclass(frozen=True, slots=True)
class _Span:
    """Old hours of one camera, model and class, with the detections they hold."""

    key: tuple[int, int, int]
    since: datetime
    until: datetime
    detections: int


def prune(
    database: Database, policy: RetentionPolicy, now: datetime | None = None, *, dry_run: bool = False
) -> PruneReport:
    """Removes what the policy does not keep. Writers and readers go on meanwhile.

    Raises DatabaseUnavailableError; what was removed until then stays removed.
    """
    now = now or datetime.now(UTC)
    report = PruneReport(dry_run)
    with database.reading() as connection:
        known: dict[int, str] = dict(connection.execute(select(cameras.c.id, cameras.c.name)).all())
    cutoffs = {camera: _cutoff(now, policy.keep_longest(name)) for camera, name in known.items()}
    dropped_before = _drop_days(database, list(cutoffs.values()), report)
    for batch in _batches(_old_hours(database, _class_cutoffs(database, policy, now, known), dropped_before)):
        report.detections += sum(span.detections for span in batch)
        if not dry_run:
            _delete_spans(database, batch)
    for until, of_cameras in _by_cutoff(cutoffs).items():
        if dropped_before is None or until > dropped_before:
            report.frames += _delete_frames(database, of_cameras, until, dry_run)
        report.ledger_minutes += _settle_minutes(database, of_cameras, until, dry_run)
        report.camera_events += _delete_events(database, of_cameras, until, dry_run)
    if not dry_run:
        fold_changes(database)
    return report


def _by_cutoff(cutoffs: Mapping[int, datetime | None]) -> dict[datetime, list[int]]:
    """The cameras of each cutoff, so that one statement serves all of them."""
    found: dict[datetime, list[int]] = {}
    for camera, cutoff in cutoffs.items():
        if cutoff is not None:
            found.setdefault(cutoff, []).append(camera)
    return found


def prepare_days(database: Database, now: datetime | None = None) -> None:
    """Makes the partitions of today and the coming week, so that no writer has to. Nothing on SQLite."""
    if database.dialect != "postgresql":
        return
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    wanted = {today + ahead * _DAY for ahead in range(DAYS_AHEAD + 1)}
    with database.reading() as connection:
        missing = {day for table in PARTITIONED for day in wanted - partition_days(connection, table)}
    if missing:
        with database.writing() as connection:
            Partitions().create(connection, missing)


def _cutoff(now: datetime, keep: timedelta | None) -> datetime | None:
    return None if keep is None else hour_of(now - keep)


def _drop_days(database: Database, cutoffs: list[datetime | None], report: PruneReport) -> datetime | None:
    """Drops the days of which no camera keeps anything; returns the moment before which days are dropped.

    None where days cannot be dropped, because some camera keeps all or the database has no partitions.
    """
    known = [cutoff for cutoff in cutoffs if cutoff is not None]
    if database.dialect != "postgresql" or not known or len(known) < len(cutoffs):
        return None
    dropped_before = min(known)
    last = dropped_before.date()
    with database.reading() as connection:
        days = sorted({day for table in PARTITIONED for day in partition_days(connection, table)})
        old = [day for day in days if day < last]
        counts = {day: _detections_of(connection, day) for day in old if report.dry_run}
    for day in old:
        count = counts[day] if report.dry_run else drop_day(database, day)
        if count is None:
            report.days_postponed.append(day)
        else:
            report.days_dropped.append(day)
            report.detections += count
    return dropped_before


def _detections_of(connection: Connection, day: date) -> int:
    hourly = hourly_counts()
    start = _midnight(day)
    where = hourly.c.hour >= start, hourly.c.hour < start + _DAY
    return int(connection.scalar(select(func.sum(hourly.c.detections)).where(*where)) or 0)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def drop_day(database: Database, day: date) -> int | None:
    """Drops the partitions of a UTC day with its counts; returns how many detections it held.

    None while readers would not let go.

    Dropping waits for everybody who reads the tables, and everybody else waits behind it: so it waits
    briefly, and tries again.
    """
    for _ in range(DROP_TRIES):
        try:
            with database.writing() as connection:
                return _drop_partitions(connection, day)
        except DatabaseUnavailableError as error:
            if not isinstance(getattr(error.__cause__, "orig", None), LockNotAvailable):
                raise
            time.sleep(DROP_WAIT_S)
    logger.warning("%s is still being read; it is dropped next time", day)
    return None


def _drop_partitions(connection: Connection, day: date) -> int:
    connection.execute(text("SELECT set_config('lock_timeout', :most, true)"), {"most": f"{DROP_WAIT_S}s"})
    lock_counts(connection)
    start = _midnight(day)
    counted = forget_counts(connection, detection_counts_hourly, start, start + _DAY)
    for table in PARTITIONED:  # in the order in which writers take them
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {partition_name(table, day)}")
    # Last, for writers may add to these until the drop.
    return counted + forget_counts(connection, detection_count_changes, start, start + _DAY)


def _batches(spans: Iterable[_Span]) -> Iterator[list[_Span]]:
    """The old hours, parted so that each part holds about ROWS_PER_BATCH detections."""
    batch: list[_Span] = []
    for span in spans:
        last = batch[-1] if batch else None
        if last is not None and last.key == span.key:  # hours between them hold nothing
            batch[-1] = _Span(span.key, last.since, span.until, last.detections + span.detections)
        else:
            batch.append(span)
        if sum(one.detections for one in batch) >= ROWS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _class_cutoffs(
    database: Database, policy: RetentionPolicy, now: datetime, known: Mapping[int, str]
) -> dict[tuple[int, int, int], datetime]:
    """By camera, model and class: the moment before which its detections go, where there is one."""
    with database.reading() as connection:
        names = connection.execute(select(classes.c.model_id, classes.c.class_id, classes.c.name)).all()
    cutoffs = {
        (camera, model, number): _cutoff(now, policy.keep(camera_name, name))
        for camera, camera_name in known.items()
        for model, number, name in names
    }
    return {key: cutoff for key, cutoff in cutoffs.items() if cutoff is not None}


def _old_hours(
    database: Database,
    cutoffs: Mapping[tuple[int, int, int], datetime],
    dropped_before: datetime | None,
) -> list[_Span]:
    """The hours whose detections must be deleted: those before their cutoff that go with no dropped day."""
    wanted = {
        key: cutoff for key, cutoff in cutoffs.items() if dropped_before is None or cutoff > dropped_before
    }
    if not wanted:
        return []
    hourly = hourly_counts().c
    key = hourly.camera_id, hourly.model_id, hourly.class_id, hourly.hour
    old = select(*key, func.sum(hourly.detections)).where(hourly.hour < max(wanted.values()))
    if dropped_before is not None:
        old = old.where(hourly.hour >= _midnight(dropped_before.date()))
    with database.reading() as connection:
        found = connection.execute(old.group_by(*key).order_by(*key)).all()
    return [
        _Span((camera, model, number), hour, hour + _HOUR, int(count))
        for camera, model, number, hour, count in found
        if count > 0 and hour < wanted.get((camera, model, number), _NEVER)
    ]


_DELETE_ON_POSTGRES = text(
    "WITH gone AS (DELETE FROM detections"
    " WHERE camera_id = :camera AND model_id = :model AND class_id = :number"
    " AND captured_at >= :since AND captured_at < :until RETURNING captured_at)"
    " INSERT INTO detection_count_changes (hour, camera_id, model_id, class_id, detections)"
    " SELECT date_trunc('hour', captured_at, 'UTC'), :camera, :model, :number, -count(*) FROM gone GROUP BY 1"
)


def _delete_spans(database: Database, batch: list[_Span]) -> None:
    with database.writing() as connection:
        for span in batch:
            if connection.dialect.name == "postgresql":
                camera, model, number = span.key
                values = {"camera": camera, "model": model, "number": number}
                connection.execute(_DELETE_ON_POSTGRES, {**values, "since": span.since, "until": span.until})
            else:
                _delete_on_sqlite(connection, span)


def _delete_on_sqlite(connection: Connection, span: _Span) -> None:
    """Counted by hour and deleted by two statements, for the transaction is alone with the file."""
    box = detections.c
    camera, model, number = span.key
    where = (
        *(box.camera_id == camera, box.model_id == model, box.class_id == number),
        *(box.captured_at >= span.since, box.captured_at < span.until),
    )
    hour = func.substr(box.captured_at, 1, 13)
    found = connection.execute(select(hour, func.count()).where(*where).group_by(hour)).all()
    removed: dict[CountKey, int] = {
        (datetime.fromisoformat(f"{start}:00+00:00"), *span.key): -count for start, count in found
    }
    note_changes(connection, removed)
    connection.execute(delete(detections).where(*where))


def _delete_frames(database: Database, of_cameras: Sequence[int], until: datetime, dry_run: bool) -> int:
    moment = frames.c.captured_at
    if dry_run:
        old = frames.c.camera_id.in_(of_cameras), moment < until
        with database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(frames).where(*old)) or 0
    gone = 0
    for camera in of_cameras:
        for last in _batch_ends(database, moment, camera, until):
            with database.writing() as connection:
                batch = delete(frames).where(frames.c.camera_id == camera, moment <= last)
                gone += connection.execute(batch).rowcount
    return gone


def _settle_minutes(database: Database, of_cameras: Sequence[int], until: datetime, dry_run: bool) -> int:
    """Removes cameras' minutes before `until`; the frames in flight at their end stay in the ledger."""
    if dry_run:
        with database.reading() as connection:
            return sum(count_settled_minutes(connection, camera, until) for camera in of_cameras)
    gone = 0
    for camera in of_cameras:
        for last in _batch_ends(database, frame_ledger.c.minute, camera, until):
            with database.writing() as connection:
                gone += settle_ledger_minutes(connection, camera, last)
    return gone


def _batch_ends(database: Database, moment: Column[Any], camera: int, until: datetime) -> Iterator[datetime]:
    """The last moments of batches of ROWS_PER_BATCH rows of a camera, oldest first; the key finds them."""
    after = _NEVER
    while True:
        old = moment.table.c.camera_id == camera, moment > after, moment < until
        batch = select(moment).where(*old).order_by(moment).limit(ROWS_PER_BATCH).subquery()
        with database.reading() as connection:
            last = connection.scalar(select(func.max(batch.c[moment.name])))
        if last is None:
            return
        yield last
        after = last


def _delete_events(database: Database, of_cameras: Sequence[int], until: datetime, dry_run: bool) -> int:
    """Deletes old changes of state, but each camera's last of them, which says how the kept time began."""
    event, later = camera_events.c, camera_events.alias().c
    last = select(func.max(later.at)).where(later.camera_id == event.camera_id, later.at < until)
    old = event.camera_id.in_(of_cameras), event.at < until, event.at < last.scalar_subquery()
    if dry_run:
        with database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(camera_events).where(*old)) or 0
    with database.writing() as connection:
        return connection.execute(delete(camera_events).where(*old)).rowcount
