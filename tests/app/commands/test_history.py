import csv
import io
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from storage.database import Database
from storage.queries import HISTORY_COLUMNS
from tests.app.conftest import Cli


@pytest.fixture(autouse=True)
def _filled(history: Database) -> None:
    """Every test here asks `framewatch.db`."""


def test_detections_are_a_table_that_names_its_time_zone(cli: Cli) -> None:
    done = cli("detections")
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].split()[:4] == ["camera", "captured_at", "(UTC)", "class_name"]
    assert len(lines) == 6
    assert lines[1].startswith("gate    2026-11-23 22:53:00.100  person       0.80   12   20     40     100")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--camera", "gate"], 4),
        (["--camera", "gate,yard", "--class", "bus"], 1),
        (["--class", "person", "--class", "car"], 4),
        (["--min-score", "0.7"], 3),
        (["--region", "190,290,320,400"], 2),
        (["--min-area", "20000"], 1),
        (["--since", "2026-11-23T22:53:00.05"], 2),
        (["--until", "2026-11-23T23:53:00.05+01:00"], 3),
        (["--since", "2020-01-01", "--until", "2021-01-01"], 0),
        (["--limit", "3"], 3),
    ],
)
def test_filters_choose_rows(cli: Cli, options: list[str], count: int) -> None:
    done = cli("detections", *options, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert done.code == 0, done.err
    assert len(rows) == count


def test_csv_and_json_have_the_columns_of_the_view_and_the_same_rows(cli: Cli) -> None:
    rows = list(csv.DictReader(io.StringIO(cli("detections", "--format", "csv").out)))
    objects = json.loads(cli("detections", "--format", "json").out)
    assert tuple(rows[0]) == tuple(objects[0]) == HISTORY_COLUMNS
    assert [row["captured_at"] for row in rows] == [one["captured_at"] for one in objects]
    assert rows[0]["captured_at"] == "2026-11-23T22:53:00.100000Z"
    assert objects[0]["width"] * objects[0]["height"] == objects[0]["area"]


def test_a_file_takes_its_format_from_its_name(cli: Cli, folder: Path) -> None:
    done = cli("detections", "--class", "car", "-o", "cars.parquet")
    assert (done.code, done.out) == (0, "")
    assert done.err == "2 rows written to cars.parquet\n"
    table = parquet.read_table(folder / "cars.parquet")
    assert table.column_names == list(HISTORY_COLUMNS)
    assert table["class_name"].to_pylist() == ["car", "car"]


def test_a_table_that_was_cut_says_so_on_standard_error(cli: Cli) -> None:
    done = cli("detections", "--limit", "2")
    assert len(done.out.splitlines()) == 3
    assert done.err == "the first 2 rows; more with --limit N, all with --format csv or json\n"
    assert cli("detections", "--limit", "5").err == ""


def test_nothing_found_is_no_error(cli: Cli) -> None:
    done = cli("detections", "--min-score", "1")
    assert (done.code, done.out, done.err) == (0, "", "no detections pass the filter\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "last tuesday"], "--since: expected a time such as 2h, 7d, today"),
        (["--until", "2026-23-11"], "--until: expected a time"),
        (["--since", "1h", "--until", "2h"], "since: expected a time before until"),
        (["--region", "10,10,5,5"], "--region: expected x1,y1,x2,y2"),
        (["--camera", "gtae"], "camera 'gtae': expected one with a history (gate, yard)"),
        (["--class", "persn"], "class 'persn': expected one that a model knows (bus, car, person)"),
        (["--min-score", "3"], "--min-score"),
        (["--limit", "0"], "--limit"),
        (["--format", "xml"], "--format"),
        (["-o", "cars.xlsx"], "-o cars.xlsx: expected a name ending in .csv, .json, .ndjson, .parquet"),
        (["-o", "nowhere/cars.csv"], "-o nowhere/cars.csv: expected a file that can be written"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cli: Cli, options: list[str], message: str) -> None:
    done = cli("detections", *options)
    assert done.code == 2
    assert message in done.error


def test_counts_split_by_class_camera_and_time(cli: Cli) -> None:
    done = cli("counts", "--by", "class,camera", "--bucket", "1h", "--format", "csv")
    assert done.out.splitlines() == [
        "bucket,class_name,camera,count",
        "2026-11-23T22:00:00.000000Z,car,gate,2",
        "2026-11-23T22:00:00.000000Z,person,gate,2",
        "2026-11-23T22:00:00.000000Z,bus,yard,1",
    ]
    table = cli("counts", "--by", "camera", "--bucket", "1d").out.splitlines()
    assert table == [
        "bucket (UTC)      camera  count",
        "2026-11-23 00:00  gate        4",
        "2026-11-23 00:00  yard        1",
    ]


@pytest.mark.parametrize(
    "options", [["--by", "colour"], ["--by", ""], ["--bucket", "soon"], ["--by", "class,,x"]]
)
def test_wrong_groups_and_buckets_are_one_line(cli: Cli, options: list[str]) -> None:
    done = cli("counts", *options)
    assert done.code == 2
    assert done.error.startswith(f"error: {options[0]}: expected")


def test_sql_reads_the_view(cli: Cli) -> None:
    question = "SELECT camera, count(*) AS n FROM detection_history GROUP BY camera ORDER BY n"
    assert cli("sql", question).out.splitlines() == ["camera  n", "yard    1", "gate    4"]
    assert json.loads(cli("sql", question, "--format", "json").out)[1] == {"camera": "gate", "n": 4}
    assert cli("sql", question, "-o", "n.csv").code == 0
    assert Path("n.csv").read_text() == "camera,n\nyard,1\ngate,4\n"


def test_sql_may_come_from_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS one"))
    assert cli("sql", "-").out.splitlines() == ["one", "  1"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM frames",
        "SELEC 1",
        "SELECT nope FROM frames",
        "SELECT 1; SELECT 2",
        "",
        "PRAGMA user_version=5",
    ],
)
def test_sql_that_cannot_run_is_one_line_and_changes_nothing(cli: Cli, statement: str) -> None:
    done = cli("sql", statement)
    assert done.code == 2
    assert done.error
    assert len(json.loads(cli("detections", "--format", "json").out)) == 5


def test_free_sql_writes_parquet_with_types(cli: Cli, folder: Path) -> None:
    statement = "SELECT captured_at, class_name, count(*) AS n, avg(score) AS mean FROM detection_history"
    assert cli("sql", f"{statement} GROUP BY 1, 2", "-o", "a.parquet").code == 0
    table = parquet.read_table(folder / "a.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "captured_at": "timestamp[us, tz=UTC]",
        "class_name": "string",
        "n": "int64",
        "mean": "double",
    }
    assert sum(table["n"].to_pylist()) == 5
