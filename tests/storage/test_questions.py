"""The questions of docs/sql.md, on both databases, say what plain Python says about the same facts."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, text, update

from core.camera_state import CameraActivity, CameraEvent
from core.types import Camera, DropReason, LedgerMinute, WeightsInfo
from storage.camera_events import write_camera_events
from storage.cameras import add_camera
from storage.columns import STAMP_LENGTH, parse_stamp
from storage.database import Database
from storage.ledger import write_ledger_minutes
from storage.readonly_sql import run_readonly_sql
from storage.tables import frames
from storage.writer import Writer
from tests.storage.results import make_result

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
WEIGHTS = WeightsInfo("street", "a" * 64, ("person", "car", "truck"))
CAMERAS = ("gate", "yard", "dock")
WEEK = datetime(2024, 11, 18, tzinfo=UTC)
"""Long ago, for no state to end while the test asks."""
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
WIDTH, HEIGHT = 768, 576
ZONES = {"Europe/Berlin": 60, "Asia/Kolkata": 330, "America/St_Johns": -210, "Asia/Kathmandu": 345}
"""Minutes ahead of UTC in November."""
REASONS = tuple(DropReason)

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Box:
    label: int
    score: float
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Shot:
    """A frame with its boxes, best first."""

    camera: str
    at: datetime
    index: int
    boxes: tuple[Box, ...]
    latency_ms: int


@dataclass(frozen=True)
class Facts:
    """What happened, and what is asked about it."""

    shots: tuple[Shot, ...]
    minutes: tuple[LedgerMinute, ...]
    events: tuple[CameraEvent, ...]
    recorded: frozenset[str]
    """Cameras that are files."""
    camera: str
    since: datetime
    """Midnight; takes the place of 17 November."""
    middle: datetime
    """Of 23 November."""
    until: datetime
    """Of 24 November."""
    hour: datetime
    region: tuple[int, int, int, int]
    zone: str

    def rows(self) -> Iterator[tuple[Shot, str, Box]]:
        """Every detection with its frame and class."""
        return ((shot, WEIGHTS.categories[box.label], box) for shot in self.shots for box in shot.boxes)

    def in_week(self, at: datetime) -> bool:
        return self.since <= at < self.until

    def in_day(self, at: datetime) -> bool:
        return self.middle <= at < self.until


boxes = st.builds(
    Box,
    st.integers(0, 2),
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    st.integers(0, 8).map(lambda n: 60 * n),
    st.integers(0, 8).map(lambda n: 45 * n),
    st.integers(1, 280),
    st.integers(1, 210),
)
moments = st.builds(
    lambda day, second, us: WEEK + day * DAY + second * SECOND + timedelta(microseconds=us),
    st.integers(0, 9),
    st.sampled_from([0, 1, 59, 60, 3599, 3600, 40_000, 79_200, 80_000, 82_800, 86_399]),
    st.sampled_from([0, 1, 123_456, 999_999]),
)
shots = st.builds(
    Shot,
    st.sampled_from(CAMERAS),
    moments,
    st.integers(0, 3),
    st.lists(boxes, max_size=4).map(lambda found: tuple(sorted(found, key=lambda box: -box.score))),
    st.integers(1, 100_000),
)
minutes = st.builds(
    lambda camera, minute, counts: LedgerMinute(
        camera,
        WEEK + minute * timedelta(minutes=1),
        *counts[:2],
        dict(zip(REASONS, counts[2:], strict=True)),
    ),
    st.sampled_from(CAMERAS),
    st.integers(0, 5000),
    st.lists(st.integers(0, 9), min_size=2 + len(REASONS), max_size=2 + len(REASONS)),
)
events = st.builds(
    lambda camera, at, activity: CameraEvent(camera, at, activity, None, "one"),
    st.sampled_from(CAMERAS),
    moments,
    st.sampled_from(list(CameraActivity)),
)


@st.composite
def all_facts(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Facts:
    first, second, third = sorted(draw(st.lists(st.integers(0, 10), min_size=3, max_size=3, unique=True)))
    corner = draw(st.tuples(st.integers(0, 300), st.integers(0, 200)))
    size = draw(st.tuples(st.integers(1, 500), st.integers(1, 400)))
    return Facts(
        tuple(draw(st.lists(shots, max_size=40, unique_by=lambda s: (s.camera, s.at, s.index)))),
        tuple(draw(st.lists(minutes, max_size=8, unique_by=lambda m: (m.camera, m.minute)))),
        tuple(draw(st.lists(events, max_size=12, unique_by=lambda e: (e.camera, e.at)))),
        frozenset(draw(st.sets(st.sampled_from(CAMERAS)))),
        draw(st.sampled_from(CAMERAS)),
        WEEK + first * DAY,
        WEEK + second * DAY,
        WEEK + third * DAY,
        WEEK + draw(st.integers(0, 240)) * HOUR,
        (*corner, corner[0] + size[0], corner[1] + size[1]),
        draw(st.sampled_from(sorted(ZONES))),
    )


def _store(database: Database, facts: Facts) -> None:
    tables = ("frames", "detections", "detection_counts_hourly", "detection_count_changes")
    with database.writing() as connection:
        for table in (*tables, "frame_ledger", "camera_events"):
            connection.execute(text(f"DELETE FROM {table}"))
    results = [
        make_result(
            shot.camera,
            shot.index,
            [(box.x, box.y, box.x + box.width, box.y + box.height) for box in shot.boxes],
            labels=[box.label for box in shot.boxes],
            scores=[box.score for box in shot.boxes],
            captured_at=shot.at,
            recorded=shot.camera in facts.recorded,
        )
        for shot in facts.shots
    ]
    Writer(database).write(results, WEIGHTS)
    write_ledger_minutes(database, facts.minutes)
    write_camera_events(database, facts.events)
    late = (
        update(frames)
        .where(frames.c.captured_at == bindparam("at"), frames.c.frame_index == bindparam("index"))
        .where(frames.c.camera_id == text("(SELECT id FROM cameras WHERE name = :camera)"))
        .values(stored_at=bindparam("stored"))
    )
    with database.writing() as connection:
        for shot in facts.shots:
            stored = shot.at + timedelta(milliseconds=shot.latency_ms)
            values = {"at": shot.at, "index": shot.index, "camera": shot.camera, "stored": stored}
            connection.execute(late, values)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and len(value) == STAMP_LENGTH and value[10] == " ":
        return parse_stamp(value)
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _question(number: int, dialect: str) -> str:
    part = re.search(rf"^{number}\. .*?(?=^\d+\. |^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert part is not None
    blocks = re.findall(r"^```sql ?(\S*)\n(.*?)^```", part[0], re.MULTILINE | re.DOTALL)
    (statement,) = [statement for kind, statement in blocks if kind in ("", dialect)]
    return str(statement)


def _ask(database: Database, facts: Facts, number: int) -> Rows:
    """The answer to a question, its names, times, regions and zones exchanged for those of the facts."""
    statement = _question(number, database.dialect)
    x1, y1, x2, y2 = facts.region
    exchanges = {
        "'gate'": f"'{facts.camera}'",
        "'2026-11-23 22:00'": f"'{facts.hour:%Y-%m-%d %H:%M}'",
        "'2026-11-23 23:00'": f"'{facts.hour + HOUR:%Y-%m-%d %H:%M}'",
        "'2026-11-17'": f"'{facts.since:%Y-%m-%d}'",
        "'2026-11-23'": f"'{facts.middle:%Y-%m-%d}'",
        "'2026-11-24'": f"'{facts.until:%Y-%m-%d}'",
        "x >= 100 AND y >= 100 AND x + width <= 600 AND y + height <= 500": (
            f"x >= {x1} AND y >= {y1} AND x + width <= {x2} AND y + height <= {y2}"
        ),
        "x < 700 AND x + width > 400 AND y < 500 AND y + height > 300": (
            f"x < {x2} AND x + width > {x1} AND y < {y2} AND y + height > {y1}"
        ),
        "'Europe/Berlin'": f"'{facts.zone}'",
        "'+1 hour'": f"'{ZONES[facts.zone]:+d} minutes'",
    }
    pattern = "|".join(re.escape(old) for old in exchanges)
    asked = re.sub(pattern, lambda found: exchanges[found[0]], statement)
    return [tuple(_plain(value) for value in row) for row in run_readonly_sql(database, asked).rows]


def _percentile(values: list[float], share: float) -> float:
    """The least value that at least this share of all keeps."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _hours(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _counted(keys: Iterable[tuple[Any, ...]]) -> Rows:
    return [(*key, count) for key, count in Counter(keys).items()]


def _of_box(box: Box) -> tuple[Any, ...]:
    return box.score, box.x, box.y, box.width, box.height


def _live_s(facts: Facts) -> Rows:
    """day, camera, seconds live, seconds wanted, their ratio; states that last are left out."""
    seconds: dict[tuple[datetime, str], Counter[str]] = defaultdict(Counter)
    for camera in CAMERAS:
        told = sorted((event for event in facts.events if event.camera == camera), key=lambda e: e.at)
        ends = [event.at for event in told[1:]] + [datetime.now(UTC)] * bool(told)
        for event, end in zip(told, ends, strict=True):
            since = event.at
            while since < end:
                until = min(end, _midnight(since) + DAY)
                seconds[_midnight(since), camera][event.activity] += (until - since) / SECOND
                since = until
    found: Rows = []
    for (day, camera), by_state in seconds.items():
        wanted = sum(s for state, s in by_state.items() if state not in ("stopped", "ended"))
        live = by_state.get("live")
        known = wanted if set(by_state) - {"stopped", "ended"} else None
        found.append((day, camera, live, known, (live or 0) / known if known else None))
    return found


def _expected(facts: Facts, number: int) -> Rows:
    rows = list(facts.rows())
    mine = [(shot, name, box) for shot, name, box in rows if shot.camera == facts.camera]
    x1, y1, x2, y2 = facts.region
    if number == 2:
        inside = facts.hour, facts.hour + HOUR
        return [(s.at, *_of_box(b)) for s, n, b in mine if n == "person" and inside[0] <= s.at < inside[1]]
    if number == 3:
        return _counted((s.camera, n) for s, n, _ in rows if facts.in_day(s.at))
    if number == 4:
        return _counted((_hours(s.at), n) for s, n, _ in rows if facts.in_day(s.at))
    if number == 5:
        trucks = [s.at for s, n, _ in mine if n == "truck" and facts.in_week(s.at)]
        return [(len({at.replace(second=0, microsecond=0) for at in trucks}),)]
    if number == 6:
        widest: dict[str, int] = {}
        for s, n, b in rows:
            if n == "car" and facts.in_week(s.at):
                day = f"{s.at:%Y-%m-%d}"
                widest[day] = max(widest.get(day, 0), b.width)
        return list(widest.items())
    if number == 7:
        return [
            (s.camera, s.at, n, *_of_box(b))
            for s, n, b in rows
            if facts.in_week(s.at)
            and b.x >= x1
            and b.y >= y1
            and b.x + b.width <= x2
            and b.y + b.height <= y2
        ]
    if number == 8:
        return [
            (s.at, *_of_box(b))
            for s, n, b in mine
            if n == "car" and b.x < x2 and b.x + b.width > x1 and b.y < y2 and b.y + b.height > y1
        ]
    if number == 9:
        latencies: dict[tuple[str, datetime], list[float]] = defaultdict(list)
        for s in facts.shots:
            if s.camera not in facts.recorded and facts.since <= _hours(s.at) < facts.until:
                latencies[s.camera, _hours(s.at)].append(s.latency_ms)
        return [(*key, len(values), _percentile(values, 0.95)) for key, values in latencies.items()]
    if number == 10:
        people = _counted((s.camera, s.at, s.index) for s, n, b in rows if n == "person" and b.score >= 0.5)
        most = sorted(people, key=lambda row: (-row[3], row[1], row[0]))[:5]
        return [(camera, at, count) for camera, at, _, count in most]
    if number == 11:
        seen: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for s, n, _ in rows:
            seen[s.camera, n].append(s.at)
        return [(*key, min(times), max(times)) for key, times in seen.items()]
    if number == 12:
        by_day = _counted((_midnight(s.at), s.camera) for s, _, _ in rows)
        best: dict[datetime, int] = defaultdict(int)
        for day, _, count in by_day:
            best[day] = max(best[day], count)
        return [row for row in by_day if row[2] == best[row[0]]]
    if number == 13:
        return [
            (s.camera, s.at, n, b.width * b.height / (WIDTH * HEIGHT))
            for s, n, b in rows
            if b.width * b.height >= 0.25 * WIDTH * HEIGHT
        ]
    if number == 14:
        return _counted(
            (math.floor((b.x + b.width / 2) / 64), math.floor((b.y + b.height) / 64))
            for _, n, b in mine
            if n == "person"
        )
    if number == 15:
        per_frame: dict[str, list[int]] = defaultdict(list)
        for s in facts.shots:
            if facts.in_day(s.at):
                per_frame[s.camera].append(sum(box.label == 0 for box in s.boxes))
        return [(camera, sum(counts) / len(counts)) for camera, counts in per_frame.items()]
    if number == 16:
        zone = ZoneInfo(facts.zone)
        return _counted((s.at.astimezone(zone).hour,) for s, n, _ in rows if n == "person")
    if number == 17:
        both = defaultdict(set)
        for s, n, _ in rows:
            both[s.camera, s.at, s.index].add(n)
        return [key for key, names in both.items() if {"person", "car"} <= names]
    if number == 18:
        return [
            (name, name != "dock", max((s.at for s in facts.shots if s.camera == name), default=None))
            for name in CAMERAS
        ]
    if number == 19:
        ledger: dict[str, Counter[str]] = defaultdict(Counter)
        for minute in facts.minutes:
            dropped = {reason.value: count for reason, count in minute.dropped.items()}
            ledger[minute.camera].update({"captured": minute.captured, "stored": minute.stored, **dropped})
        names = ("captured", "stored", *(reason.value for reason in REASONS))
        return [
            (camera, *(sums[name] for name in names), 2 * sums["captured"] - sum(sums.values()))
            for camera, sums in ledger.items()
        ]
    if number == 20:
        return [row for row in _live_s(facts) if facts.in_week(row[0])]
    assert number == 21
    boxes_in_all = sum(len(shot.boxes) for shot in facts.shots)
    return [("street", "a" * 64, len(facts.shots), boxes_in_all)] if facts.shots else []


def _sorted(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: tuple((value is not None, str(value)) for value in row))


def _same(found: Rows, expected: Rows) -> bool:
    """Equal as collections, numbers to six digits."""
    if len(found) != len(expected):
        return False
    left = list(expected)
    for row in found:
        match = next((other for other in left if _close(row, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _close(row: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(row) == len(other) and all(
        math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)
        if isinstance(a, int | float) and isinstance(b, int | float)
        else a == b
        for a, b in zip(row, other, strict=True)
    )


@pytest.fixture
def cameras(database: Database) -> Database:
    """Three cameras, one of them switched off, without a history."""
    for name in CAMERAS:
        add_camera(database, Camera(name, f"rtsp://{name}", enabled=name != "dock"))
    return database


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # an example takes a second: too long to shrink
)
@given(facts=all_facts())
def test_every_question_is_answered_as_plain_python_answers_it(cameras: Database, facts: Facts) -> None:
    _store(cameras, facts)
    newest = sorted((shot.at for shot, _, _ in facts.rows()), reverse=True)[:20]
    first = _ask(cameras, facts, 1)
    assert [row[1] for row in first] == newest
    everything = [(s.camera, s.at, n, *_of_box(b)) for s, n, b in facts.rows()]
    assert not Counter(first) - Counter(everything)
    for number in range(2, 22):
        found, expected = _ask(cameras, facts, number), _expected(facts, number)
        assert _same(found, expected), (number, _sorted(found), _sorted(expected))
