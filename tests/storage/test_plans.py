"""How the databases go about the heavy questions: along an index, without what they were not asked about."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, event, make_url, text

from benchmarks.history_fill import History, fill
from storage.database import Database, open_database
from storage.queries import DetectionFilter, count_detections, find_detections
from storage.tables import detection_counts_hourly, detections, frames

HISTORY = History(rows=80_000, days=8, cameras=10)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MIDDLE = datetime(2026, 10, 28, 5, tzinfo=UTC)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """80 000 detections of ten cameras over eight days."""
    if request.param == "sqlite":
        database = open_database(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'history.db'}")
        database.upgrade()
        fill(database, HISTORY)
        yield database
        database.close()
        return
    server: str = request.getfixturevalue("postgres_server_url")
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE plans"))
    database = open_database(make_url(server).set(database="plans").render_as_string(hide_password=False))
    database.upgrade()
    fill(database, HISTORY)
    yield database
    database.close()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE plans WITH (FORCE)"))
    admin.dispose()


def _plan(database: Database, statement: str, parameters: object = ()) -> str:
    explain = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN (ANALYZE, TIMING OFF)"
    with database.reading() as connection:
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()  # type: ignore[arg-type]
    return "\n".join(str(row[-1]) for row in rows)


def _executed(plan: str) -> str:
    """Without the parts of a PostgreSQL plan that never ran, as partitions that were pruned while it did."""
    return "\n".join(line for line in plan.splitlines() if "never executed" not in line)


def test_the_made_up_history_is_what_it_says(history: Database) -> None:
    found = count_detections(history, ("camera",))
    assert len(found) == HISTORY.cameras
    assert sum(row.count for row in found) == HISTORY.rows
    hour = DetectionFilter(cameras=("camera-03",), since=MIDDLE, until=MIDDLE + HOUR)
    rows = list(find_detections(history, hour))
    assert len(rows) == pytest.approx(HISTORY.rows / 8 / 24 / 10, abs=4)
    assert {row.frame_width for row in rows} == {1920}
    assert all(row.latency_ms is not None and 50 <= row.latency_ms < 110 for row in rows)


def test_hourly_counts_are_read_from_their_table_alone(history: Database) -> None:
    sent: list[str] = []

    def remember(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(history.engine, "before_cursor_execute", remember)
    rows = count_detections(history, ("class",), HOUR, DetectionFilter(until=MIDDLE))
    event.remove(history.engine, "before_cursor_execute", remember)
    assert rows
    assert not any(f"FROM {detections.name} " in statement for statement in sent)
    keys = [column.name for column in detection_counts_hourly.primary_key.columns]
    assert keys == ["hour", "model_id", "class_id", "camera_id"]
    if history.dialect == "sqlite":
        plan = _plan(
            history,
            "SELECT sum(detections), hour, model_id, class_id FROM detection_counts_hourly"
            " WHERE hour < '2026-10-28 05' GROUP BY hour, model_id, class_id",
        )
        assert "TEMP B-TREE" not in plan


def test_a_view_of_one_hour_opens_one_hour(history: Database) -> None:
    """`latency_per_hour` reads the frames of the hours that are asked for."""
    statement = (
        "SELECT * FROM latency_per_hour WHERE hour >= '2026-10-28 05:00' AND hour < '2026-10-28 06:00'"
    )
    plan = _executed(_plan(history, statement))
    if history.dialect == "sqlite":
        assert "ix_frames_captured_at (captured_at>? AND captured_at<?)" in plan
        return
    # The aliases are the view's; its first and last hour come from the ends of every day's index.
    opened = set(re.findall(r" on (frames_\d{8}) f(?:_\d+)?\b", plan))
    assert opened == {"frames_20261028"}
    assert "Seq Scan on frames" not in plan


def test_a_view_of_some_days_opens_these_days(history: Database) -> None:
    if history.dialect == "sqlite":
        statement = "SELECT count(*) FROM detection_history WHERE captured_at >= '2026-10-31 05'"
        assert "SCAN" not in _plan(history, statement)
        return
    plan = _plan(
        history,
        "SELECT camera, count(*) FROM detection_history"
        " WHERE captured_at >= '2026-10-28' AND captured_at < '2026-10-30' GROUP BY camera",
    )
    assert "detections_20261028" in plan
    assert "detections_20261029" in plan
    assert "detections_20261030" not in plan
    assert frames.name not in plan


def test_every_index_of_detections_serves_a_question(history: Database) -> None:
    """One that serves nothing would only slow writers."""
    if history.dialect == "sqlite":
        pytest.skip("SQLite keeps no count of the scans of an index")
    questions = [
        DetectionFilter(cameras=("camera-03",), classes=("car",), since=MIDDLE, until=MIDDLE + HOUR),
        DetectionFilter(limit=20),
        DetectionFilter(cameras=("camera-03",), since=MIDDLE, until=MIDDLE + timedelta(minutes=5)),
    ]
    for wanted in questions:
        assert list(find_detections(history, wanted))
    used = {name for name, scans in _scans(history) if scans}
    assert any("class_id" in name for name in used)
    assert any("captured_at_idx" in name and "class_id" not in name for name in used)
    assert any("pkey" in name for name in used)


def _scans(database: Database) -> list[tuple[str, int]]:
    statement = (
        "SELECT indexrelname, pg_stat_get_numscans(indexrelid) + pg_stat_get_xact_numscans(indexrelid)"
        " FROM pg_stat_user_indexes WHERE relname LIKE 'detections_%'"
    )
    with database.reading() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        return [(str(name), int(scans)) for name, scans in connection.execute(text(statement))]
