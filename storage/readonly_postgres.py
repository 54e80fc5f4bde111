"""Queries that PostgreSQL keeps from writing.

A connection of its own, a READ ONLY transaction, one statement by the protocol, and the role
`framewatch_reader`, which may read framewatch's tables, no files and no passwords (pg_read_all_data would see
the hashes in pg_authid). The role is a fence, not a wall: a function that runs SQL text can step out of it.
Who lets strangers query gives framewatch a login role without privileges.
"""

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader

from core.errors import DatabaseUnavailableError, QueryError, UsageError
from storage.database import Database
from storage.faults import UPGRADE_ADVICE, clear_faults, first_line
from storage.postgres import READER_ROLE


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
        _step_down(connection, database.label)
    except BaseException:
        connection.close()
        raise
    return connection


def _step_down(connection: psycopg.Connection[Any], label: str) -> None:
    """Takes the reader's role; who may not, and is no superuser, stays what he is."""
    roles = connection.execute(
        "SELECT rolname, pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles"
        " WHERE rolname = %s OR (rolsuper AND rolname = current_user)",
        (READER_ROLE,),
    )
    known = dict(roles.fetchall())
    if known.pop(READER_ROLE, False):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(READER_ROLE)))
    elif known:
        raise UsageError(f"{label}: expected the role {READER_ROLE} for queries; {UPGRADE_ADVICE}")


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
