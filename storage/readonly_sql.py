"""A person's own SQL, kept from writing by the database itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from storage.database import Database


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to a statement; `rows` streams from the database and can be read once."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def run_readonly_sql(
    database: Database, statement: str, limit: int | None = None, timeout_s: float = 30.0
) -> Table:
    """Runs one statement that reads; ends after `limit` rows.

    Raises QueryError, in one line, for bad SQL, for anything that would write, and when `timeout_s` is over
    (also while the rows are read).
    """
    raise NotImplementedError
