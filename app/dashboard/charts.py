"""A chart of counts over time: numbers for a template to draw, with links into every bar."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.types import EPOCH
from storage.queries import CountRow

MOST_BARS = 120
MOST_CLASSES = 7
OTHERS = "others"
WIDTHS = tuple(timedelta(seconds=s) for s in (1, 10, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000))
"""Widths of a bar that people can read off an axis."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One class's part of a bar, in the chart's own units."""

    class_name: str
    count: int
    y: int
    """Detections below the top of the axis at which it begins."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket of time."""

    start: datetime
    end: datetime
    total: int
    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return ", ".join(f"{one.count} {one.class_name}" for one in self.segments) or "nothing"


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the oldest to the newest, a gap for every bucket without detections."""

    bars: tuple[Bar, ...]
    width: timedelta
    """Of one bar."""
    top: int
    """The round number at the upper end of the axis; 0 when there is nothing to draw."""
    totals: tuple[tuple[str, int], ...]
    """Per class, most first."""

    @property
    def total(self) -> int:
        return sum(count for _, count in self.totals)


def choose_width(since: datetime, until: datetime) -> timedelta:
    """The narrowest readable bar that keeps their number within MOST_BARS."""
    return next((width for width in WIDTHS if (until - since) / width <= MOST_BARS), WIDTHS[-1])


def make_chart(rows: Sequence[CountRow], since: datetime, until: datetime, width: timedelta) -> Chart:
    """Bars of the counts by class and bucket of `width` that lie between two times."""
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row.class_name or ""] += row.count
    named = [name for name, _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))]
    shown = named if len(named) <= MOST_CLASSES else named[: MOST_CLASSES - 1]
    per_bucket: dict[datetime, Counter[str]] = {}
    for row in rows:
        if row.bucket is not None:
            name = row.class_name if row.class_name in shown else OTHERS
            per_bucket.setdefault(row.bucket, Counter())[name or ""] += row.count
    top = round_up(max((sum(counts.values()) for counts in per_bucket.values()), default=0))
    bars: list[Bar] = []
    start = EPOCH + (since - EPOCH) // width * width
    while start < until and len(bars) <= MOST_BARS + 1:
        bars.append(_bar(start, width, per_bucket.get(start, Counter()), [*shown, OTHERS], top))
        start += width
    ordered = tuple((name, totals[name]) for name in shown)
    rest = sum(totals.values()) - sum(count for _, count in ordered)
    return Chart(tuple(bars), width, top, (*ordered, (OTHERS, rest)) if rest else ordered)


def _bar(start: datetime, width: timedelta, counts: Counter[str], order: Sequence[str], top: int) -> Bar:
    segments: list[Segment] = []
    height = 0
    for name in order:
        if counts[name]:
            height += counts[name]
            segments.append(Segment(name, counts[name], top - height))
    return Bar(start, start + width, height, tuple(segments))


def round_up(number: int) -> int:
    """The next even round number, so that the line across the middle is a whole one; 0 for 0."""
    decade = 1
    while number > 10 * decade:
        decade *= 10
    rounds = (step * decade for step in (1, 2, 3, 4, 5, 6, 8, 10))
    return next(one for one in rounds if one >= number and one % 2 == 0) if number > 0 else 0
