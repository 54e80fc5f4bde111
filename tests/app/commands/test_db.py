import json
from pathlib import Path

import pytest

from storage.database import Database
from tests.app.conftest import Cli


def test_a_missing_database_says_what_makes_it_and_is_not_made(cli: Cli, folder: Path) -> None:
    done = cli("detections")
    assert done.code == 2
    assert "sqlite:///framewatch.db: no such database" in done.error
    assert list(folder.iterdir()) == []


def test_upgrade_makes_the_tables_and_may_be_repeated(cli: Cli) -> None:
    assert cli("db", "upgrade").code == 0
    assert cli("db", "upgrade").code == 0
    assert cli("counts").err == "no detections pass the filter\n"


def test_info_counts_rows(cli: Cli, history: Database) -> None:
    found = json.loads(cli("db", "info", "--json").out)
    assert (found["dialect"], found["rows"]["detections"], found["revision"]) == ("sqlite", 5, found["head"])
    assert found["oldest"] == "2026-11-23T22:53:00.000000Z"
    assert "rows in detections    5" in cli("db", "info").out


@pytest.mark.postgres
def test_everything_works_on_postgresql_too(cli: Cli, postgres_url: str) -> None:
    at = ("--database-url", postgres_url)
    assert "run `framewatch db upgrade`" in cli("detections", *at).error
    assert cli("db", "upgrade", *at).code == 0
    assert cli("camera", "add", "gate", "usb://0", *at).code == 0
    assert cli("sql", "SELECT name FROM cameras", *at).out.splitlines() == ["name", "gate"]
    assert "partitions" in cli("db", "info", *at).out
