import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import DatabaseUnavailableError, QueryError
from storage.database import Database, open_database
from storage.readonly_sql import run_readonly_sql
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT {} FROM t"


@pytest.fixture
def history(database: Database) -> Iterator[Database]:
    """20 frames with 2 detections each; the test must leave them as they are."""
    batch = [make_result(index=i, boxes=[(0, 0, 10, 10)] * 2) for i in range(20)]
    Writer(database).write(batch, WEIGHTS)
    yield database
    with database.reading() as connection:
        tables = ("frames", "detections", "cameras")
        counts = [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables]
    assert counts == [20, 40, 1]


def test_a_statement_gives_columns_and_rows(history: Database) -> None:
    statement = (
        "SELECT class_name, count(*) AS seen, avg(area) AS area FROM detection_history GROUP BY class_name;"
    )
    table = run_readonly_sql(history, statement)
    assert table.columns == ("class_name", "seen", "area")
    assert list(table.rows) == [("person", 40, 100.0)]


def test_columns_are_known_without_rows(history: Database) -> None:
    table = run_readonly_sql(
        history, "-- none so far\nSELECT camera, score FROM detection_history WHERE score > 2"
    )
    assert (table.columns, list(table.rows)) == (("camera", "score"), [])


def test_percent_signs_and_colons_are_left_alone(history: Database) -> None:
    table = run_readonly_sql(history, "SELECT '%s %', ':a', 7 % 4")
    assert list(table.rows) == [("%s %", ":a", 3)]


def test_whole_sums_are_integers(history: Database) -> None:
    ((total,),) = run_readonly_sql(history, "SELECT sum(frame_index) FROM frames").rows
    assert (total, type(total)) == (190, int)


def test_the_limit_ends_even_an_endless_answer(history: Database) -> None:
    table = run_readonly_sql(history, ENDLESS.format("n"), limit=3)
    assert list(table.rows) == [(1,), (2,), (3,)]


def test_answers_that_nobody_reads_hold_no_connections(history: Database) -> None:
    for _ in range(70):  # more than the server allows at once
        run_readonly_sql(history, ENDLESS.format("n"))
    gc.collect()


@pytest.mark.parametrize("column", ["n", "count(*)"])
def test_time_runs_out_while_computing_and_while_reading(history: Database, column: str) -> None:
    with pytest.raises(QueryError, match=r"stopped after 0.3 s"):
        for _ in run_readonly_sql(history, ENDLESS.format(column), timeout_s=0.3).rows:
            pass


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO cameras (name, settings, enabled, created_at) VALUES ('x', '{}', true, '2026-11-23')",
        "DELETE FROM detections",
        "UPDATE cameras SET name = 'x'",
        "DROP TABLE detections",
        "DROP VIEW detection_history",
        "CREATE TABLE mine (id int)",
        "WITH gone AS (SELECT 1) DELETE FROM frames",
        "SELECT 1; DELETE FROM frames",
        "SELECT 1; COMMIT; DELETE FROM frames",
        "EXPLAIN ANALYZE DELETE FROM frames",
        "BEGIN",
        "VACUUM",
        "",
        "   ;",
        "-- nothing\n",
    ],
)
def test_what_is_not_one_reading_statement_is_refused(history: Database, statement: str) -> None:
    with pytest.raises(QueryError) as raised:
        list(run_readonly_sql(history, statement).rows)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "statement", ["SELECT nope FROM frames", "SELECT * FROM nowhere", "SELECT (1", "SELECT frobnicate(1)"]
)
def test_bad_sql_gets_one_line(history: Database, statement: str) -> None:
    with pytest.raises(QueryError, match=r"^sql: ") as raised:
        run_readonly_sql(history, statement)
    assert "\n" not in str(raised.value)


ESCAPES_FROM_SQLITE = [
    "ATTACH DATABASE '/tmp/other.db' AS other",
    "SELECT load_extension('/tmp/evil.so')",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "SELECT hex(zeroblob(1000000000))",
]
ESCAPES_FROM_POSTGRES = [
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'",
    "DO $$ BEGIN DELETE FROM frames; END $$",
    "SET TRANSACTION READ WRITE",
    "WITH gone AS (DELETE FROM frames RETURNING 1) SELECT * FROM gone",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT query_to_xml('DELETE FROM frames', true, false, '')",
    "SELECT nextval('cameras_id_seq')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "SELECT * FROM frames FOR UPDATE",
    "TABLE pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
]


@pytest.mark.parametrize("statement", ESCAPES_FROM_SQLITE)
def test_sqlite_keeps_the_reader_in(tmp_path: Path, statement: str) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'history.db'}")
    database.upgrade()
    with pytest.raises(QueryError):
        list(run_readonly_sql(database, statement).rows)
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("statement", ESCAPES_FROM_POSTGRES)
def test_postgresql_keeps_the_reader_in(postgres: Database, statement: str) -> None:
    with pytest.raises(QueryError):
        list(run_readonly_sql(postgres, statement).rows)


def test_the_schema_can_be_looked_at(history: Database) -> None:
    statement = (
        "PRAGMA table_info(detections)"
        if history.dialect == "sqlite"
        else "SELECT column_name FROM information_schema.columns WHERE table_name = 'detections'"
    )
    assert "class_id" in str(list(run_readonly_sql(history, statement).rows))


@pytest.mark.postgres
def test_a_lost_server_is_unavailable_not_bad_sql(postgres: Database) -> None:
    table = run_readonly_sql(postgres, ENDLESS.format("n"))
    with postgres.reading() as other:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'WITH RECURSIVE%'"
        other.execute(text(cut))
    with pytest.raises(DatabaseUnavailableError):
        for _ in table.rows:
            pass
