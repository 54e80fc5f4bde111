"""A person's own SQL, kept from writing by the database itself, not by reading the statement."""

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from core.errors import QueryError
from storage import readonly_postgres, readonly_sqlite
from storage.database import Database

Row: TypeAlias = tuple[Any, ...]

READING_WORDS = ("select", "with", "values", "table", "explain", "show", "pragma")
_LEADING_COMMENTS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to a statement; `rows` streams from the database and can be read once."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


def run_readonly_sql(
    database: Database, statement: str, limit: int | None = None, timeout_s: float = 30.0
) -> Table:
    """Runs one statement that reads; ends after `limit` rows.

    Times are aware datetimes on PostgreSQL and UTC text on SQLite, as the database gives them.

    Raises QueryError, in one line, for bad SQL, for anything that would write, and when `timeout_s` is over
    (also while the rows are read); DatabaseUnavailableError when the server is lost.
    """
    _check_first_word(statement)
    run = readonly_postgres if database.dialect == "postgresql" else readonly_sqlite
    answer = run.stream(database, statement, timeout_s)
    columns = next(
        answer
    )  # the generator has started: it closes its connection also if nobody reads the rows
    return Table(columns, _limited(answer, limit))


def _limited(rows: Generator[Row], limit: int | None) -> Iterator[Row]:
    with closing(rows):
        yield from islice(rows, limit)


def _check_first_word(statement: str) -> None:
    """A clear message for the honest mistake; what follows does not rely on it."""
    comments = _LEADING_COMMENTS.match(statement)
    word = re.match(r"[A-Za-z]*", statement[comments.end() if comments else 0 :])
    first = word[0].lower() if word else ""
    if first not in READING_WORDS:
        got = first.upper() or "none"
        raise QueryError(f"sql: expected one statement that reads, such as SELECT, got {got}")
