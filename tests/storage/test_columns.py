from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import literal, select
from sqlalchemy.exc import StatementError

from storage.columns import UtcDateTime, format_stamp, parse_stamp
from storage.database import Database

moments = st.datetimes(
    min_value=datetime(1, 1, 3),  # noqa: DTZ001 - hypothesis wants naive bounds
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))]),
)


@given(moments)
def test_a_stamp_comes_back_as_the_same_moment_in_utc(moment: datetime) -> None:
    back = parse_stamp(format_stamp(moment))
    assert back == moment
    assert back.tzinfo is UTC


@given(moments, moments)
def test_stamps_sort_as_their_moments_do(first: datetime, second: datetime) -> None:
    assert (format_stamp(first) < format_stamp(second)) == (first < second)


def test_a_stamp_reads_as_plain_utc() -> None:
    assert format_stamp(datetime(2026, 11, 23, 23, 53, tzinfo=timezone(timedelta(hours=1)))) == (
        "2026-11-23 22:53:00.000000"
    )


def test_times_come_back_aware_and_in_utc_from_both_databases(database: Database) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    with database.reading() as connection:
        back = connection.scalar(select(literal(moment, UtcDateTime())))
    assert back == moment
    assert back is not None
    assert back.utcoffset() == timedelta(0)


def test_naive_times_are_refused_by_both_databases(database: Database) -> None:
    with database.reading() as connection, pytest.raises(StatementError, match="naive"):
        connection.scalar(select(literal(datetime(2026, 3, 29), UtcDateTime())))  # noqa: DTZ001
