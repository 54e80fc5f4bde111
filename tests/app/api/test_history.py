"""The history over HTTP: the CLI's filters, pages, and files that pandas and DuckDB read."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.application import create_app
from app.api.cursors import write_cursor
from app.api.services import Services
from core.settings import load_settings
from core.types import LedgerMinute
from storage.database import Database, open_database
from storage.filters import DetectionFilter
from storage.ledger import write_ledger_minutes
from storage.paging import Position
from storage.queries import HISTORY_COLUMNS
from storage.writer import Writer
from tests.app.api.conftest import HERE
from tests.storage.results import START, WEIGHTS, make_result

SINCE = "2026-11-23"
BOX = (10.0, 20.0, 50.0, 120.0)


def ask(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(f"/api{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["bus", "person", "car", "person", "car"]),
        ({"order": "oldest"}, ["person", "car", "bus", "person", "car"]),
        ({"camera": "gate", "class": "person"}, ["person", "person"]),
        ({"class": ["person", "bus"]}, ["bus", "person", "person"]),
        ({"class": "person,bus"}, ["bus", "person", "person"]),
        ({"min_score": 0.65}, ["bus", "person", "person"]),
        ({"region": "390,90,420,110"}, ["bus"]),
        ({"min_area": 30_000}, ["bus"]),
        ({"until": START.isoformat()}, []),
        ({"since": (START + timedelta(milliseconds=50)).isoformat()}, ["person", "car"]),
        ({"limit": 2}, ["person", "car"]),
    ],
)
def test_filters_are_those_of_the_command_line(
    client: TestClient, parameters: dict[str, Any], expected: list[str]
) -> None:
    found = ask(client, "/detections", **parameters)["detections"]
    assert sorted(row["class_name"] for row in found) == sorted(expected)
    assert all(tuple(row) == (*HISTORY_COLUMNS, "picture") for row in found)


def test_a_row_is_that_of_the_view(client: TestClient) -> None:
    (row,) = ask(client, "/detections", **{"class": "bus"})["detections"]
    assert row["camera"] == "yard"
    assert row["captured_at"] == "2026-11-23T22:53:00.000000Z"
    assert (row["x"], row["y"], row["width"], row["height"], row["area"]) == (400, 100, 300, 200, 60_000)
    assert (row["frame_width"], row["frame_height"], row["score"]) == (768, 576, 0.7)
    assert row["track_id"] is None


@pytest.mark.parametrize(
    ("path", "parameters", "code", "message"),
    [
        ("/detections", {"camera": "moon"}, 404, "expected one with a history (gate, yard)"),
        ("/detections", {"class": "cat"}, 400, "class 'cat'"),
        ("/detections", {"clas": "car"}, 422, "clas: expected any of camera, class, cursor, format, limit"),
        ("/frames", {"class": "bogus"}, 422, "class: expected any of camera, cursor"),
        ("/ledger/minutes", {"camera": "gate"}, 422, "camera: expected any of cursor, limit, since, until"),
        ("/evidence", {"region": ""}, 422, "region: expected any of camera"),
        ("/models", {"x": 1}, 422, "x: expected no parameters"),
        ("/cameras/gate", {"since": "2h"}, 422, "since: expected no parameters"),
        ("/detections", {"class": ""}, 400, "class: expected a name"),
        ("/counts", {"camera": ",", "since": "2h"}, 400, "camera: expected a name"),
        ("/evidence", {"camera": " "}, 400, "camera: expected a name"),
        ("/live/detections", {"class": "", "for_s": 1}, 400, "class: expected a name"),
        ("/frames", {"camera": ""}, 400, "camera: expected a name"),
        ("/detections", {"since": "soon"}, 400, "since: expected a time such as 2h"),
        ("/detections", {"since": "now", "until": "2h"}, 400, "expected a time before until"),
        ("/detections", {"region": "1,2,3"}, 400, "region: expected x1,y1,x2,y2"),
        ("/detections", {"min_score": 2}, 422, "min_score: "),
        ("/detections", {"limit": 1001}, 400, "at most 1000 rows in a page"),
        ("/detections", {"limit": 0}, 422, "limit: "),
        ("/detections", {"cursor": "nonsense"}, 400, "cursor: expected the `next` of a page"),
        ("/detections", {"format": "xml"}, 422, "format: "),
        ("/detections", {"format": "csv"}, 400, "since: expected the time at which"),
        ("/detections", {"format": "csv", "since": "500d"}, 400, "at most 366 days"),
        ("/detections", {"format": "csv", "since": "2h", "cursor": "x"}, 400, "has no pages"),
        ("/counts", {}, 400, "since: expected the time at which"),
        ("/counts", {"since": "9999-12-31T23:30:00"}, 400, "before the last hour of the year 9999"),
        ("/counts", {"since": "30d", "bucket": "1s"}, 400, "at most 10000 buckets"),
        ("/counts", {"since": "1h", "bucket": "0.5s"}, 400, "expected whole seconds"),
        ("/counts", {"since": "1h", "by": "colour"}, 400, "expected any of class, camera, model"),
        ("/frames", {"camera": "moon"}, 404, "expected one with a history"),
        ("/nothing", {}, 404, "/api/docs lists them"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    client: TestClient, path: str, parameters: dict[str, Any], code: int, message: str
) -> None:
    answer = client.get(f"/api{path}", params=parameters)
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert message in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_counts_are_split_as_asked_for(client: TestClient) -> None:
    found = ask(client, "/counts", since=SINCE)["counts"]
    assert [(row["class_name"], row["count"]) for row in found] == [("bus", 1), ("car", 2), ("person", 2)]
    found = ask(client, "/counts", since=SINCE, by="camera", bucket="1h")["counts"]
    assert [(row["bucket"], row["camera"], row["count"]) for row in found] == [
        ("2026-11-23T22:00:00.000000Z", "gate", 4),
        ("2026-11-23T22:00:00.000000Z", "yard", 1),
    ]


def test_frames_models_and_minutes(client: TestClient, history: Database) -> None:
    Writer(history).write([make_result("gate", 5)], WEIGHTS)
    found = ask(client, "/frames", camera="gate")["frames"]
    assert [(row["frame_index"], row["detection_count"]) for row in found] == [(5, 0), (1, 2), (0, 2)]
    assert [model["classes"] for model in ask(client, "/models")] == [["person", "car", "bus"]]
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    write_ledger_minutes(history, [LedgerMinute("gate", minute, captured=3, stored=2)])
    (row,) = ask(client, "/ledger/minutes")["minutes"]
    assert (row["camera"], row["captured"], row["stored"], row["failed"]) == ("gate", 3, 2, 0)


def test_the_ledgers_minutes_come_in_pages(client: TestClient, history: Database) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [now - timedelta(minutes=minute) for minute in (3, 2, 1)]
    written = [LedgerMinute(camera, minute, captured=1) for minute in minutes for camera in ("gate", "yard")]
    write_ledger_minutes(history, written)
    found = list(pages(client, "/ledger/minutes", key="minutes", since="1h", limit=2))
    assert [[(row["camera"], row["minute"][14:16]) for row in page] for page in found] == [
        [("gate", f"{minute:%M}"), ("yard", f"{minute:%M}")] for minute in minutes
    ]
    cursor = ask(client, "/ledger/minutes", since="1h", limit=2)["next"]
    assert client.get(f"/api/ledger/minutes?since=1h&limit=2&cursor={cursor}").json()["minutes"] == found[1]
    (only,) = ask(client, "/ledger/minutes", until=minutes[1].isoformat(), since="1h", limit=1000)["minutes"][
        :1
    ]
    assert only["camera"] == "gate"
    for cursor in (
        "nonsense",
        "2026-11-25T10:00:00,gate",
        "2026-11-25T10:00:00Z,",
        "0001-01-01T00:00:00+09:00,a",
    ):
        assert client.get("/api/ledger/minutes", params={"cursor": cursor}).status_code == 400


def pages(
    client: TestClient, path: str = "/detections", key: str = "", **parameters: Any
) -> Iterator[list[dict[str, Any]]]:
    """All pages, each asked for when the one before was taken."""
    cursor = None
    while True:
        asked = {**parameters, **({} if cursor is None else {"cursor": cursor})}
        page = ask(client, path, **asked)
        yield page[key or path[1:]]
        cursor = page["next"]
        if cursor is None:
            return


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["camera"], row["captured_at"], row["frame_index"], row.get("x")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, folder: Path) -> Iterator[Database]:
    """An empty history on either database."""
    url = "sqlite:///pages.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = open_database(url)
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def asking(database: Database) -> Iterator[TestClient]:
    settings = load_settings(redis_url="redis://127.0.0.1:1", api_requests_per_minute=1_000_000)
    with TestClient(create_app(Services(settings, database)), base_url=HERE) as client:
        yield client


@pytest.mark.parametrize("path", ["/detections", "/frames"])
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_neither_skip_nor_repeat_while_others_insert(
    database: Database, asking: TestClient, path: str, order: str
) -> None:
    writer = Writer(database)
    boxes = [BOX, (60.0, 20.0, 90.0, 120.0), (100.0, 20.0, 140.0, 120.0)]
    # Three cameras share every captured_at: the order must not depend on time alone.
    writer.write(
        [make_result(name, i, boxes[: 1 + i % 3]) for i in range(60) for name in ("a", "b", "c")], WEIGHTS
    )
    before = {key(row) for page in pages(asking, path, limit=1000) for row in page}
    assert len(before) == (360 if path == "/detections" else 180)
    stop = threading.Event()
    inserted = 0

    def insert() -> None:
        nonlocal inserted
        while not stop.is_set() and inserted < 400:
            moment = START + timedelta(milliseconds=inserted * 15)  # before, between and after what is there
            writer.write([make_result("d", 1000 + inserted, boxes, captured_at=moment)], WEIGHTS)
            inserted += 1

    inserting = threading.Thread(target=insert)
    inserting.start()
    try:
        found = [key(row) for page in pages(asking, path, limit=7, order=order) for row in page]
    finally:
        stop.set()
        inserting.join()
    assert inserted > 10, "rows came in meanwhile"
    assert len(found) == len(set(found)), "no row came twice"
    assert before <= set(found), "no row was left out"
    times = [row[1] for row in found]
    assert times == sorted(times, reverse=order == "newest")


def test_pages_keep_the_time_of_the_first_one(client: TestClient, history: Database) -> None:
    now = datetime.now(UTC)
    hours = [
        make_result("gate", i, [BOX], captured_at=now - i * timedelta(hours=1) + timedelta(minutes=30))
        for i in range(1, 7)
    ]
    Writer(history).write(hours, WEIGHTS)
    first = ask(client, "/detections", since="3h", limit=2)
    # As if an hour had passed: what was three hours back at the first page is four hours back now.
    second = ask(client, "/detections", since="2h", limit=2, cursor=first["next"])
    assert [row["frame_index"] for row in first["detections"] + second["detections"]] == [1, 2, 3]


def test_a_cursor_belongs_to_its_filters(client: TestClient) -> None:
    first = ask(client, "/detections", limit=1)
    answer = client.get("/api/detections", params={"cursor": first["next"], "class": "person"})
    assert answer.status_code == 400
    assert "expected the filters of the page" in answer.json()["detail"]


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_cursor_at_the_ends_of_time_is_no_fault_of_ours(client: TestClient, moment: datetime) -> None:
    cursor = write_cursor(DetectionFilter(), Position(moment, 2**31 - 1, 2**62, 0, 0))
    assert client.get("/api/detections", params={"cursor": cursor}).status_code == 200


def test_csv_and_ndjson_hold_the_rows(client: TestClient) -> None:
    answer = client.get("/api/detections", params={"format": "ndjson", "since": SINCE})
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [{**row, "picture": None} for row in rows] == ask(client, "/detections")["detections"]
    answer = client.get("/api/detections", params={"format": "csv", "since": SINCE, "limit": 2})
    assert 'filename="detections.csv"' in answer.headers["content-disposition"]
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["class_name"], float(row["score"])) for row in table] == [
        (row["class_name"], row["score"]) for row in rows[:2]
    ]


def test_parquet_opens_in_duckdb_and_pandas_with_right_types(client: TestClient, tmp_path: Path) -> None:
    import duckdb
    import pandas as pd

    answer = client.get("/api/detections", params={"format": "parquet", "since": SINCE})
    file = tmp_path / "detections.parquet"
    file.write_bytes(answer.content)
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
        types = {name: kind for name, kind, *_ in described}
        assert types["captured_at"] == "TIMESTAMP WITH TIME ZONE"
        assert (types["camera"], types["score"], types["frame_width"]) == ("VARCHAR", "DOUBLE", "INTEGER")
        assert (types["frame_index"], types["track_id"]) == ("BIGINT", "BIGINT")
        counted = connection.execute(
            f"SELECT class_name, count(*) FROM '{file}' GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert counted == [("bus", 1), ("car", 2), ("person", 2)]
    frame = pd.read_parquet(file)
    assert list(frame.columns) == list(HISTORY_COLUMNS)
    assert str(frame["captured_at"].dtype) == "datetime64[us, UTC]"
    assert (str(frame["score"].dtype), str(frame["frame_index"].dtype)) == ("float64", "int64")
    assert sorted(frame["class_name"]) == ["bus", "car", "car", "person", "person"]


def test_the_history_needs_no_redis(client: TestClient) -> None:
    assert len(ask(client, "/detections")["detections"]) == 5
