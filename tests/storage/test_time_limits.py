"""Questions that take too long are given up, and the connection goes on."""

import time

import pytest
from sqlalchemy import text

from core.errors import QueryError
from storage.database import Database

FOREVER = {
    "postgresql": "SELECT pg_sleep(60)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
}

SLOW = {
    "postgresql": "SELECT pg_sleep(0.3)",
    "sqlite": FOREVER["sqlite"].replace("FROM n)", "FROM n LIMIT 99999)"),
}


def test_a_question_that_takes_too_long_ends_with_what_to_do(database: Database) -> None:
    started = time.monotonic()
    with (
        pytest.raises(QueryError, match=r"answered within 0\.2 s.*less time"),
        database.reading(0.2) as connection,
    ):
        connection.execute(text(FOREVER[database.dialect])).all()
    assert time.monotonic() - started < 10


def test_the_limit_ends_with_its_question(database: Database) -> None:
    with database.reading(0.1) as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    started = time.monotonic()
    with database.reading() as connection:
        while time.monotonic() - started < 0.3:
            connection.execute(text(SLOW[database.dialect])).all()
