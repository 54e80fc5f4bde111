"""Queries that PostgreSQL keeps from writing.

A connection of its own, a READ ONLY transaction, one statement by the protocol, and for a superuser the role
`pg_read_all_data`, which cannot read files or run programs. That role is a fence, not a wall: a function that
runs SQL text can leave it. Who lets strangers query gives framewatch a login role without privileges.
"""

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Loader

from core.errors import DatabaseUnavailableError, QueryError
from storage.database import Database
from storage.faults import clear_faults, first_line


class _PlainNumber(Loader):
    """numeric as int or float: sums and averages that JSON and tables can show."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else float(text)


def _open_transaction(database: Database, timeout_s: float) -> psycopg.Connection[Any]:
    """A connection outside of the pool, in a transaction that cannot write."""
    pooled = database.engine.raw_connection()
    connection = pooled.driver_connection
    assert isinstance(connection, psycopg.Connection)
    pooled.detach()
    try:
        connection.rollback()
        connection.read_only = True
        connection.adapters.register_loader("numeric", _PlainNumber)
        settings = {
            "statement_timeout": str(max(1, round(timeout_s * 1000))),
            "timezone": "UTC",
            "enable_partitionwise_join": "on",
        }
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        superuser = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if superuser and superuser[0]:
            connection.execute("SET LOCAL ROLE pg_read_all_data")
    except BaseException:
        connection.close()
        raise
    return connection


def stream(database: Database, statement: str, timeout_s: float) -> Generator[tuple[Any, ...]]:
    """First the names of the columns, then the rows; errors as `run_readonly_sql` raises them."""
    with clear_faults(database.label):
        connection = _open_transaction(database, timeout_s)
    rows_per_chunk = 100 if psycopg.capabilities.has_stream_chunked() else 1
    try:
        cursor = connection.cursor()
        # stream() uses the extended protocol, in which the server refuses a second statement.
        rows = cursor.stream(statement.encode(), size=rows_per_chunk)
        first = next(rows, None)
        if first is None:
            yield _columns(connection, statement)
            return
        yield tuple(column.name for column in cursor.description or ())
        yield first
        yield from rows
    except psycopg.errors.QueryCanceled as error:
        raise QueryError(f"sql: stopped after {timeout_s:g} s; ask for less, or allow more time") from error
    except psycopg.Error as error:
        if connection.closed:
            raise DatabaseUnavailableError(f"{database.label}: {first_line(error)}") from error
        raise QueryError(f"sql: {first_line(error)}") from error
    finally:
        connection.close()


def _columns(connection: psycopg.Connection[Any], statement: str) -> tuple[str, ...]:
    """The names that psycopg's stream() does not tell when there are no rows."""
    connection.pgconn.prepare(b"", statement.encode())
    described = connection.pgconn.describe_prepared(b"")
    names = (described.fname(column) for column in range(described.nfields))
    return tuple(name.decode() for name in names if name is not None)
