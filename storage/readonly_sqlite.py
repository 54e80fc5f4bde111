"""Queries that SQLite keeps from writing.

The file is opened read-only, and an authorizer refuses all but SELECT (no ATTACH, no extensions). A process
of its own does it: some functions, such as instr() on long texts, never look up while they compute, and only
ending their process ends them.
"""

import marshal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

from core.errors import DatabaseUnavailableError, FramewatchError, QueryError
from storage.database import Database
from storage.faults import UPGRADE_ADVICE, fault_of

GRACE_S = 1.0
"""After its time-out SQLite gets so long to stop by itself, before its process is ended."""
_CHILD = Path(__file__).with_name("readonly_sqlite_child.py")


class _Child:
    """The process that asks, and the clock that ends it."""

    def __init__(self, uri: str, statement: str, timeout_s: float) -> None:
        self.is_over = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._timer = threading.Timer(timeout_s + GRACE_S, self._end)
        self._timer.daemon = True
        self._timer.start()
        assert self._process.stdin is not None
        with self._process.stdin as requests:
            requests.write(marshal.dumps((uri, statement, timeout_s)))

    def _end(self) -> None:
        self.is_over = True
        self._process.kill()

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What the child says, until it ends."""
        assert self._process.stdout is not None
        while (message := _receive(self._process.stdout)) is not None:
            yield message

    def close(self) -> None:
        """Ends the child, if nobody has yet."""
        self._timer.cancel()
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()


def _receive(stream: IO[bytes]) -> tuple[Any, ...] | None:
    """One message; None when the child is gone."""
    length = int.from_bytes(stream.read(8), "big")
    blob = stream.read(length)
    if not length or len(blob) < length:
        return None
    message: tuple[Any, ...] = marshal.loads(blob)
    return message


def stream(database: Database, statement: str, timeout_s: float) -> Generator[tuple[Any, ...]]:
    """First the names of the columns, then the rows; errors as `run_readonly_sql` raises them."""
    file = Path(database.url.database or "")
    if not file.exists():
        raise DatabaseUnavailableError(f"{database.label}: found no such file; {UPGRADE_ADVICE}")
    child = _Child(f"{file.absolute().as_uri()}?mode=ro", statement, timeout_s)
    try:
        for kind, *parts in child.messages():
            if kind == "columns":
                yield tuple(parts[0])
            elif kind == "rows":
                yield from parts[0]
            elif kind == "error":
                raise _error(*parts, label=database.label, timeout_s=timeout_s)
            else:
                return
        if child.is_over:
            raise _too_long(timeout_s)
        raise QueryError("sql: the process that asked SQLite ended; ask for less")
    finally:
        child.close()


def _error(kind: str, code: int, message: str, *, label: str, timeout_s: float) -> FramewatchError:
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_INTERRUPT:
        return _too_long(timeout_s)
    if kind == "MemoryError" or primary == sqlite3.SQLITE_NOMEM:
        return QueryError("sql: the answer needs too much memory; ask for less")
    if primary == sqlite3.SQLITE_AUTH:
        return QueryError(f"sql: expected one statement that only reads: {message}")
    if kind == "OperationalError":
        error = sqlite3.OperationalError(message)
        error.sqlite_errorcode = code
        fault = fault_of(error, label)
        if isinstance(fault, DatabaseUnavailableError):
            return fault
    return QueryError(f"sql: {message.splitlines()[0] if message else kind}")


def _too_long(timeout_s: float) -> QueryError:
    return QueryError(f"sql: stopped after {timeout_s:g} s; ask for less, or allow more time")
