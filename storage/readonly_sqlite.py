"""Queries that SQLite keeps from writing.

The file is opened read-only, and an authorizer refuses all but SELECT (no ATTACH, no extensions).
"""

import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from core.errors import DatabaseUnavailableError, FramewatchError, QueryError
from storage.database import Database
from storage.faults import clear_faults, fault_of, first_line

_LARGEST_VALUE = 64 * 1024 * 1024
"""Bytes of one text or blob: `zeroblob(1e9)` must not take the memory of a server."""
_STEPS_BETWEEN_CLOCKS = 10_000
_DESCRIBING_PRAGMAS = frozenset(
    ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list")
)
_READING_ACTIONS = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """What SQLite asks for each part of a statement: https://sqlite.org/c3ref/set_authorizer.html."""
    if action in _READING_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second != "load_extension":
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in _DESCRIBING_PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _open_readonly(file: Path, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorize)
    deadline = time.monotonic() + timeout_s
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CLOCKS)
    return connection


def stream(database: Database, statement: str, timeout_s: float) -> Generator[tuple[Any, ...]]:
    """First the names of the columns, then the rows; errors as `run_readonly_sql` raises them."""
    with clear_faults(database.label):
        connection = _open_readonly(Path(database.url.database or ""), timeout_s)
    try:
        cursor = connection.execute(statement)
        if cursor.description is None:
            raise QueryError("sql: expected a statement that gives rows, got one without any")
        yield tuple(column[0] for column in cursor.description)
        yield from cursor
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _sqlite_error(error, database.label, timeout_s) from error
    finally:
        connection.close()


def _sqlite_error(error: Exception, label: str, timeout_s: float) -> FramewatchError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return QueryError(f"sql: stopped after {timeout_s:g} s; ask for less, or allow more time")
    if code == sqlite3.SQLITE_AUTH:
        return QueryError(f"sql: expected one statement that only reads: {first_line(error)}")
    fault = fault_of(error, label)
    return fault if isinstance(fault, DatabaseUnavailableError) else QueryError(f"sql: {first_line(error)}")
