"""Grafana's dashboards: every query runs on a real PostgreSQL as the role that the data source names."""

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

from core.camera_state import CameraActivity, CameraEvent
from core.settings import PREFIX, Settings
from core.types import DropReason, LedgerMinute
from storage.camera_events import write_camera_events
from storage.database import open_database
from storage.ledger import write_ledger_minutes
from storage.readers import READER_ROLE
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
SOURCE = FOLDER / "provisioning" / "datasources" / "framewatch.yml"
PROVIDER = FOLDER / "provisioning" / "dashboards" / "framewatch.yml"
COMPOSE = FOLDER / "docker-compose.grafana.yml"
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))
}
START = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


def _queries() -> list[tuple[str, str, str]]:
    """Dashboard and title, how Grafana wants the rows, and the SQL."""
    found = []
    for name, board in DASHBOARDS.items():
        for variable in board["templating"]["list"]:
            found.append((f"{name}: ${variable['name']}", "variable", variable["query"]))
        for panel in board["panels"]:
            found += [(f"{name}: {panel['title']}", t["format"], t["rawSql"]) for t in panel["targets"]]
    return found


def _expanded(statement: str) -> str:
    """As Grafana's PostgreSQL data source expands its macros, with all cameras and classes chosen."""
    since, until = (
        f"'{moment:%Y-%m-%dT%H:%M:%SZ}'" for moment in (START - timedelta(days=1), START + timedelta(days=1))
    )
    expanded = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN {since} AND {until}", statement)
    expanded = expanded.replace("$__timeFrom()", since).replace("$__timeTo()", until)
    return expanded.replace("$camera", "'gate','yard'").replace("$class", "'person','car'")


@pytest.fixture(scope="module")
def reader_url(postgres_server_url: str) -> Iterator[str]:
    """A history with something for every panel, as Grafana's login sees it."""
    admin = create_engine(postgres_server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE grafana"))
    url = make_url(postgres_server_url).set(database="grafana").render_as_string(hide_password=False)
    with contextlib.closing(open_database(url)) as database:
        database.upgrade()
        boxes = [(100.0, 200.0, 150.0, 350.0), (300.0, 210.0, 340.0, 330.0)]
        moments = [START + minute * timedelta(minutes=1) for minute in range(90)]
        shots = [
            make_result(camera, n, boxes, labels=[0, 1], captured_at=moment)
            for n, moment in enumerate(moments)
            for camera in ("gate", "yard")
        ]
        Writer(database).write(shots, WEIGHTS)
        ledger = [LedgerMinute("gate", moment, 12, 10, {DropReason.STALE: 2}) for moment in moments]
        write_ledger_minutes(database, ledger)
        write_camera_events(database, [CameraEvent("gate", START, CameraActivity.LIVE, None, "one")])
        yield database.open_reader("a password for grafana").url
        with database.writing() as connection:
            connection.execute(text(f"ALTER ROLE {READER_ROLE} NOLOGIN PASSWORD NULL"))
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE grafana WITH (FORCE)"))
    admin.dispose()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("title", "form", "statement"), _queries(), ids=[title for title, _, _ in _queries()]
)
def test_every_query_finds_something_in_the_form_that_grafana_wants(
    reader_url: str, title: str, form: str, statement: str
) -> None:
    with psycopg.connect(reader_url) as connection:
        cursor = connection.execute(_expanded(statement))  # type: ignore[call-overload]
        rows = cursor.fetchall()
        columns = {column.name: column.type_display for column in cursor.description or ()}
    assert rows, title
    assert "$" not in _expanded(statement)
    if form == "time_series":
        assert columns.pop("time") == "timestamptz"
        assert columns.pop("metric", "text") in ("text", "varchar", "varchar(63)")
        assert columns
        assert set(columns.values()) == {"float8"}
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_two_dashboards_use_the_provisioned_data_source() -> None:
    (source,) = yaml.safe_load(SOURCE.read_text())["datasources"]
    assert (source["type"], source["user"]) == ("postgres", READER_ROLE)
    assert len(DASHBOARDS) == 2
    for board in DASHBOARDS.values():
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        used = {part["datasource"]["uid"] for panel in panels for part in (panel, *panel["targets"])}
        assert used == {source["uid"]}


def test_no_panels_overlap() -> None:
    for board in DASHBOARDS.values():
        cells: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            mine = {
                (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & mine, panel["title"]
            assert at["x"] + at["w"] <= 24
            cells |= mine


def test_the_overlay_gives_what_the_provisioning_reads() -> None:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    grafana = services["grafana"]
    asked = set(re.findall(r"\$\{(\w+)\}", SOURCE.read_text()))
    assert asked <= set(grafana["environment"])
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    root = FOLDER.parents[1]
    assert all((root / path).is_dir() for path in mounts if path.startswith("./"))
    (provider,) = yaml.safe_load(PROVIDER.read_text())["providers"]
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(services["migrate"]["environment"]) <= known
    assert all(str(port).startswith("127.0.0.1:") for port in grafana["ports"])
