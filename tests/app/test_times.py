from datetime import UTC, datetime, timedelta

import pytest

from app.times import (
    format_age,
    format_iso,
    format_minute,
    format_moment,
    parse_bucket,
    parse_moment,
    parse_span,
)
from core.errors import QueryError

NOW = datetime(2026, 11, 23, 15, 30, 12, 345678, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("2W", timedelta(weeks=2)),
        ("2 h", timedelta(hours=2)),
        ("2", None),
        ("h", None),
        ("-2h", None),
        ("9" * 30 + "w", None),
        ("9" * 400 + "w", None),
        ("52142w", timedelta(weeks=52_142)),
        ("52143w", None),
    ],
)
def test_spans_are_a_number_and_a_unit(text: str, expected: timedelta | None) -> None:
    assert parse_span(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("now", NOW),
        ("today", datetime(2026, 11, 23, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T08:30", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
        ("2026-11-20 08:30:00.25Z", datetime(2026, 11, 20, 8, 30, 0, 250000, tzinfo=UTC)),
        ("2026-11-20T08:30:00+01:00", datetime(2026, 11, 20, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_relative_named_or_iso_and_utc_unless_it_says_otherwise(
    text: str, expected: datetime
) -> None:
    assert parse_moment(text, "--since", NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "tomorrowish", "24:00", "2026-13-01", "1e9w", "9999999999w", "0001-01-01T00:00+23:00"]
)
def test_a_wrong_moment_names_the_option_and_gives_examples(text: str) -> None:
    with pytest.raises(QueryError, match=r"^--since: expected a time such as 2h, 7d, today"):
        parse_moment(text, "--since", NOW)


@pytest.mark.parametrize("text", ["0h", "hour", "", "-1h"])
def test_a_bucket_needs_a_width(text: str) -> None:
    with pytest.raises(QueryError, match="--bucket: expected a width"):
        parse_bucket(text, "--bucket")


def test_times_are_shown_in_utc() -> None:
    moment = datetime.fromisoformat("2026-11-23T16:30:12.345678+01:00")
    assert format_moment(moment) == "2026-11-23 15:30:12.345"
    assert format_iso(moment) == "2026-11-23T15:30:12.345678Z"
    assert format_minute(moment) == "2026-11-23 15:30:12"
    assert format_minute(datetime(2026, 11, 23, 15, tzinfo=UTC)) == "2026-11-23 15:00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (-0.2, "0.0 s"),
        (0.44, "0.4 s"),
        (42, "42 s"),
        (600, "10 min"),
        (9000, "2 h"),
        (3e5, "3 d"),
    ],
)
def test_ages_have_one_unit(seconds: float | None, shown: str) -> None:
    assert format_age(seconds) == shown
