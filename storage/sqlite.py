"""What only SQLite needs: checks of the file, pragmas, and transactions that do not collide."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, FromClause, create_engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler

from core.errors import SettingsError

BUSY_TIMEOUT_S = 30.0
WRITING = "framewatch_writing"
"""Execution option of connections whose transactions will write."""
_MAGIC = b"SQLite format 3\x00"


def checked_file(url: URL) -> Path:
    """The file of a SQLite URL. Raises SettingsError where no database can be."""
    name = url.database or ""
    if name in ("", ":memory:") or name.startswith("file:"):
        raise SettingsError(f"database url: expected sqlite:///FILE with a plain path, got {url}")
    file = Path(name)
    if file.is_dir():
        raise SettingsError(f"database url: expected a file, got the directory {file}; name a file in it")
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"database url: expected an existing directory, got {file.parent}; make it first")
    if file.exists():
        _check_header(file)
    return file


def _check_header(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            header = stream.read(len(_MAGIC))
    except OSError as error:
        raise SettingsError(f"database url: cannot read {file}: {error.strerror}") from error
    if header not in (b"", _MAGIC):
        raise SettingsError(f"database url: expected a SQLite database, got another kind of file: {file}")


def sqlite_engine(url: URL) -> Engine:
    """An engine for several threads and processes on one file."""
    arguments: dict[str, Any] = {"isolation_level": None}
    if "timeout" not in url.query:
        arguments["timeout"] = BUSY_TIMEOUT_S
    engine = create_engine(url, hide_parameters=True, connect_args=arguments)
    engine.dialect.statement_compiler = _HintingCompiler
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


class _HintingCompiler(SQLiteCompiler):
    """Puts `Select.with_hint(table, "INDEXED BY ..", "sqlite")` behind the table's name in FROM."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        """SQLAlchemy's own compiler for SQLite knows no hints."""
        del table
        return text


def _set_pragmas(connection: sqlite3.Connection, record: Any) -> None:
    del record
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode a power cut costs the last commits only
    connection.execute("PRAGMA cache_size = -32000")
    connection.execute("PRAGMA temp_store = MEMORY")


def _begin(connection: Connection) -> None:
    """Takes the write lock at once where rows will be written.

    A transaction that begins by reading and writes later fails at once with "database is locked" when another
    process wrote in between, whatever the busy time-out (https://sqlite.org/rescode.html#busy_snapshot).
    """
    writing = connection.get_execution_options().get(WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def turn_on_wal(file: Path) -> None:
    """Write-ahead logging, a lasting property of the file: readers and the writer do not block each other."""
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    try:
        while not _switched_to_wal(connection, deadline):
            time.sleep(0.02)
    finally:
        connection.close()


def _switched_to_wal(connection: sqlite3.Connection, deadline: float) -> bool:
    """One try: the switch ignores the busy time-out while another process is in a transaction."""
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
            raise
        return False
    return True
