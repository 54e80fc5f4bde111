from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event, text

from core.errors import QueryError
from storage.database import Database
from storage.filters import DetectionFilter
from storage.queries import find_detections
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"min_score": 1.5}, "min-score: expected a number from 0 to 1, got 1.5"),
        ({"min_score": float("nan")}, "min-score"),
        ({"min_area": -1.0}, "min-area: expected square pixels, 0 or more, got -1.0"),
        ({"limit": 0}, "limit: expected 1 or more, got 0"),
        ({"region": (100.0, 0.0, 50.0, 10.0)}, "region: expected x1,y1,x2,y2 .* got 100,0,50,10"),
        ({"region": (0.0, 0.0, float("inf"), 10.0)}, "region"),
        ({"since": datetime(2026, 11, 23)}, "since: expected a time with its zone"),  # noqa: DTZ001
        ({"until": datetime(2026, 11, 23)}, "until: expected a time with its zone"),  # noqa: DTZ001
        ({"since": START, "until": START}, "since: expected a time before until"),
    ],
)
def test_values_that_cannot_be_meant_get_one_line(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(QueryError, match=expected) as raised:
        DetectionFilter(**given)
    assert "\n" not in str(raised.value)


def _plan(database: Database, wanted: DetectionFilter) -> str:
    """How the database goes about the statement that `find_detections` really sends."""
    sent: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", remember)
    list(find_detections(database, wanted))
    event.remove(database.engine, "before_cursor_execute", remember)
    statement, parameters = sent[-1]
    explain = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN"
    with database.reading() as connection:
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.fixture
def two_days(database: Database) -> Database:
    """12 000 detections: enough for PostgreSQL to prefer an index."""
    writer = Writer(database)
    for start in range(0, 1200, 100):
        batch = [
            make_result(
                f"cam{i % 4}",
                i,
                [(1, 1, 9, 9)] * 10,
                labels=[k % 3 for k in range(10)],
                captured_at=START + i * timedelta(minutes=2),
            )
            for i in range(start, start + 100)
        ]
        writer.write(batch, WEIGHTS)
    with database.writing() as connection:
        if database.dialect == "postgresql":
            connection.execute(text("ANALYZE"))
    return database


def test_a_class_on_a_camera_within_an_hour_is_read_through_its_index(two_days: Database) -> None:
    hour = DetectionFilter(cameras=("cam1",), classes=("car",), since=START, until=START + timedelta(hours=1))
    plan = _plan(two_days, hour)
    assert "camera_id_class_id_captured_at" in plan
    assert "SCAN detections" not in plan
    assert "Seq Scan on detections" not in plan
    assert "20261124" not in plan  # other days' partitions are not even looked at


@pytest.mark.parametrize("given", [{}, {"classes": ("car",)}, {"cameras": ("cam1", "cam2")}])
def test_the_newest_of_all_are_read_backwards_in_time(two_days: Database, given: dict[str, Any]) -> None:
    plan = _plan(two_days, DetectionFilter(**given, limit=20))
    assert "captured_at" in plan.splitlines()[0] or "captured_at_idx" in plan
    assert "Seq Scan on detections" not in plan


def test_times_are_compared_as_moments_not_as_text(two_days: Database) -> None:
    east = timezone(timedelta(hours=9))
    wanted = DetectionFilter(
        since=START.astimezone(east), until=(START + timedelta(minutes=4)).astimezone(east)
    )
    found = {row.captured_at for row in find_detections(two_days, wanted)}
    assert found == {START, START + timedelta(minutes=2)}
    assert all(moment.tzinfo is UTC for moment in found)
