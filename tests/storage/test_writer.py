import subprocess
import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, text

from core.errors import DatabaseUnavailableError
from core.types import Camera, FrameResult, WeightsInfo
from storage.cameras import add_camera, remove_camera
from storage.database import Database, open_database
from storage.queries import DetectionFilter, DetectionRow, find_detections
from storage.rows import box_columns
from storage.writer import Writer, WriteSummary
from tests.postgres_server import PostgresServer
from tests.storage.results import START, WEIGHTS, Box, make_result
from tests.waiting import wait_until

BOXES: list[Box] = [(10.0, 20.0, 110.0, 220.0), (300.5, 100.25, 400.0, 300.0)]


def _all(database: Database, statement: str) -> Sequence[Row[Any]]:
    with database.reading() as connection:
        return connection.execute(text(statement)).all()


def _count(database: Database, table: str) -> int:
    return int(_all(database, f"SELECT count(*) FROM {table}")[0][0])


def test_a_frame_and_its_detections_can_be_read_in_the_view(database: Database) -> None:
    result = make_result("gate", 7, BOXES, labels=[0, 1], scores=[0.9, 0.8123456])
    assert Writer(database).write([result], WEIGHTS) == WriteSummary(frames=1, detections=2)
    rows = _all(
        database,
        "SELECT camera, class_name, score, x, y, width, height, area, frame_width, frame_height, frame_index,"
        " model, track_id FROM detection_history ORDER BY score DESC",
    )
    shared = (768, 576, 7, "street", None)
    assert [tuple(row) for row in rows] == [
        ("gate", "person", 0.9, 10.0, 20.0, 100.0, 200.0, 20000.0, *shared),
        ("gate", "car", 0.8123, 300.5, 100.25, 99.5, 199.75, 19875.12, *shared),
    ]


def test_a_frame_without_detections_is_a_row_too(database: Database) -> None:
    assert Writer(database).write([make_result()], WEIGHTS) == WriteSummary(1, 0)
    assert [tuple(row) for row in _all(database, "SELECT width, detection_count FROM frames")] == [(768, 0)]


def test_nothing_is_nothing(database: Database) -> None:
    assert Writer(database).write([], WEIGHTS) == WriteSummary(0, 0)


def test_a_redelivered_batch_adds_nothing(database: Database) -> None:
    batch = [make_result(index=index, boxes=BOXES) for index in range(5)]
    assert Writer(database).write(batch, WEIGHTS) == WriteSummary(5, 10)
    assert Writer(database).write(batch, WEIGHTS) == WriteSummary(0, 0)
    more = [*batch, make_result(index=5, boxes=BOXES)]
    assert Writer(database).write(more, WEIGHTS) == WriteSummary(1, 2)
    assert _count(database, "detection_history") == 12


def test_a_frame_twice_in_one_batch_is_stored_once(database: Database) -> None:
    batch = [make_result(boxes=BOXES), make_result(boxes=BOXES)]
    assert Writer(database).write(batch, WEIGHTS) == WriteSummary(1, 2)


def test_a_second_opinion_on_a_stored_frame_is_not_mixed_with_the_first(database: Database) -> None:
    writer = Writer(database)
    writer.write([make_result(boxes=BOXES[:1])], WEIGHTS)
    writer.write([make_result(boxes=[*BOXES, *BOXES])], WEIGHTS)
    assert _count(database, "detections") == 1


def test_other_weights_make_rows_of_their_own(database: Database) -> None:
    writer = Writer(database)
    for sha256 in ("a" * 64, "b" * 64):
        writer.write([make_result(boxes=BOXES)], WeightsInfo("street", sha256, WEIGHTS.categories))
    assert (_count(database, "frames"), _count(database, "models")) == (2, 2)


def test_a_recorded_file_that_runs_again_adds_nothing(database: Database) -> None:
    recorded_at = datetime(2019, 5, 1, 23, 59, 59, tzinfo=UTC)  # long ago, and over a midnight
    clip = [
        make_result("clip", i, BOXES, captured_at=recorded_at + i * timedelta(seconds=1 / 10), recorded=True)
        for i in range(20)
    ]
    assert Writer(database).write(clip, WEIGHTS) == WriteSummary(20, 40)
    later = [replace(frame, enqueued_at=START, claimed_at=START, inferred_at=START) for frame in clip]
    assert Writer(database).write(later, WEIGHTS) == WriteSummary(0, 0)
    assert [tuple(row) for row in _all(database, "SELECT DISTINCT latency_ms FROM detection_history")] == [
        (None,)
    ]


def test_latency_runs_from_capture_to_the_stored_row_of_live_cameras(database: Database) -> None:
    captured_at = datetime.now(UTC) - timedelta(seconds=2)
    Writer(database).write([make_result(boxes=BOXES[:1], captured_at=captured_at)], WEIGHTS)
    (row,) = _all(database, "SELECT latency_ms FROM detection_history")
    (found,) = find_detections(database, DetectionFilter())
    assert 2000 <= row.latency_ms < 12_000
    assert found.latency_ms == pytest.approx(row.latency_ms, abs=0.001)


def _identity(row: DetectionRow) -> tuple[object, ...]:
    box = row.x, row.y, row.width, row.height, row.area
    return row.camera, row.captured_at, row.frame_index, row.class_name, row.score, *box


coordinates = st.floats(-50, 900, width=32)
batches = st.lists(
    st.builds(
        make_result,
        camera=st.sampled_from(["gate", "yard", "7-up.west_2"]),
        index=st.integers(0, 2**40),
        boxes=st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=4),
        captured_at=st.datetimes(
            min_value=datetime(2026, 11, 20),  # noqa: DTZ001 - hypothesis wants naive bounds
            max_value=datetime(2026, 11, 23),  # noqa: DTZ001
            timezones=st.just(UTC),
        ),
    ),
    max_size=6,
    unique_by=lambda result: (result.camera, result.captured_at, result.index),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=batches)
def test_what_is_written_is_what_is_found(database: Database, batch: list[FrameResult]) -> None:
    weights = replace(WEIGHTS, name=f"weights-{uuid.uuid4()}")  # keeps this example's rows apart
    summary = Writer(database).write(batch, weights)
    expected = {
        (result.camera, result.captured_at, result.index, "person", 0.9, *box)
        for result in batch
        for box in zip(*box_columns(result.detections.boxes, result.source_size), strict=True)
    }
    found = [row for row in find_detections(database, DetectionFilter()) if row.model == weights.name]
    assert {_identity(row) for row in found} == expected
    assert summary.detections == len(found)
    assert Writer(database).write(batch, weights) == WriteSummary(0, 0)


def test_threads_that_write_the_same_frames_store_each_once(database: Database) -> None:
    writer = Writer(database)
    batches = [
        [
            make_result(f"cam{camera}", index, BOXES)
            for camera in range(4)
            for index in range(start, start + 5)
        ]
        for start in range(0, 20, 2)
    ]
    with ThreadPoolExecutor(4) as pool:
        summaries = list(pool.map(lambda batch: writer.write(batch, WEIGHTS), batches * 2))
    assert sum(summary.frames for summary in summaries) == _count(database, "frames") == 4 * 23
    assert _count(database, "detections") == 4 * 23 * 2


def test_several_processes_write_at_once_without_an_error(database: Database, database_url: str) -> None:
    script = (
        "import sys; from storage.database import open_database; from storage.writer import Writer\n"
        "from tests.storage.results import WEIGHTS, make_result\n"
        f"writer = Writer(open_database({database_url!r})); first = int(sys.argv[1])\n"
        "for i in range(0, 200, 4):\n"
        "    boxes = [(1, 1, 9, 9)] * 5\n"
        "    frames = [make_result(f'cam{k % 3}', first * 1000 + i + k, boxes) for k in range(4)]\n"
        "    writer.write(frames, WEIGHTS)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(number)], stderr=subprocess.PIPE)
        for number in range(3)
    ]
    for process in started:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error.decode()
    assert (_count(database, "frames"), _count(database, "detections")) == (600, 3000)


def test_detections_that_somebody_left_behind_make_room_for_the_new_ones(database: Database) -> None:
    writer = Writer(database)
    writer.write([make_result(boxes=[*BOXES, *BOXES])], WEIGHTS)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM frames"))
    assert writer.write([make_result(boxes=BOXES)], WEIGHTS) == WriteSummary(1, 2)
    assert _count(database, "detections") == 2


def test_a_camera_that_was_removed_and_added_again_gets_its_frames(database: Database) -> None:
    writer = Writer(database)
    add_camera(database, Camera("gate", "rtsp://gate"))
    writer.write([make_result("gate")], WEIGHTS)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM frames"))
    remove_camera(database, "gate")
    add_camera(database, Camera("gate", "rtsp://gate"))
    assert writer.write([make_result("gate")], WEIGHTS) == WriteSummary(1, 0)
    names = _all(database, "SELECT c.name FROM frames f JOIN cameras c ON c.id = f.camera_id")
    assert [tuple(row) for row in names] == [("gate",)]


def test_a_locked_sqlite_file_is_unavailable_and_then_available_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.db'}?timeout=0.1"
    database, other = open_database(url), open_database(url)
    database.upgrade()
    writer = Writer(database)
    with other.writing(), pytest.raises(DatabaseUnavailableError, match="locked"):
        writer.write([make_result()], WEIGHTS)
    assert writer.write([make_result()], WEIGHTS) == WriteSummary(1, 0)
    database.close()
    other.close()


@pytest.mark.postgres
def test_each_day_has_its_partition(postgres: Database) -> None:
    day = timedelta(days=1)
    batch = [make_result(index=i, boxes=BOXES, captured_at=START + i * day) for i in range(3)]
    Writer(postgres).write(batch, WEIGHTS)
    rows = _all(postgres, "SELECT DISTINCT CAST(tableoid AS regclass) AS name FROM detections ORDER BY 1")
    assert sorted(str(row.name) for row in rows) == [
        "detections_20261123",
        "detections_20261124",
        "detections_20261125",
    ]


@pytest.mark.postgres
def test_a_dropped_partition_is_made_anew(postgres: Database) -> None:
    writer = Writer(postgres)
    writer.write([make_result(index=0, boxes=BOXES)], WEIGHTS)
    with postgres.writing() as connection:
        connection.execute(text("DROP TABLE frames_20261123, detections_20261123"))
    assert writer.write([make_result(index=1, boxes=BOXES)], WEIGHTS) == WriteSummary(1, 2)


@pytest.mark.postgres
def test_a_reader_in_a_long_query_does_not_hold_up_a_new_day(postgres: Database) -> None:
    writer = Writer(postgres)
    writer.write([make_result(boxes=BOXES)], WEIGHTS)
    with postgres.reading() as reader:
        reader.execute(text("SELECT count(*) FROM detection_history")).all()  # its locks last until the end
        tomorrow = make_result(boxes=BOXES, captured_at=START + timedelta(days=1))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(writer.write, [tomorrow], WEIGHTS).result(timeout=20) == WriteSummary(1, 2)


@pytest.mark.postgres
@pytest.mark.parametrize("interruption", ["stop", "kill"])
def test_the_writer_goes_on_after_the_server_came_back(tmp_path: Path, interruption: str) -> None:
    with PostgresServer(tmp_path) as server:
        database = open_database(server.url)
        database.upgrade()
        writer = Writer(database)
        writer.write([make_result(index=0, boxes=BOXES)], WEIGHTS)
        getattr(server, interruption)()
        with pytest.raises(DatabaseUnavailableError):
            writer.write([make_result(index=1, boxes=BOXES)], WEIGHTS)
        server.start()
        batch = [make_result(index=index, boxes=BOXES) for index in range(3)]
        assert writer.write(batch, WEIGHTS) == WriteSummary(2, 4)
        database.close()


@pytest.mark.postgres
def test_a_connection_cut_in_mid_batch_stores_nothing_of_it(postgres: Database) -> None:
    writer = Writer(postgres)
    writer.write([make_result("other")], WEIGHTS)
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'"
    with ThreadPoolExecutor(1) as pool, postgres.writing() as blocker:
        blocker.execute(text("LOCK TABLE detections_20261123 IN ACCESS EXCLUSIVE MODE"))
        pending = pool.submit(writer.write, [make_result("gate", 1, BOXES)], WEIGHTS)
        ((pid,),) = wait_until(lambda: _all(postgres, waiting), 20, "the COPY waits for the lock")
        blocker.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DatabaseUnavailableError):
            pending.result(timeout=20)
    assert (_count(postgres, "frames"), _count(postgres, "detections")) == (1, 0)
    assert writer.write([make_result("gate", 1, BOXES)], WEIGHTS) == WriteSummary(1, 2)


@pytest.mark.postgres
def test_after_a_repeated_batch_the_next_ones_are_looked_at_first(postgres: Database) -> None:
    writer = Writer(postgres)
    batches = [[make_result(index=2 * n + i, boxes=BOXES) for i in range(2)] for n in range(30)]
    for batch in batches[:20]:
        writer.write(batch, WEIGHTS)
    failures = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    with postgres.reading() as connection:
        before = connection.scalar(text(failures))
    summaries = [writer.write(batch, WEIGHTS) for batch in batches]
    assert summaries == [WriteSummary(0, 0)] * 20 + [WriteSummary(2, 4)] * 10
    with postgres.reading() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        assert connection.scalar(text(failures)) - before < 10
