"""An end to questions that take too long, set by the database itself."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.errors import QueryError

_STEPS_PER_LOOK = 10_000
"""Instructions of SQLite's virtual machine between two looks at the clock: less than a millisecond."""


@contextmanager
def limited(connection: Connection, limit_s: float) -> Iterator[None]:
    """Ends what the block asks after `limit_s` seconds (PostgreSQL: each statement) with QueryError."""
    try:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(1000 * limit_s)}")
            yield
        else:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            end_at = time.monotonic() + limit_s
            driver.set_progress_handler(lambda: time.monotonic() > end_at, _STEPS_PER_LOOK)
            try:
                yield
            finally:
                driver.set_progress_handler(None, 0)
    except DBAPIError as error:
        if not _was_interrupted(error):
            raise
        raise QueryError(
            f"expected a question that is answered within {limit_s:g} s, got a longer one; "
            "ask for less time or for one camera"
        ) from error


def _was_interrupted(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return isinstance(error.orig, psycopg.errors.QueryCanceled) or code == sqlite3.SQLITE_INTERRUPT
