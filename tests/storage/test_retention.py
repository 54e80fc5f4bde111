"""What a policy does not keep goes, nothing else, and the counts stay right."""

import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from core.camera_state import CameraActivity, CameraEvent
from core.types import DropReason, LedgerMinute
from storage.camera_events import write_camera_events
from storage.database import Database
from storage.identities import camera_ids, model_id
from storage.ledger import list_ledger_minutes, write_ledger_minutes
from storage.postgres import Partitions, partition_days
from storage.queries import DetectionFilter, count_detections, find_detections
from storage.retention import drop_day, prepare_days, prune
from storage.retention_policy import RetentionPolicy, RetentionRule
from storage.rollup import hour_of
from storage.rows import frame_row
from storage.tables import PARTITIONED, frames
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
DAY = timedelta(days=1)
BOX = (0.0, 0.0, 10.0, 10.0)
CAMERAS = ("gate", "yard")


def _fill(database: Database, days: int = 6, per_day: int = 8) -> None:
    """A person, a car and a bus on each camera's frames, every three hours of the days before NOW."""
    moments = [NOW - DAY * step / per_day for step in range(days * per_day)]
    results = [
        make_result(camera, index, [BOX] * 3, labels=[0, 1, 2], captured_at=moment)
        for camera in CAMERAS
        for index, moment in enumerate(moments)
    ]
    Writer(database).write(results, WEIGHTS)


def _left(database: Database) -> Counter[tuple[str, str, datetime]]:
    return Counter(
        (row.camera, row.class_name, row.captured_at) for row in find_detections(database, DetectionFilter())
    )


def _scalar(database: Database, statement: str) -> int:
    with database.reading() as connection:
        return int(connection.scalar(text(statement)) or 0)


spans = st.one_of(st.none(), st.integers(1, 150).map(lambda hours: timedelta(hours=hours)))
rules = st.lists(
    st.builds(
        RetentionRule, spans, st.sampled_from([None, *CAMERAS]), st.sampled_from([None, "person", "car"])
    ),
    max_size=4,
    unique_by=lambda rule: (rule.camera, rule.class_name),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=rules)
def test_what_is_left_is_what_the_policy_keeps(database: Database, rules: list[RetentionRule]) -> None:
    """PostgreSQL may keep a day longer what goes by dropping days."""
    with database.writing() as connection:
        for table in ("frames", "detections", "detection_counts_hourly", "detection_count_changes"):
            connection.execute(text(f"DELETE FROM {table}"))
    _fill(database, days=5, per_day=4)
    before, policy = _left(database), RetentionPolicy(tuple(rules))
    told = prune(database, policy, NOW, dry_run=True)
    assert _left(database) == before
    report = prune(database, policy, NOW)
    left = _left(database)

    def kept(camera: str, class_name: str, moment: datetime, grace: timedelta = timedelta(0)) -> bool:
        keep = policy.keep(camera, class_name)
        return keep is None or moment >= hour_of(NOW - keep) - grace

    must_stay = Counter({key: count for key, count in before.items() if kept(*key)})
    may_stay = Counter({key: count for key, count in before.items() if kept(*key, grace=DAY)})
    if database.dialect == "postgresql":
        assert must_stay <= left <= may_stay
    else:
        assert left == must_stay
    assert report.detections == told.detections == sum((before - left).values())
    assert report.days_dropped == told.days_dropped
    assert {
        (row.camera, row.class_name): row.count for row in count_detections(database, ("camera", "class"))
    } == (Counter((camera, class_name) for camera, class_name, _ in left))
    frames_of_rows = "SELECT count(*) FROM detection_history WHERE frame_width IS NULL"
    assert _scalar(database, frames_of_rows) == 0


def test_a_general_rule_leaves_no_frames_and_no_ledger_behind(database: Database) -> None:
    _fill(database)
    old, new = NOW - 4 * DAY, NOW - DAY
    minutes = [LedgerMinute("gate", moment.replace(second=0), 5, 5, {}) for moment in (old, new)]
    write_ledger_minutes(database, minutes)
    events = [
        CameraEvent("gate", old, CameraActivity.CONNECTING, None, "one"),
        CameraEvent("gate", old + timedelta(seconds=2), CameraActivity.LIVE, None, "one"),
        CameraEvent("gate", new, CameraActivity.STALLED, "silent", "one"),
    ]
    write_camera_events(database, events)
    report = prune(database, RetentionPolicy((RetentionRule(2 * DAY),)), NOW)
    limit = (
        f"{hour_of(NOW - 2 * DAY) - (DAY if database.dialect == 'postgresql' else 0 * DAY):%Y-%m-%d %H:%M}"
    )
    for table in ("frames", "detections"):
        assert _scalar(database, f"SELECT count(*) FROM {table} WHERE captured_at < '{limit}'") == 0
        assert _scalar(database, f"SELECT count(*) FROM {table}") > 0
    assert (report.ledger_minutes, report.camera_events) == (1, 1)  # the last old event says how time began
    assert prune(database, RetentionPolicy((RetentionRule(2 * DAY),)), NOW).detections == 0


def _balance(database: Database) -> list[tuple[str, int, int]]:
    with database.reading() as connection:
        statement = text("SELECT camera, stored, in_flight FROM ledger_balance ORDER BY camera")
        return [(camera, int(stored), int(left)) for camera, stored, left in connection.execute(statement)]


@pytest.mark.parametrize("rows_per_batch", [1, 3, 20_000])
def test_the_ledger_adds_up_also_where_frames_were_in_flight_at_the_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch, rows_per_batch: int
) -> None:
    monkeypatch.setattr("storage.retention.ROWS_PER_BATCH", rows_per_batch)
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    limit = hour_of(NOW - 2 * DAY)
    in_flight = {"gate": 10, "yard": 0}
    for camera, left in in_flight.items():
        for start in (limit - hour, limit, limit + hour):
            minutes = [
                LedgerMinute(camera, start - 2 * minute, 100, 60, {DropReason.STALE: 20}),
                LedgerMinute(camera, start - minute, 100, 120 - left),
                LedgerMinute(camera, start, 100, 100 + left),
            ]
            write_ledger_minutes(database, minutes)
    assert _balance(database) == [("gate", 840, 0), ("yard", 840, 0)]
    policy = RetentionPolicy((RetentionRule(2 * DAY),))
    for gone, now in ((4 + 5, NOW), (0, NOW), (3 + 3, NOW + hour), (2 + 1, NOW + 2 * hour)):
        told = prune(database, policy, now, dry_run=True).ledger_minutes
        assert told == prune(database, policy, now).ledger_minutes == gone
        assert all(left == 0 for _, _, left in _balance(database))
    assert list_ledger_minutes(database, limit - DAY) == []


def test_what_is_left_of_old_minutes_is_what_was_in_flight(database: Database) -> None:
    last = hour_of(NOW - 2 * DAY) - timedelta(minutes=1)
    minutes = [LedgerMinute("gate", last - timedelta(minutes=n), 1000 + 5 * (n == 0), 1000) for n in range(9)]
    write_ledger_minutes(database, minutes)
    for _ in range(2):
        prune(database, RetentionPolicy((RetentionRule(2 * DAY),)), NOW)
        (left,) = list_ledger_minutes(database, NOW - 9 * DAY)
        assert (left.minute, left.captured, left.stored) == (last, 5, 0)
    write_ledger_minutes(database, minutes[:1])  # a flush that was late
    assert _balance(database) == [("gate", 1000, 5)]


def test_a_ledger_that_was_below_zero_is_right_again_when_its_minutes_go(database: Database) -> None:
    old = hour_of(NOW - 3 * DAY)
    minutes = [LedgerMinute("gate", old, 0, 3), LedgerMinute("gate", hour_of(NOW), 9, 9)]
    write_ledger_minutes(database, minutes)
    prune(database, RetentionPolicy((RetentionRule(2 * DAY),)), NOW)
    assert _balance(database) == [("gate", 9, 0)]


def test_frames_go_in_short_transactions_however_unevenly_they_lie(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips of past years, one a month, and then a camera that never rests."""
    monkeypatch.setattr("storage.retention.ROWS_PER_BATCH", 50)
    clips = [NOW - (900 - 30 * month) * DAY + timedelta(seconds=n) for month in range(12) for n in range(3)]
    live = [NOW - 40 * DAY + timedelta(seconds=n) for n in range(600)]
    kept = [NOW - DAY + timedelta(seconds=n) for n in range(20)]
    _add_frames(database, {"gate": [*clips, *live, *kept], "yard": live[:120]})
    deleted: list[int] = []

    @event.listens_for(database.engine, "after_cursor_execute")
    def count(connection: object, cursor: Any, statement: str, *rest: object) -> None:
        if statement.startswith("DELETE FROM frames"):
            deleted.append(cursor.rowcount)

    report = prune(database, RetentionPolicy((RetentionRule(30 * DAY), RetentionRule(None, "dock"))), NOW)
    assert report.frames == sum(deleted) == 36 + 600 + 120
    assert max(deleted) == 50
    assert _scalar(database, "SELECT count(*) FROM frames") == 20


def _add_frames(database: Database, moments: dict[str, list[datetime]]) -> None:
    """Empty frames; the camera dock has none."""
    with database.writing() as connection:
        if database.dialect == "postgresql":
            days = {moment.date() for of_camera in moments.values() for moment in of_camera}
            Partitions().create(connection, days)
        ids = camera_ids(connection, {*moments, "dock"})
        model = model_id(connection, WEIGHTS)
        rows = [
            frame_row(make_result(camera, index, captured_at=moment), ids[camera], model, moment)
            for camera, of_camera in moments.items()
            for index, moment in enumerate(of_camera)
        ]
        connection.execute(frames.insert(), rows)


def test_no_rules_remove_nothing(database: Database) -> None:
    _fill(database, days=2)
    before = _left(database)
    assert prune(database, RetentionPolicy(), NOW + 10_000 * DAY).detections == 0
    assert _left(database) == before


def test_changes_of_counts_are_folded_also_where_nothing_goes(database: Database) -> None:
    _fill(database, days=1)
    prune(database, RetentionPolicy(), NOW, dry_run=True)
    assert _scalar(database, "SELECT count(*) FROM detection_count_changes") > 0
    prune(database, RetentionPolicy(), NOW)
    assert _scalar(database, "SELECT count(*) FROM detection_count_changes") == 0
    assert _scalar(database, "SELECT sum(detections) FROM detection_counts_hourly") == 8 * 2 * 3


@pytest.mark.postgres
def test_days_of_which_nothing_is_kept_are_dropped_whole(postgres: Database) -> None:
    _fill(postgres)
    report = prune(postgres, RetentionPolicy((RetentionRule(3 * DAY),)), NOW)
    assert report.days_dropped == [date(2026, 11, day) for day in (17, 18, 19)]
    with postgres.reading() as connection:
        for table in PARTITIONED:
            assert min(partition_days(connection, table)) == date(2026, 11, 20)


@pytest.mark.postgres
def test_a_day_that_is_being_read_is_postponed_and_writers_go_on(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.retention.DROP_TRIES", 3)
    _fill(postgres)
    done = threading.Event()
    policy = RetentionPolicy((RetentionRule(3 * DAY),))
    with postgres.reading() as reader:
        assert reader.scalar(text("SELECT count(*) FROM detections")) == 6 * 8 * 2 * 3
        pruning = threading.Thread(target=lambda: (prune(postgres, policy, NOW), done.set()))
        pruning.start()
        written = 0
        writer = Writer(postgres)
        while not done.wait(0.01):
            writer.write([make_result("dock", written, [BOX], captured_at=NOW)], WEIGHTS)
            written += 1
        pruning.join()
    assert written > 1
    with postgres.reading() as connection:
        assert date(2026, 11, 17) in partition_days(connection, "detections")
    assert prune(postgres, policy, NOW).days_dropped == [date(2026, 11, day) for day in (17, 18, 19)]


@pytest.mark.postgres
def test_a_writer_makes_a_dropped_day_anew(postgres: Database) -> None:
    writer = Writer(postgres)
    writer.write([make_result("gate", 0, [BOX], captured_at=NOW)], WEIGHTS)
    assert drop_day(postgres, NOW.date())
    writer.write([make_result("gate", 1, [BOX] * 2, captured_at=NOW)], WEIGHTS)
    assert [row.count for row in count_detections(postgres)] == [2]


@pytest.mark.postgres
def test_the_coming_week_is_prepared(postgres: Database) -> None:
    for _ in range(2):
        prepare_days(postgres, NOW)
    with postgres.reading() as connection:
        for table in PARTITIONED:
            assert partition_days(connection, table) == {NOW.date() + ahead * DAY for ahead in range(8)}


def test_the_closest_rule_counts() -> None:
    week, month, year = 7 * DAY, 30 * DAY, 365 * DAY
    policy = RetentionPolicy(
        (
            RetentionRule(month),
            RetentionRule(week, camera="gate"),
            RetentionRule(year, class_name="truck"),
            RetentionRule(None, "gate", "bus"),
        )
    )
    assert policy.keep("yard", "person") == month
    assert policy.keep("gate", "person") == week
    assert policy.keep("gate", "truck") == year
    assert policy.keep("gate", "bus") is None
    assert (policy.keep_longest("yard"), policy.keep_longest("gate")) == (year, None)


@pytest.mark.parametrize("class_name", ["", "truck"])
def test_a_rule_about_one_class_says_nothing_about_the_others(class_name: str) -> None:
    policy = RetentionPolicy((RetentionRule(DAY, class_name=class_name),))
    assert policy.keep("gate", class_name) == DAY
    assert policy.keep("gate", "person") is None
    assert policy.keep_longest("gate") is None
