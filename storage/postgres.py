"""What only PostgreSQL needs: connections that notice a dead server, and one partition per UTC day."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import URL, Connection, Engine, Table, create_engine, text

from storage.binary_copy import encode_copy
from storage.tables import PARTITIONED

SCHEMA_LOCK = 0x6672616D  # "fram": the advisory lock of the first upgrade
_HAS_REVISION = "SELECT has_table_privilege(to_regclass('alembic_version'), 'UPDATE')"
_CONNECT_ARGS = {
    "connect_timeout": 10,
    "application_name": "framewatch",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms; a host that vanished is noticed in half a minute, not in fifteen
}


def postgres_engine(url: URL) -> Engine:
    """An engine whose connections are tried before use, so that a restarted server is no error."""
    return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=connect_arguments(url))


def connect_arguments(url: URL) -> dict[str, Any]:
    """What a connection needs beside the URL, which may say otherwise."""
    return {name: value for name, value in _CONNECT_ARGS.items() if name not in url.query}


def lock_schema(connection: Connection) -> None:
    """Waits for other processes that change the schema; the lock ends with the transaction.

    It is on the table of the revision, which readers may not lock as they may take any advisory lock. Only
    the first upgrade has no such table yet.
    """
    if not connection.scalar(text(_HAS_REVISION)):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
    if connection.scalar(text(_HAS_REVISION)):  # by now, as another process may have made it
        connection.exec_driver_sql("LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE")


def partition_name(table: str, day: date) -> str:
    """`detections_20261123` holds the detections captured on that UTC day."""
    return f"{table}_{day.isoformat().replace('-', '')}"


def partition_days(connection: Connection, table: str) -> set[date]:
    """The UTC days that a table has partitions of."""
    names = text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = to_regclass(:name)"
    )
    found = connection.scalars(names, {"name": table})
    endings = (name.rpartition("_")[2] for name in found)
    return {date.fromisoformat(ending) for ending in endings if len(ending) == 8 and ending.isdecimal()}


class Partitions:
    """Makes the daily partitions of frames and detections when first needed; threads may share it."""

    def __init__(self) -> None:
        self._known: set[date] = set()
        self._lock = threading.Lock()

    def missing(self, moments: Iterable[datetime]) -> set[date]:
        """The UTC days of these moments that have no partition as far as is known."""
        days = {moment.astimezone(UTC).date() for moment in moments}
        with self._lock:
            return days - self._known

    def forget(self) -> None:
        """Looks again next time: retention may have dropped a partition."""
        with self._lock:
            self._known.clear()

    def create(self, connection: Connection, days: Iterable[date]) -> None:
        """Makes what is missing of these days, in a transaction of its own."""
        days = sorted(days)
        lock_schema(connection)
        for day in days:
            for table in PARTITIONED:
                _create_partition(connection, table, day)
        with self._lock:
            self._known.update(days)


def _create_partition(connection: Connection, table: str, day: date) -> None:
    """Makes the table first and attaches it then: CREATE TABLE .. PARTITION OF would lock out all readers
    and writers of the parent, ATTACH PARTITION does not
    (https://www.postgresql.org/docs/current/ddl-partitioning.html, 5.12.2.2).
    """
    name = partition_name(table, day)
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None:
        return
    first, last = day.isoformat(), (day + timedelta(days=1)).isoformat()
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{first} 00:00:00+00') TO ('{last} 00:00:00+00')"
    )


def insert_arrays(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], end: str = ""
) -> list[tuple[Any, ...]]:
    """INSERT .. SELECT FROM unnest(..) of rows with the same names; `end` may add ON CONFLICT and RETURNING.

    One array per column: as a list of VALUES, 200 frames have 2400 parameters, which cost ten times the time.
    """
    columns = [table.columns[name] for name in rows[0]]
    types = [column.type.compile(connection.dialect) for column in columns]
    statement = sql.SQL("INSERT INTO {} ({}) SELECT * FROM unnest({}) {}").format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        sql.SQL(", ").join(sql.SQL(f"%s::{kind}[]") for kind in types),
        sql.SQL(end),
    )
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        found = driver.execute(statement, [[row[column.name] for row in rows] for column in columns])
        return found.fetchall() if found.description else []
    finally:
        _invalidate_if_closed(connection, driver)


def _invalidate_if_closed(connection: Connection, driver: psycopg.Connection[Any]) -> None:
    """SQLAlchemy did not see the error, and must not hand this connection out again."""
    if driver.closed:
        connection.invalidate()


def copy_columns(connection: Connection, table: Table, columns: Mapping[str, NDArray[Any]]) -> None:
    """Adds rows through a binary COPY inside the connection's transaction; see `encode_copy`."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(encode_copy(table, columns))
    finally:
        _invalidate_if_closed(connection, driver)
