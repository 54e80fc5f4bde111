"""Counts over time: bars by class, and a lane per camera, as numbers for a template to draw."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import sqrt

from core.types import EPOCH
from storage.queries import CountRow

MOST_BARS = 120
MOST_CLASSES = 7
MOST_LANES = 12
OTHERS = "others"
WIDTHS = tuple(timedelta(seconds=s) for s in (1, 10, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000))
"""Widths of a bar that people can read off an axis."""
_TICKS = 4
_DAY_AND_A_HALF = timedelta(hours=36)
_MONTHS = timedelta(days=300)


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
class Cell:
    """One bucket of one camera."""

    index: int
    """Of the bar above it."""
    count: int
    strength: float
    """0 to 1: the root of its share of the busiest cell, so that few are seen beside many."""


@dataclass(frozen=True, slots=True)
class Lane:
    """When one camera saw something."""

    camera: str
    total: int
    cells: tuple[Cell, ...]
    """Those that hold anything, oldest first."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the oldest to the newest, a gap for every bucket without detections."""

    bars: tuple[Bar, ...]
    lanes: tuple[Lane, ...]
    """Of the busiest cameras, most first."""
    width: timedelta
    """Of one bar."""
    top: int
    """The round number at the upper end of the axis; 0 when there is nothing to draw."""
    totals: tuple[tuple[str, int], ...]
    """Per class, most first."""
    cameras: int
    """How many have a lane, or would have one."""

    @property
    def total(self) -> int:
        return sum(count for _, count in self.totals)

    @property
    def since(self) -> datetime:
        return self.bars[0].start

    @property
    def until(self) -> datetime:
        return self.bars[-1].end

    def moved(self, by: float, scale: float = 1.0) -> dict[str, datetime]:
        """`since` and `until` of a span `scale` times as long, its middle moved by so many spans."""
        span = self.until - self.since
        try:
            middle = self.since + span / 2 + span * by
            return {"since": middle - span * scale / 2, "until": middle + span * scale / 2}
        except OverflowError:
            return {"since": self.since, "until": self.until}

    @property
    def ticks(self) -> list[str]:
        """Labels at equal distances from the beginning of the axis to its end."""
        span = self.until - self.since
        moments = [self.since + span * i / _TICKS for i in range(_TICKS + 1)]
        return [_label(moment, span, first=i == 0) for i, moment in enumerate(moments)]


def choose_width(since: datetime, until: datetime) -> timedelta:
    """The narrowest readable bar that keeps their number within MOST_BARS."""
    fitting = next((width for width in WIDTHS if (until - since) / width <= MOST_BARS), None)
    return fitting or WIDTHS[-1] * -(-(until - since) // (WIDTHS[-1] * MOST_BARS))


def make_chart(rows: Sequence[CountRow], since: datetime, until: datetime, width: timedelta) -> Chart:
    """A chart of counts by class, camera and bucket of `width` that lie between two times."""
    totals, per_bucket = _sum(rows, "class_name")
    named = [name for name, _ in _most_first(totals)]
    shown = named if len(named) <= MOST_CLASSES else named[: MOST_CLASSES - 1]
    top = round_up(max((sum(counts.values()) for counts in per_bucket.values()), default=0))
    starts = _starts(since, until, width)
    bars = tuple(_bar(start, width, per_bucket.get(start, Counter()), shown, top) for start in starts)
    ordered = tuple((name, totals[name]) for name in shown)
    rest = sum(totals.values()) - sum(count for _, count in ordered)
    lanes, cameras = _lanes(rows, starts)
    return Chart(bars, lanes, width, top, (*ordered, (OTHERS, rest)) if rest else ordered, cameras)


def _starts(since: datetime, until: datetime, width: timedelta) -> list[datetime]:
    first = EPOCH + (since - EPOCH) // width * width
    count = min(MOST_BARS + 1, -(-(until - first) // width))
    return [first + i * width for i in range(max(1, count))]


def _sum(rows: Iterable[CountRow], field: str) -> tuple[Counter[str], dict[datetime, Counter[str]]]:
    """Counts per value of a field, in all and per bucket."""
    totals: Counter[str] = Counter()
    per_bucket: dict[datetime, Counter[str]] = {}
    for row in rows:
        name = getattr(row, field) or ""
        totals[name] += row.count
        if row.bucket is not None:
            per_bucket.setdefault(row.bucket, Counter())[name] += row.count
    return totals, per_bucket


def _most_first(totals: Counter[str]) -> list[tuple[str, int]]:
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def _bar(start: datetime, width: timedelta, counts: Counter[str], shown: Sequence[str], top: int) -> Bar:
    parts = [(name, counts[name]) for name in shown if counts[name]]
    rest = sum(counts.values()) - sum(count for _, count in parts)
    segments: list[Segment] = []
    height = 0
    for name, count in [*parts, (OTHERS, rest)] if rest else parts:
        height += count
        segments.append(Segment(name, count, top - height))
    return Bar(start, start + width, height, tuple(segments))


def _lanes(rows: Sequence[CountRow], starts: Sequence[datetime]) -> tuple[tuple[Lane, ...], int]:
    """The lanes of the busiest cameras, and how many cameras there are."""
    totals, per_bucket = _sum(rows, "camera")
    busiest = max((max(counts.values()) for counts in per_bucket.values()), default=1)
    lanes = []
    for camera, total in _most_first(totals)[:MOST_LANES]:
        counted = [(i, per_bucket.get(start, Counter())[camera]) for i, start in enumerate(starts)]
        cells = tuple(Cell(i, count, round(sqrt(count / busiest), 3)) for i, count in counted if count)
        lanes.append(Lane(camera, total, cells))
    return tuple(lanes), len(totals)


def _label(moment: datetime, span: timedelta, *, first: bool) -> str:
    """As short as it may be: a day's axis needs no date but at its beginning."""
    if span > _MONTHS:
        return moment.astimezone(UTC).strftime("%b %Y")
    if span > _DAY_AND_A_HALF:
        return moment.astimezone(UTC).strftime("%-d %b")
    clock = "%H:%M" if span >= timedelta(minutes=5) else "%H:%M:%S"
    return moment.astimezone(UTC).strftime(f"%-d %b {clock}" if first else clock)


def round_up(number: int) -> int:
    """The next even round number, so that the line across the middle is a whole one; 0 for 0."""
    decade = 1
    while number > 10 * decade:
        decade *= 10
    rounds = (step * decade for step in (1, 2, 3, 4, 5, 6, 8, 10))
    return next(one for one in rounds if one >= number and one % 2 == 0) if number > 0 else 0
