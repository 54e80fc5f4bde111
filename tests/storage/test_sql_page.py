"""docs/sql.md: every query on it runs, and its tables of columns are those of the database."""

import re
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from core.camera_state import CameraActivity, CameraEvent
from core.types import Camera, DropReason, LedgerMinute
from storage.camera_events import write_camera_events
from storage.cameras import add_camera
from storage.database import Database, open_database
from storage.ledger import write_ledger_minutes
from storage.queries import HISTORY_COLUMNS
from storage.readonly_sql import run_readonly_sql
from storage.tables import VIEWS, Row
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
BLOCKS = re.findall(r"^```sql ?(\S*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUERIES = [(dialect, statement) for dialect, statement in BLOCKS if dialect != "postgresql-setup"]


@pytest.fixture
def history(database: Database) -> Database:
    """A camera called gate with people and a large parked car, and one that saw nothing yet."""
    add_camera(database, Camera("gate", "rtsp://gate"))
    add_camera(database, Camera("yard", "rtsp://yard"))
    boxes = [(100.0, 200.0, 150.0, 350.0), (300.0, 210.0, 340.0, 330.0), (350.0, 200.0, 768.0, 560.0)]
    frames = [make_result("gate", i, boxes[: 1 + i % 3], labels=[0, 0, 1][: 1 + i % 3]) for i in range(9)]
    Writer(database).write([*frames, make_result("gate", 9)], WEIGHTS)
    write_ledger_minutes(database, [LedgerMinute("gate", START, 12, 10, {DropReason.STALE: 2})])
    write_camera_events(database, [CameraEvent("gate", START, CameraActivity.LIVE, None, "one")])
    return database


def test_the_page_has_its_twenty_questions() -> None:
    numbers = re.findall(r"^(\d+)\. .*\?", PAGE, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert len(numbers) >= 20


@pytest.mark.parametrize(("dialect", "statement"), QUERIES)
def test_every_query_of_the_page_finds_something(history: Database, dialect: str, statement: str) -> None:
    if dialect in ("", history.dialect):
        table = run_readonly_sql(history, statement)
        assert list(table.rows), statement


def test_the_mean_per_frame_counts_empty_frames(history: Database) -> None:
    (statement,) = [statement for _, statement in QUERIES if "people_per_frame" in statement]
    assert list(run_readonly_sql(history, statement).rows) == [("gate", 1.5)]


def test_the_page_names_every_column_of_the_view_in_order() -> None:
    table = PAGE.split("## Start with the view")[1].split("**Times.**")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", " ".join(cells))) == HISTORY_COLUMNS


def test_the_page_names_every_column_of_every_other_view_in_order(database: Database) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*?\|(.*)\|$", PAGE.split("## More views")[1], re.MULTILINE)
    described = {name: re.findall(r"`(\w+)`", cells) for name, cells in rows if name in VIEWS}
    columns = {
        name: [column["name"] for column in inspect(database.engine).get_columns(name)]
        for name in inspect(database.engine).get_view_names()
        if name != "detection_history"
    }
    assert described == columns
    assert {*columns, "detection_history"} == set(VIEWS)


def test_the_page_names_every_column_of_every_table(database: Database) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*?\|(.*)\|$", PAGE.split("## The tables")[1], re.MULTILINE)
    described = {name: set(re.findall(r"`(\w+)`", cells)) for name, cells in rows}
    key = {"camera_id", "captured_at", "frame_index", "model_id"}
    described["detections"] |= key
    described["evidence"] |= {*key, "ordinal"}
    columns = {
        name: {column["name"] for column in inspect(database.engine).get_columns(name)}
        for name in Row.metadata.tables
    }
    assert described == columns


@pytest.mark.postgres
def test_the_login_for_dashboards_reads_and_cannot_write(postgres: Database) -> None:
    Writer(postgres).write([make_result(boxes=[(0, 0, 1, 1)])], WEIGHTS)
    (setup,) = [statement for dialect, statement in BLOCKS if dialect == "postgresql-setup"]
    with postgres.writing() as connection:
        connection.execute(text("DROP ROLE IF EXISTS grafana"))
        for statement in setup.strip().split(";\n"):
            connection.exec_driver_sql(statement.rstrip(";"))
    login = postgres.url.set(username="grafana", password="change me")
    dashboard = open_database(login.render_as_string(hide_password=False))
    assert len(list(run_readonly_sql(dashboard, "SELECT * FROM detection_history").rows)) == 1
    with dashboard.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM detection_history")) == 1
        with pytest.raises(Exception, match=r"read-only|permission denied"):
            connection.execute(text("DELETE FROM detections"))
    dashboard.close()
    with postgres.writing() as connection:
        connection.execute(text("DROP ROLE grafana"))


def test_short_times_compare_as_the_page_says(history: Database) -> None:
    statement = "SELECT count(*) FROM detection_history WHERE captured_at >= '{}' AND captured_at < '{}'"
    for since, expected in (("2026-11-23 22:53", 18), ("2026-11-23 22:54", 0), ("2026-11-24", 0)):
        found = list(run_readonly_sql(history, statement.format(since, "2999-12-31")).rows)
        assert found == [(expected,)], since
