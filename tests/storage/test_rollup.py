"""The hourly counts say at any moment what counting all detections says."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from core.types import WeightsInfo
from storage.database import Database
from storage.queries import DetectionFilter, count_detections
from storage.rollup import fold_changes, hour_of, lock_counts, recount
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, Box, make_result

BOXES: list[Box] = [(0.0, 0.0, 10.0, 10.0), (5.0, 5.0, 50.0, 50.0)]
_SUM = "SELECT hour, camera_id, model_id, class_id, sum(detections) FROM {} GROUP BY 1, 2, 3, 4"
TABLES = ("detection_counts_hourly", "detection_count_changes")


def _rolled_up(database: Database) -> Counter[tuple[object, ...]]:
    """What both tables say together, keyed by the hour's text."""
    counts: Counter[tuple[object, ...]] = Counter()
    with database.reading() as connection:
        for table in TABLES:
            for hour, *key, count in connection.execute(text(_SUM.format(table))):
                counts[(str(hour)[:13], *key)] += int(count)
    return +counts


def _counted(database: Database) -> Counter[tuple[object, ...]]:
    with database.reading() as connection:
        rows = connection.execute(text("SELECT captured_at, camera_id, model_id, class_id FROM detections"))
        return Counter((str(at)[:13], *key) for at, *key in rows)


def _rows(database: Database, table: str) -> int:
    with database.reading() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def test_a_redelivered_batch_counts_once(database: Database) -> None:
    writer = Writer(database)
    batch = [make_result("gate", index, BOXES, labels=[0, 1]) for index in range(0, 10_000, 1000)]
    for _ in range(3):
        writer.write(batch, WEIGHTS)
        fold_changes(database)
    writer.write([*batch, make_result("gate", 99_999, BOXES)], WEIGHTS)
    assert _rolled_up(database) == _counted(database)
    assert sum(_rolled_up(database).values()) == 22


def test_folding_moves_all_changes_and_may_be_repeated(database: Database) -> None:
    Writer(database).write([make_result(boxes=BOXES)], WEIGHTS)
    assert _rows(database, "detection_count_changes") == 1
    before = _rolled_up(database)
    assert fold_changes(database)
    assert fold_changes(database)
    assert (_rows(database, "detection_count_changes"), _rolled_up(database)) == (0, before)


def test_many_short_runs_leave_no_changes_behind(database: Database) -> None:
    for run in range(20):
        writer = Writer(database)
        writer.write([make_result("clip", run * 10 + index, BOXES) for index in range(3)], WEIGHTS)
        writer.close()
    assert (_rows(database, "detection_count_changes"), _rows(database, "detection_counts_hourly")) == (0, 1)
    assert _rolled_up(database) == _counted(database)


def test_a_writer_that_added_nothing_closes_without_folding(database: Database) -> None:
    Writer(database).write([make_result(boxes=BOXES)], WEIGHTS)
    late = Writer(database)
    late.write([make_result(boxes=BOXES)], WEIGHTS)
    late.close()
    assert _rows(database, "detection_count_changes") == 1


def test_a_writer_closes_while_another_process_folds(database: Database) -> None:
    writer = Writer(database)
    writer.write([make_result(boxes=BOXES)], WEIGHTS)
    if database.dialect == "postgresql":
        with database.writing() as connection:
            lock_counts(connection)
            writer.close()
        assert _rows(database, "detection_count_changes") == 1
    before = _rolled_up(database)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fold_changes, database) for _ in range(4)]:
            done.result()
        writer.close()
    assert _rolled_up(database) == before == _counted(database)


def test_a_zone_of_half_an_hour_counts_in_hours_of_utc(database: Database) -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    captured_at = datetime(2026, 11, 24, 0, 10, tzinfo=kolkata)
    assert hour_of(captured_at) == datetime(2026, 11, 23, 18, tzinfo=UTC)
    Writer(database).write([make_result(boxes=BOXES, captured_at=captured_at)], WEIGHTS)
    assert _rolled_up(database) == _counted(database)


def test_detections_that_are_replaced_are_counted_once(database: Database) -> None:
    writer = Writer(database)
    writer.write([make_result(boxes=BOXES)], WEIGHTS)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM frames"))
    writer.write([make_result(boxes=BOXES[:1], labels=[2])], WEIGHTS)
    assert _rolled_up(database) == _counted(database)
    assert sum(_rolled_up(database).values()) == 1


def test_a_recount_mends_what_was_removed_by_hand(database: Database) -> None:
    Writer(database).write([make_result(index=i, boxes=BOXES, labels=[0, 1]) for i in range(3)], WEIGHTS)
    fold_changes(database)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM detections WHERE class_id = 1"))
    assert _rolled_up(database) != _counted(database)
    recount(database)
    assert _rolled_up(database) == _counted(database)


def test_writers_and_folds_at_once_lose_no_count(database: Database) -> None:
    """Four writers of the same cameras, folds in between, and a recount in the middle."""

    def write(thread: int) -> None:
        writer = Writer(database)
        for index in range(8):
            batch = [
                make_result(camera, thread * 100 + index, BOXES, labels=[0, thread % 2]) for camera in "abc"
            ]
            writer.write(batch, WeightsInfo("street", "a" * 64, WEIGHTS.categories))
            if thread % 2:
                fold_changes(database)
            if (thread, index) == (0, 4):
                recount(database)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert _rolled_up(database) == _counted(database)
    assert sum(_rolled_up(database).values()) == 4 * 8 * 3 * 2


@pytest.mark.parametrize("folded", [False, True])
def test_counts_put_whole_hours_and_their_edges_together(database: Database, folded: bool) -> None:
    moments = [START + timedelta(minutes=17 * step) for step in range(40)]
    batch = [make_result("gate", i, BOXES[:1], captured_at=moment) for i, moment in enumerate(moments)]
    Writer(database).write(batch, WEIGHTS)
    if folded:
        fold_changes(database)
    since, until = START + timedelta(minutes=40), START + timedelta(hours=9, minutes=3)
    found = count_detections(database, (), timedelta(hours=2), DetectionFilter(since=since, until=until))
    expected = Counter(
        moment.replace(hour=moment.hour // 2 * 2, minute=0) for moment in moments if since <= moment < until
    )
    assert {row.bucket: row.count for row in found} == expected


def test_whole_hours_are_read_from_the_table_of_counts(database: Database) -> None:
    """Detections removed by hand are still in the counts: so it is the counts that were asked."""
    Writer(database).write([make_result(boxes=BOXES)], WEIGHTS)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM detections"))
    hour = hour_of(START)
    whole = DetectionFilter(since=hour, until=hour + timedelta(hours=1))
    assert [row.count for row in count_detections(database, wanted=whole)] == [2]
    assert count_detections(database, wanted=DetectionFilter(since=START)) == []
    assert count_detections(database, wanted=DetectionFilter(min_score=0.1)) == []


def test_an_older_database_gets_its_counts_with_the_upgrade(database: Database) -> None:
    database.downgrade("0002")
    with database.writing() as connection:
        if database.dialect == "postgresql":
            connection.execute(
                text(
                    "CREATE TABLE detections_20261123 PARTITION OF detections"
                    " FOR VALUES FROM ('2026-11-23 00:00+00') TO ('2026-11-24 00:00+00')"
                )
            )
        for hour, ordinals in ((21, 3), (22, 2)):
            for ordinal in range(ordinals):
                connection.execute(
                    text(
                        "INSERT INTO detections (camera_id, captured_at, frame_index, model_id, ordinal,"
                        " class_id, score, x, y, width, height, area) VALUES"
                        f" (1, '2026-11-23 {hour}:30:00.000000', 0, 1, {ordinal}, 0, 1, 0, 0, 1, 1, 1)"
                    )
                )
    database.upgrade()
    assert _rolled_up(database) == _counted(database)
    assert _rows(database, "detection_counts_hourly") == 2
