"""Driver errors turned into the leaves of core/errors.py, in one line and without secrets."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import DatabaseUnavailableError, FramewatchError, SettingsError, UsageError

UPGRADE_ADVICE = "run `framewatch db upgrade`"
_MISSING_IN_SQLITE = ("no such table", "no such column", "has no column named")
_MISSING_IN_POSTGRES = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)
_DAMAGED_POSTGRES = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted)


def first_line(error: BaseException | None) -> str:
    """The first line of a driver's message; PostgreSQL adds HINT, LINE and a caret on further ones."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _sqlite_fault(error: sqlite3.Error, where: str) -> FramewatchError | None:
    text = first_line(error)
    if text.startswith(_MISSING_IN_SQLITE) or any(part in text for part in _MISSING_IN_SQLITE):
        return UsageError(f"{where}: the schema is not the one this version needs ({text}); {UPGRADE_ADVICE}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return SettingsError(f"{where}: expected a SQLite database, got a damaged or other file ({text})")
    if code == sqlite3.SQLITE_ERROR or not isinstance(error, sqlite3.OperationalError):
        return None  # wrong SQL or a broken constraint: trying again cannot help
    return DatabaseUnavailableError(f"{where}: {text}")


def _postgres_fault(error: psycopg.Error, where: str) -> FramewatchError | None:
    text = first_line(error)
    if isinstance(error, _MISSING_IN_POSTGRES):
        return UsageError(f"{where}: the schema is not the one this version needs ({text}); {UPGRADE_ADVICE}")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return UsageError(f"{where}: expected a role that may do this, got: {text}; use the tables' owner")
    if isinstance(error, _DAMAGED_POSTGRES):
        return UsageError(f"{where}: expected a sound database, got a damaged one ({text}); repair it")
    transient = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
    if isinstance(error, transient):  # the last: a fail-over left us on a standby
        return DatabaseUnavailableError(f"{where}: {text}")
    return None


def fault_of(error: BaseException, where: str) -> FramewatchError | None:
    """The leaf that tells the caller what to do, or None for an error that is a defect of ours."""
    if isinstance(error, PoolTimeoutError):
        return DatabaseUnavailableError(f"{where}: all connections are busy")
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailableError(f"{where}: {first_line(original)}")
    if isinstance(original, sqlite3.Error):
        return _sqlite_fault(original, where)
    if isinstance(original, psycopg.Error):
        return _postgres_fault(original, where)
    return None


@contextmanager
def clear_faults(where: str) -> Iterator[None]:
    """Raises what `fault_of` says about driver errors of the block; other errors pass."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        fault = fault_of(error, where)
        if fault is None:
            raise
        raise fault from error
