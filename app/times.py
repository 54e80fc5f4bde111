"""Times as people type them and as tables show them. Times without a zone are UTC, as in the database."""

import re
from datetime import UTC, datetime, timedelta

from core.errors import QueryError

_SPAN = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>[smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_SPAN = timedelta(days=365_000)
"""A thousand years: there is a year so far back, and so far ahead."""
_EXAMPLES = "2h, 7d, today, yesterday, 2026-11-23 or 2026-11-23T08:30:00+01:00"


def parse_span(text: str) -> timedelta | None:
    """`90s`, `15m`, `2h`, `7d`, `1w` as a timedelta; None for any other text, and beyond a thousand years."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        return None
    seconds = float(match["count"]) * _UNIT_S[match["unit"]]
    return timedelta(seconds=seconds) if seconds <= _LONGEST_SPAN.total_seconds() else None


def parse_moment(text: str, option: str, now: datetime | None = None) -> datetime:
    """An aware UTC datetime of a span back from now, `now`, `today`, `yesterday` or an ISO 8601 time.

    Raises QueryError, naming `option`, for anything else.
    """
    now = now or datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    word = text.strip().lower()
    if word in named:
        return named[word]
    try:
        span = parse_span(word)
        moment = now - span if span is not None else datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise QueryError(f"{option}: expected a time such as {_EXAMPLES}, got {text!r}") from None


def parse_bucket(text: str, option: str) -> timedelta:
    """The width of a time bucket. Raises QueryError, naming `option`."""
    width = parse_span(text)
    if width is None or width <= timedelta(0):
        raise QueryError(f"{option}: expected a width of time such as 15m, 1h or 1d, got {text!r}")
    return width


def format_moment(moment: datetime) -> str:
    """`2026-11-23 08:30:00.100` in UTC: milliseconds tell frames apart, and a column fits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def format_minute(moment: datetime) -> str:
    """`2026-11-23 08:30` in UTC, with seconds where there are any."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S" if utc.second or utc.microsecond else "%Y-%m-%d %H:%M")


def format_iso(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and `Z`, always of one length: for files and machines."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_age(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `5 min`, `3 h`, `2 d`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
