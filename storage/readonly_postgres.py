"""Queries that PostgreSQL keeps from writing.

A connection of its own as a login that may read framewatch's tables, no files and no passwords; a READ ONLY
transaction; and one statement, by the protocol. `storage.readers` says why it must be a login of its own.
Where `framewatch db upgrade` could not make one, its own role must do, which then must not be a superuser.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader

from core.errors import DatabaseUnavailableError, QueryError, UsageError
from storage.database import Database
from storage.faults import UPGRADE_ADVICE, clear_faults, first_line
from storage.postgres import connect_arguments
from storage.readers import READER_ROLE, find_login

GRACE_S = 1.0
"""After its time-out the server gets so long to stop by itself, before the connection is cut."""


class _PlainNumber(Loader):
    """numeric as int or float: sums and averages that JSON and tables can show."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else float(text)


def _connect(database: Database) -> psycopg.Connection[Any]:
    """As the reader's login, else as framewatch's own role with less to do. Raises UsageError."""
    with database.reading() as connection:
        login = find_login(connection)
    if login is None:
        return _step_down(database)
    role, password = login
    url = database.url.set(username=role, password=password)
    _, arguments = database.engine.dialect.create_connect_args(url)
    try:
        return psycopg.connect(**{**connect_arguments(url), **arguments})
    except psycopg.OperationalError as error:
        raise UsageError(
            f"{database.label}: expected the role {role} to log in: {first_line(error)}; {UPGRADE_ADVICE}, "
            "and let pg_hba.conf admit the role with a password"
        ) from error


def _step_down(database: Database) -> psycopg.Connection[Any]:
    """framewatch's own role, or `framewatch_reader` where it is a member of that."""
    pooled = database.engine.raw_connection()
    connection = pooled.driver_connection
    assert isinstance(connection, psycopg.Connection)
    pooled.detach()
    try:
        facts = connection.execute(
            "SELECT rolsuper, EXISTS (SELECT FROM pg_roles"
            " WHERE rolname = %s AND pg_has_role(current_user, oid, 'MEMBER'))"
            " FROM pg_roles WHERE rolname = current_user",
            (READER_ROLE,),
        ).fetchone()
        assert facts is not None
        is_superuser, is_member = facts
        if is_superuser:
            raise UsageError(f"{database.label}: expected a login for queries, found none; {UPGRADE_ADVICE}")
        if is_member:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(READER_ROLE)))
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_transaction(database: Database, timeout_s: float) -> psycopg.Connection[Any]:
    """A connection outside of the pool, in a transaction that cannot write."""
    connection = _connect(database)
    try:
        connection.read_only = True
        connection.adapters.register_loader("numeric", _PlainNumber)
        settings = {
            "statement_timeout": str(max(1, round(timeout_s * 1000))),
            "timezone": "UTC",
            "enable_partitionwise_join": "on",
        }
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
    except BaseException:
        connection.close()
        raise
    return connection


class _Watch:
    """Cuts the connection of a query that outlives its time: some functions of PostgreSQL never look up."""

    def __init__(self, connection: psycopg.Connection[Any], after_s: float) -> None:
        self.is_over = False
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._timer = threading.Timer(after_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.is_over = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._timer.cancel()
        self._socket.close()


def stream(database: Database, statement: str, timeout_s: float) -> Generator[tuple[Any, ...]]:
    """First the names of the columns, then the rows; errors as `run_readonly_sql` raises them."""
    with clear_faults(database.label):
        connection = _open_transaction(database, timeout_s)
    watch = _Watch(connection, timeout_s + GRACE_S)
    try:
        yield from _answers(connection, statement)
    except psycopg.errors.QueryCanceled as error:
        raise _too_long(timeout_s) from error
    except psycopg.Error as error:
        if watch.is_over:
            raise _too_long(timeout_s) from error
        if connection.closed:
            raise DatabaseUnavailableError(f"{database.label}: {first_line(error)}") from error
        raise QueryError(f"sql: {first_line(error)}") from error
    finally:
        watch.close()
        connection.close()


def _answers(connection: psycopg.Connection[Any], statement: str) -> Iterator[tuple[Any, ...]]:
    rows_per_chunk = 100 if psycopg.capabilities.has_stream_chunked() else 1
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


def _too_long(timeout_s: float) -> QueryError:
    return QueryError(f"sql: stopped after {timeout_s:g} s; ask for less, or allow more time")


def _columns(connection: psycopg.Connection[Any], statement: str) -> tuple[str, ...]:
    """The names that psycopg's stream() does not tell when there are no rows."""
    connection.pgconn.prepare(b"", statement.encode())
    described = connection.pgconn.describe_prepared(b"")
    names = (described.fname(column) for column in range(described.nfields))
    return tuple(name.decode() for name in names if name is not None)
