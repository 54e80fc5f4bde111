"""What a history database holds: rows, size, age."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, func, inspect, select, text

from storage import schema
from storage.postgres import partition_days
from storage.statements import hourly_counts
from storage.tables import PARTITIONED, Row, frames

EXACT_COUNT_LIMIT = 1_000_000
"""Tables that PostgreSQL believes to be larger are not counted, which takes seconds."""
RECENT_DAYS = 14


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """What `framewatch db info` shows."""

    url: str
    """Without its password."""
    dialect: str
    """ "sqlite" or "postgresql"."""
    server_version: str
    revision: str | None
    """Alembic revision of the schema; None before the first upgrade."""
    head: str
    """Revision that this code needs."""
    rows: Mapping[str, int]
    """Per table; empty before the first upgrade."""
    rows_estimated: bool
    """True when a table is so big that PostgreSQL's estimate is given."""
    size_bytes: int
    oldest: datetime | None
    """First captured_at of a stored frame."""
    newest: datetime | None
    partitions: int
    """Daily partitions of detections; 0 on SQLite, which has none."""
    first_partition: date | None
    last_partition: date | None
    """Those made ahead for days to come lie behind `newest`."""
    table_bytes: Mapping[str, int]
    """On PostgreSQL: each table with its indexes and partitions, the largest first; else empty."""
    detections_per_day: Mapping[date, int]
    """Of the RECENT_DAYS UTC days up to the newest frame, days without any left out."""


def inspect_history(connection: Connection, label: str) -> DatabaseInfo:
    """Looks at the database behind a connection."""
    version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    revision = schema.current_revision(connection)
    is_postgres = connection.dialect.name == "postgresql"
    estimates = _estimates(connection) if is_postgres else {}
    rows = _rows(connection, estimates)
    oldest, newest = _span(connection) if "frames" in rows else (None, None)
    days = sorted(partition_days(connection, "detections")) if is_postgres else []
    return DatabaseInfo(
        url=label,
        dialect=connection.dialect.name,
        server_version=version,
        revision=revision,
        head=schema.head_revision(),
        rows=rows,
        rows_estimated=any(estimate > EXACT_COUNT_LIMIT for estimate in estimates.values()),
        size_bytes=_size_bytes(connection),
        oldest=oldest,
        newest=newest,
        partitions=len(days),
        first_partition=days[0] if days else None,
        last_partition=days[-1] if days else None,
        table_bytes=_table_bytes(connection) if is_postgres else {},
        detections_per_day=_per_day(connection, newest) if "detection_counts_hourly" in rows else {},
    )


def _rows(connection: Connection, estimates: Mapping[str, int]) -> dict[str, int]:
    present = set(inspect(connection).get_table_names())
    rows = {}
    for name, table in Row.metadata.tables.items():
        if name not in present:
            continue
        if estimates.get(name, 0) > EXACT_COUNT_LIMIT:
            rows[name] = estimates[name]
        else:
            rows[name] = connection.scalar(select(func.count()).select_from(table)) or 0
    return rows


def _estimates(connection: Connection) -> dict[str, int]:
    """Rows of the partitioned tables as of the last ANALYZE."""
    statement = text(
        "SELECT p.relname, CAST(sum(greatest(c.reltuples, 0)) AS bigint) FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent"
        " WHERE p.oid IN (to_regclass(:first), to_regclass(:second)) GROUP BY p.relname"
    )
    first, second = PARTITIONED
    found = connection.execute(statement, {"first": first, "second": second})
    return {str(name): int(estimate) for name, estimate in found}


def _table_bytes(connection: Connection) -> dict[str, int]:
    statement = text(
        "SELECT coalesce(p.relname, c.relname), CAST(sum(pg_total_relation_size(c.oid)) AS bigint) AS bytes"
        " FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid"
        " LEFT JOIN pg_class p ON p.oid = i.inhparent"
        " WHERE c.relkind IN ('r', 'p') AND coalesce(p.oid, c.oid) IN"
        " (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name)"
        " GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    found = connection.execute(statement, {"names": list(Row.metadata.tables)})
    return {str(name): int(size) for name, size in found}


def _per_day(connection: Connection, newest: datetime | None) -> dict[date, int]:
    """From the hourly counts, which takes milliseconds."""
    if newest is None:
        return {}
    hourly = hourly_counts().c
    since = (newest - timedelta(days=RECENT_DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    recent = select(hourly.hour, func.sum(hourly.detections)).where(hourly.hour >= since)
    counts: Counter[date] = Counter()
    for hour, count in connection.execute(recent.group_by(hourly.hour).order_by(hourly.hour)):
        counts[hour.date()] += int(count)
    return dict(counts)


def _size_bytes(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    pages = connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"))
    return int(pages or 0)


def _span(connection: Connection) -> tuple[datetime | None, datetime | None]:
    oldest = connection.scalar(select(func.min(frames.c.captured_at)))
    newest = connection.scalar(select(func.max(frames.c.captured_at)))
    return oldest, newest
