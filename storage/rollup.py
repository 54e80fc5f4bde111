"""Counts of detections per hour, camera, model and class, always in step with `detections`.

Whoever adds or removes detections notes by how many in the same transaction, as new rows of
`detection_count_changes`: an INSERT never waits for another writer, where adding to a shared row of counts
would hold up every writer of that camera until the commit. `fold_changes` moves these rows into
`detection_counts_hourly` now and then. The sum of both is right at any moment.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Table, delete, func, select

from core.errors import DatabaseUnavailableError
from storage.binary_copy import copy_column
from storage.database import Database
from storage.postgres import copy_columns
from storage.statements import COUNT_KEY as KEY
from storage.statements import insert_into
from storage.tables import detection_count_changes, detection_counts_hourly

CountKey: TypeAlias = tuple[datetime, int, int, int]
"""Start of the hour (aware UTC), camera id, model id, class id."""

# Folding, recounting and dropping days exclude each other by this lock; writers do not take it.
_LOCK = "LOCK TABLE detection_counts_hourly IN SHARE ROW EXCLUSIVE MODE"
_HOUR = {
    "postgresql": "date_trunc('hour', captured_at, 'UTC')",
    "sqlite": "substr(captured_at, 1, 13) || ':00:00.000000'",
}
_COUNT_ALL = """
INSERT INTO detection_counts_hourly (hour, camera_id, model_id, class_id, detections)
SELECT {hour}, camera_id, model_id, class_id, count(*) FROM detections GROUP BY 1, 2, 3, 4
"""
_FOLD_ON_POSTGRES = """
WITH gone AS (DELETE FROM detection_count_changes RETURNING hour, camera_id, model_id, class_id, detections)
INSERT INTO detection_counts_hourly (hour, camera_id, model_id, class_id, detections)
SELECT hour, camera_id, model_id, class_id, sum(detections) FROM gone GROUP BY 1, 2, 3, 4
ON CONFLICT (hour, camera_id, model_id, class_id)
DO UPDATE SET detections = detection_counts_hourly.detections + excluded.detections
"""


def hour_of(moment: datetime) -> datetime:
    """The start of a moment's hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def note_changes(connection: Connection, changes: Mapping[CountKey, int]) -> None:
    """Records how many detections the transaction adds, or removes (below zero)."""
    rows = [
        {**dict(zip(KEY, key, strict=True)), "detections": change}
        for key, change in changes.items()
        if change
    ]
    if rows and connection.dialect.name == "postgresql":
        columns = {name: copy_column(row[name] for row in rows) for name in rows[0]}
        copy_columns(connection, detection_count_changes, columns)
    elif rows:
        connection.execute(detection_count_changes.insert().inline(), rows)


def counted(keys: Iterable[CountKey], sign: int = 1) -> dict[CountKey, int]:
    """How often each key comes, for `note_changes`."""
    return {key: sign * count for key, count in Counter(keys).items()}


def fold_changes(database: Database) -> bool:
    """Moves the noted changes into the table of counts; False when another process is at it.

    Raises DatabaseUnavailableError; nothing is lost then.
    """
    hour = detection_count_changes.c.hour
    with database.reading() as connection:
        first, last = connection.execute(select(func.min(hour), func.max(hour))).one()
    if first is None:
        return True
    try:
        with database.writing() as connection:
            if database.dialect == "postgresql":
                connection.exec_driver_sql(f"{_LOCK} NOWAIT")
                connection.exec_driver_sql(_FOLD_ON_POSTGRES)
            else:
                _fold_on_sqlite(connection)
            counts = detection_counts_hourly.c
            changed = counts.hour >= first, counts.hour <= last
            connection.execute(delete(detection_counts_hourly).where(*changed, counts.detections == 0))
    except DatabaseUnavailableError as error:
        if isinstance(getattr(error.__cause__, "orig", None), LockNotAvailable):
            return False
        raise
    return True


def _fold_on_sqlite(connection: Connection) -> None:
    """The transaction is alone with the file, so that two statements see the same rows."""
    noted = detection_count_changes.c
    keys = [noted[name] for name in KEY]
    summed = select(*keys, func.sum(noted.detections)).where(noted.id > 0).group_by(*keys)
    insert = insert_into(connection, detection_counts_hourly).from_select([*KEY, "detections"], summed)
    total = detection_counts_hourly.c.detections + insert.excluded.detections
    connection.execute(insert.on_conflict_do_update(index_elements=list(KEY), set_={"detections": total}))
    connection.execute(delete(detection_count_changes))


def lock_counts(connection: Connection) -> None:
    """Waits for whoever folds or recounts, as the first statement of a transaction.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_LOCK)


def forget_counts(connection: Connection, table: Table, since: datetime, until: datetime) -> int:
    """Removes the counts of whole hours from one of the tables, after `lock_counts`; returns their sum."""
    removed = delete(table).where(table.c.hour >= since, table.c.hour < until).returning(table.c.detections)
    return int(connection.scalar(select(func.sum(removed.cte().c.detections))) or 0)


def recount(database: Database) -> None:
    """Counts all detections anew, while writers go on: for rows that were removed by hand.

    Raises DatabaseUnavailableError; the old counts stand then.
    """
    with database.writing() as connection:
        if database.dialect == "postgresql":
            # One snapshot: what is written meanwhile is neither counted nor are its changes removed.
            # LOCK is the one statement that does not take the snapshot yet.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        lock_counts(connection)
        connection.execute(delete(detection_counts_hourly))
        connection.execute(delete(detection_count_changes))
        connection.exec_driver_sql(_COUNT_ALL.format(hour=_HOUR[database.dialect]))
