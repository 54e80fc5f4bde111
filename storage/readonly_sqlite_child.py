"""The process that asks SQLite, run as a script: it needs the standard library alone, and starts in 20 ms.

Reads one marshalled request (file URI, statement, seconds) from standard input, and answers on standard
output with marshalled messages, each behind its length in 8 bytes: ("columns", [name, ..]), then
("rows", [row, ..]) as often as need be, then ("end",); or, at any point, ("error", kind, SQLite's code,
message).
"""

import marshal
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator
from typing import Any

LARGEST_VALUE = 64 * 1024 * 1024
"""Bytes of one text or blob: `zeroblob(1e9)` must not take the memory of a server."""
MOST_MEMORY = 2 * 1024**3
ROWS_PER_MESSAGE, BYTES_PER_MESSAGE = 500, 256 * 1024
_STEPS_BETWEEN_CLOCKS = 10_000
_DESCRIBING_PRAGMAS = frozenset(
    ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list")
)
_READING_ACTIONS = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))
_HIDDEN_TABLES = frozenset(("api_tokens", "api_sessions", "reader_logins"))
_FORBIDDEN_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))


def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """What SQLite asks for each part of a statement: https://sqlite.org/c3ref/set_authorizer.html."""
    if action == sqlite3.SQLITE_READ and (first or "").lower() in _HIDDEN_TABLES:
        return sqlite3.SQLITE_DENY
    if action in _READING_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in _DESCRIBING_PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def open_readonly(uri: str, timeout_s: float) -> sqlite3.Connection:
    """A connection that can only read its one file, and ends statements when time is up."""
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(authorize)
    deadline = time.monotonic() + timeout_s
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CLOCKS)
    return connection


def _messages(uri: str, statement: str, timeout_s: float) -> Iterator[tuple[Any, ...]]:
    connection = open_readonly(uri, timeout_s)
    cursor = connection.execute(statement)
    if cursor.description is None:
        yield "error", "NoRows", 0, "expected a statement that gives rows, got one without any"
        return
    yield "columns", [column[0] for column in cursor.description]
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in cursor:
        rows.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(rows) >= ROWS_PER_MESSAGE or size >= BYTES_PER_MESSAGE:
            yield "rows", rows
            rows, size = [], 0
    yield "rows", rows
    yield ("end",)


def _send(*message: Any) -> None:
    blob = marshal.dumps(message)
    sys.stdout.buffer.write(len(blob).to_bytes(8, "big") + blob)
    sys.stdout.buffer.flush()


def main() -> None:
    """Answers the request on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    uri, statement, timeout_s = marshal.load(sys.stdin.buffer)
    try:
        for message in _messages(uri, statement, timeout_s):
            _send(*message)
    except BrokenPipeError:
        pass
    except (sqlite3.Error, sqlite3.Warning, MemoryError) as error:
        _send("error", type(error).__name__, getattr(error, "sqlite_errorcode", 1), str(error))


if __name__ == "__main__":
    main()
