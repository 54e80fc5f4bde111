from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import CameraNotFoundError, QueryError
from core.types import WeightsInfo
from storage.database import Database
from storage.queries import (
    HISTORY_COLUMNS,
    CountRow,
    DetectionFilter,
    DetectionRow,
    count_detections,
    find_detections,
)
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result

OTHER_WEIGHTS = WeightsInfo("other", "b" * 64, ("bus", "person", "dog"))  # numbers the classes differently
MINUTE = timedelta(minutes=1)


@pytest.fixture
def history(database: Database) -> Database:
    """3 cameras, 2 models, 12 minutes, boxes on a grid: 432 detections in 72 frames."""
    for model, weights in enumerate((WEIGHTS, OTHER_WEIGHTS)):
        batch = []
        for camera, minute in product(("gate", "yard", "dock"), range(12)):
            corners = [(50.0 * k, 40.0 * k, 60.0 * k + 10 * minute + 1, 45.0 * k + 20) for k in range(6)]
            scores = [0.95, 0.9, 0.75, 0.5, 0.25, 0.125]
            labels = [(k + minute + model) % 3 for k in range(6)]
            moment = START + minute * MINUTE
            batch.append(
                make_result(camera, minute, corners, labels=labels, scores=scores, captured_at=moment)
            )
        Writer(database).write(batch, weights)
    return database


def _all(database: Database) -> list[DetectionRow]:
    return list(find_detections(database, DetectionFilter()))


def _overlaps(row: DetectionRow, region: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = region
    return row.x < x2 and row.x + row.width > x1 and row.y < y2 and row.y + row.height > y1


def _passes(row: DetectionRow, wanted: DetectionFilter) -> bool:
    return (
        (not wanted.cameras or row.camera in wanted.cameras)
        and (not wanted.classes or row.class_name in wanted.classes)
        and (wanted.since is None or row.captured_at >= wanted.since)
        and (wanted.until is None or row.captured_at < wanted.until)
        and (wanted.min_score is None or row.score >= wanted.min_score)
        and (wanted.min_area is None or row.area >= wanted.min_area)
        and (wanted.region is None or _overlaps(row, wanted.region))
    )


edges = st.integers(0, 8).map(lambda step: 50.0 * step)
filters = st.builds(
    lambda since, length, region, **given: DetectionFilter(
        since=None if since is None else START + since * MINUTE,
        until=None if since is None else START + (since + length) * MINUTE,
        region=None if region is None else (*region, region[0] + 75.0, region[1] + 30.0),
        **given,
    ),
    since=st.none() | st.integers(-1, 12),
    length=st.integers(1, 6),
    region=st.none() | st.tuples(edges, edges),
    cameras=st.lists(st.sampled_from(["gate", "yard", "dock"]), unique=True).map(tuple),
    classes=st.lists(st.sampled_from(["person", "car", "bus", "dog"]), unique=True).map(tuple),
    min_score=st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    min_area=st.none() | st.sampled_from([0.0, 1000.0, 5000.0]),
    limit=st.none() | st.integers(1, 50),
    newest_first=st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=filters)
def test_a_filter_finds_what_plain_python_finds(history: Database, wanted: DetectionFilter) -> None:
    expected = {row.values() for row in _all(history) if _passes(row, wanted)}
    found = list(find_detections(history, wanted))
    times = [row.captured_at for row in found]
    assert times == sorted(times, reverse=wanted.newest_first)
    assert {row.values() for row in found} <= expected
    assert len(found) == min(len(expected), wanted.limit or len(expected))
    if wanted.limit is not None and len(found) == wanted.limit:
        left = {values[1] for values in expected - {row.values() for row in found}}
        last = times[-1]
        assert all(moment <= last if wanted.newest_first else moment >= last for moment in left)


def test_rows_come_in_the_same_order_every_time(history: Database) -> None:
    first = [row.values() for row in _all(history)]
    assert [row.values() for row in _all(history)] == first
    newest = [row.values() for row in find_detections(history, DetectionFilter(limit=7))]
    assert newest == first[:7]


def test_rows_are_those_of_the_view(history: Database) -> None:
    columns = ", ".join(HISTORY_COLUMNS[2:])  # camera and captured_at are told apart by their types
    with history.reading() as connection:
        rows = connection.exec_driver_sql(f"SELECT {columns} FROM detection_history").all()
    expected = [tuple(round(v, 3) if isinstance(v, float) else v for v in row) for row in rows]
    found = [
        tuple(round(v, 3) if isinstance(v, float) else v for v in row.values()[2:]) for row in _all(history)
    ]
    assert Counter(found) == Counter(expected)


def test_a_score_is_found_by_its_own_value(database: Database) -> None:
    scores = [0.9, 0.7, 0.1]
    Writer(database).write([make_result(boxes=[(0, 0, 1, 1)] * 3, scores=scores)], WEIGHTS)
    for count, score in enumerate(scores, start=1):
        assert len(list(find_detections(database, DetectionFilter(min_score=score)))) == count


def test_boxes_that_only_touch_the_region_are_outside_of_it(database: Database) -> None:
    Writer(database).write([make_result(boxes=[(10, 10, 20, 20)])], WEIGHTS)
    touching = DetectionFilter(region=(20, 10, 30, 20))
    overlapping = DetectionFilter(region=(19.99, 10, 30, 20))
    assert len(list(find_detections(database, touching))) == 0
    assert len(list(find_detections(database, overlapping))) == 1


def test_a_reader_may_stop_early(history: Database) -> None:
    for _ in range(30):  # more often than there are connections in the pool
        assert next(find_detections(history, DetectionFilter())).camera


def test_an_unknown_camera_is_named_with_the_known_ones(history: Database) -> None:
    with pytest.raises(CameraNotFoundError, match=r"'gat'.*dock, gate, yard"):
        find_detections(history, DetectionFilter(cameras=("gat",)))


def test_an_unknown_class_is_named_with_the_known_ones(history: Database) -> None:
    with pytest.raises(QueryError, match=r"'cat'.*bus, car, dog, person"):
        find_detections(history, DetectionFilter(classes=("cat",)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=filters,
    by=st.lists(st.sampled_from(["class", "camera", "model"]), unique=True),
    bucket=st.none() | st.sampled_from([timedelta(seconds=90), timedelta(minutes=5), timedelta(days=1)]),
)
def test_counts_are_what_plain_python_counts(
    history: Database, wanted: DetectionFilter, by: list[str], bucket: timedelta | None
) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    expected: Counter[tuple[object, ...]] = Counter()
    if not by and bucket is None:
        expected[None, None, None, None] = 0  # all of nothing is 0, not no answer
    for row in _all(history):
        if _passes(row, wanted):
            start = None if bucket is None else epoch + (row.captured_at - epoch) // bucket * bucket
            camera = row.camera if "camera" in by else None
            class_name = row.class_name if "class" in by else None
            expected[start, camera, class_name, row.model if "model" in by else None] += 1
    found = count_detections(history, by, bucket, wanted)
    assert {(row.bucket, row.camera, row.class_name, row.model): row.count for row in found} == expected
    assert len(found) == len(expected)


def test_buckets_before_1970_start_where_they_should(database: Database) -> None:
    old = make_result(
        boxes=[(0, 0, 1, 1)], captured_at=datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    )
    Writer(database).write([old], WEIGHTS)
    hour = datetime(1969, 12, 31, 23, tzinfo=UTC)
    assert count_detections(database, (), timedelta(hours=1)) == [CountRow(hour, None, None, None, 1)]


@pytest.mark.parametrize("bucket", [timedelta(minutes=15), timedelta(hours=1)])
def test_the_last_microsecond_of_a_bucket_belongs_to_it(database: Database, bucket: timedelta) -> None:
    last = datetime(2026, 11, 23, 22, 59, 59, 999_700, tzinfo=UTC)
    Writer(database).write([make_result(boxes=[(0, 0, 1, 1)], captured_at=last)], WEIGHTS)
    start = last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1) - bucket
    one_by_one = DetectionFilter(min_score=0.1)  # the table of hourly counts knows no scores
    assert count_detections(database, (), bucket, one_by_one) == [CountRow(start, None, None, None, 1)]


def test_nothing_counts_as_no_group(database: Database) -> None:
    assert count_detections(database, ("class",)) == []
    assert count_detections(database, ()) == [CountRow(None, None, None, None, 0)]


def test_an_unknown_group_is_named_with_the_known_ones(database: Database) -> None:
    with pytest.raises(QueryError, match="by: expected any of class, camera, model, got 'colour'"):
        count_detections(database, ("colour",))


@pytest.mark.parametrize("bucket", [timedelta(0), timedelta(seconds=-60), timedelta(milliseconds=1500)])
def test_buckets_are_whole_seconds(database: Database, bucket: timedelta) -> None:
    with pytest.raises(QueryError, match="bucket: expected whole seconds"):
        count_detections(database, (), bucket)
