"""What a history database holds: rows, size, age."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, inspect, select, text

from storage import schema
from storage.tables import PARTITIONED, Row, frames

EXACT_COUNT_LIMIT = 1_000_000
"""Tables that PostgreSQL believes to be larger are not counted, which takes seconds."""


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


def inspect_history(connection: Connection, label: str) -> DatabaseInfo:
    """Looks at the database behind a connection."""
    version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    revision = schema.current_revision(connection)
    is_postgres = connection.dialect.name == "postgresql"
    estimates = _estimates(connection) if is_postgres else {}
    rows = _rows(connection, estimates)
    oldest, newest = _span(connection) if "frames" in rows else (None, None)
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
        partitions=_partitions(connection) if is_postgres else 0,
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


def _partitions(connection: Connection) -> int:
    statement = text("SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('detections')")
    return connection.scalar(statement) or 0


def _size_bytes(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    pages = connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"))
    return int(pages or 0)


def _span(connection: Connection) -> tuple[datetime | None, datetime | None]:
    oldest = connection.scalar(select(func.min(frames.c.captured_at)))
    newest = connection.scalar(select(func.max(frames.c.captured_at)))
    return oldest, newest
