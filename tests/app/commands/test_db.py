import json
import re
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from storage.database import Database, open_database
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
    assert found["detections_per_day"] == {"2026-11-23": 5}
    shown = cli("db", "info").out
    assert re.search(r"rows in detections +5\n", shown)
    assert re.search(r"detections on 2026-11-23 +5\n", shown)


def test_prune_says_first_and_then_removes(cli: Cli, history: Database) -> None:
    told = json.loads(cli("db", "prune", "--older-than", "1d", "--class", "car", "--dry-run", "--json").out)
    assert (told["detections"], told["dry_run"]) == (2, True)
    assert "detections      2" in cli("db", "prune", "--older-than", "1d", "--class", "car").out
    assert "car" not in cli("counts").out
    done = cli("db", "prune", "--retention", "30d, yard=forever, gate/person=1d")
    assert "detections      2" in done.out
    assert cli("counts").out.split() == ["class_name", "count", "bus", "1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected --older-than SPAN or the setting retention"),
        (["--camera", "gate"], "expected them with --older-than"),
        (["--older-than", "long"], "expected a span such as 12h"),
        (["--older-than", "999999w"], "expected a span such as 12h"),
        (["--retention", "999999w"], "expected spans such as"),
        (["--older-than", "1d", "--camera", "gaet"], "camera 'gaet'"),
        (["--older-than", "1d", "--class", ""], "--class: expected a name"),
        (["--older-than", "1d", "--camera", " "], "--camera: expected a name"),
        (["--class", ""], "--class: expected a name"),
        (["--retention", "*/lorry=1d"], "class 'lorry'"),
        (["--retention", "1x"], "expected spans such as"),
    ],
)
def test_prune_refuses_what_cannot_be_meant(
    cli: Cli, history: Database, options: list[str], message: str
) -> None:
    done = cli("db", "prune", *options)
    assert message in done.error
    assert done.code != 0
    assert json.loads(cli("db", "info", "--json").out)["rows"]["detections"] == 5


def test_recount_mends_the_counts(cli: Cli, history: Database) -> None:
    with history.writing() as connection:
        connection.execute(text("DELETE FROM detections WHERE class_id = 2"))
    assert "bus" in cli("counts").out
    assert cli("db", "recount").code == 0
    assert "bus" not in cli("counts").out


@pytest.mark.postgres
def test_everything_works_on_postgresql_too(cli: Cli, postgres_url: str) -> None:
    at = ("--database-url", postgres_url)
    assert "run `framewatch db upgrade`" in cli("detections", *at).error
    assert cli("db", "upgrade", *at).code == 0
    assert cli("camera", "add", "gate", "usb://0", *at).code == 0
    assert cli("sql", "SELECT name FROM cameras", *at).out.splitlines() == ["name", "gate"]
    shown = cli("db", "info", *at).out
    assert re.search(r"partitions +0\n", shown)
    assert re.search(r"size of detections +\d+\.\d MB\n", shown)


@pytest.mark.postgres
def test_the_reader_gets_a_url_with_a_password_once(cli: Cli, postgres_url: str) -> None:
    at = ("--database-url", postgres_url)
    assert cli("db", "upgrade", *at).code == 0
    close = "ALTER ROLE framewatch_reader NOLOGIN PASSWORD NULL"
    database = open_database(postgres_url)
    with database.writing() as connection:
        connection.execute(text(close))
    made = cli("db", "upgrade", "--with-reader", *at)
    assert re.fullmatch(r"postgresql://framewatch_reader:[^@]+@127.0.0.1:\d+/test_\w+\n", made.out)
    psycopg.connect(made.out.strip()).close()
    again = cli("db", "upgrade", "--with-reader", *at)
    assert re.fullmatch(r"postgresql://framewatch_reader@127.0.0.1:\d+/test_\w+\n", again.out)
    assert "keeps its password" in again.err
    with database.writing() as connection:
        connection.execute(text(close))
    database.close()


def test_sqlite_needs_no_reader(cli: Cli) -> None:
    done = cli("db", "upgrade", "--with-reader")
    assert (done.code, "expected PostgreSQL" in done.err) == (2, True)
