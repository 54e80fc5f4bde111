"""Strangers' SQL cannot write, attach, load, read files or secrets, change who it is, or outlast its time."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from core.errors import QueryError
from storage.database import Database, open_database
from storage.postgres import SCHEMA_LOCK, partition_days
from storage.readonly_sql import run_readonly_sql
from storage.retention import prepare_days
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

SOON_S = 30.0
"""A machine under load takes its time; the attempts would take hours."""
SECRET = "a-hash-that-nobody-may-see"

WRITES_SQLITE = [
    "INSERT INTO cameras (name, settings, enabled, created_at) VALUES ('x', '{}', 1, '2026-11-23')",
    "WITH one AS (SELECT 1) INSERT INTO classes VALUES (1, 99, 'x')",
    "WITH one AS (SELECT 1) UPDATE cameras SET name = 'x'",
    "WITH one AS (SELECT 1) DELETE FROM frames",
    "REPLACE INTO classes VALUES (1, 0, 'x')",
    "CREATE TABLE mine (id)",
    "CREATE TEMP TABLE mine (id)",
    "CREATE TABLE mine AS SELECT * FROM frames",
    "DROP TABLE detections",
    "ALTER TABLE detections RENAME TO gone",
    "SELECT 1; DELETE FROM frames",
    "/* SELECT */ DELETE FROM frames",
    "EXPLAIN SELECT 1; DROP TABLE frames",
    "PRAGMA user_version = 7",
    "PRAGMA writable_schema = ON",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA integrity_check",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "SAVEPOINT one",
]
FILES_SQLITE = [
    "ATTACH DATABASE '/tmp/other.db' AS other",
    "ATTACH ':memory:' AS other",
    "VACUUM INTO '/tmp/copy.db'",
    "SELECT load_extension('/tmp/evil.so')",
    "SELECT LOAD_EXTENSION('/tmp/evil.so', 'main')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT fts3_tokenizer('simple', x'4141414141414141')",
    "SELECT * FROM pragma_journal_mode('delete')",
    "CREATE VIRTUAL TABLE t USING csv(filename='/etc/passwd')",
    "SELECT edit('x', 'sh')",
    "PRAGMA temp_store_directory = '/etc'",
    "PRAGMA key = 'x'",
    "SELECT * FROM api_tokens",
    "SELECT (SELECT max(sha256) FROM main.api_tokens)",
    "SELECT password FROM reader_logins",
    "WITH t AS (SELECT * FROM API_TOKENS) SELECT count(sha256) FROM t",
]
ENDLESS_SQLITE = [
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 4000)"
    " SELECT count(*) FROM t a, t b, t c WHERE a.n + b.n + c.n > 1",
    "SELECT instr(hex(zeroblob(30000000)), hex(zeroblob(12000000)) || '1')",
    "SELECT replace(hex(zeroblob(30000000)), hex(zeroblob(12000000)) || '1', '')",
    "SELECT hex(zeroblob(30000000)) LIKE '%' || replace(hex(zeroblob(10000)), '0', '0_') || '1%'",
    "SELECT hex(zeroblob(1000000000))",
    "SELECT count(*) FROM (SELECT randomblob(60000000) AS b FROM (VALUES (1), (2), (3), (4), (5), (6)) a,"
    " (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9)) c ORDER BY b)",
]
WRITES_POSTGRES = [
    "INSERT INTO cameras (name, settings, enabled, created_at) VALUES ('x', '{}', true, now())",
    "WITH gone AS (DELETE FROM frames RETURNING 1) SELECT * FROM gone",
    "WITH new AS (UPDATE cameras SET name = 'x' RETURNING 1) TABLE new",
    "SELECT * INTO mine FROM frames",
    "CREATE TEMP TABLE mine (id int)",
    "SELECT 1; DELETE FROM frames",
    "SELECT 1; COMMIT; DELETE FROM frames",
    "EXPLAIN ANALYZE DELETE FROM frames",
    "DO $$ BEGIN DELETE FROM frames; END $$",
    "SELECT nextval('cameras_id_seq')",
    "SELECT setval('cameras_id_seq', 1)",
    "SELECT * FROM frames FOR UPDATE",
    "SELECT query_to_xml('DELETE FROM frames', true, false, '')",
    "SELECT query_to_xml('SELECT set_config(''transaction_read_only'', ''off'', true)', true, false, '')",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT set_config('default_transaction_read_only', 'off', false), nextval('cameras_id_seq')",
    "SET TRANSACTION READ WRITE",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_notify('framewatch', 'x') FROM frames FOR UPDATE",
    "SELECT pg_create_restore_point('x')",
    "SELECT pg_switch_wal()",
    "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) FROM generate_series(1, 20)",
    "SELECT pg_logical_emit_message(true, 'x', CAST('x' AS bytea))",
    "VACUUM",
    "CALL nothing()",
]
FILES_POSTGRES = [
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'",
    "COPY frames TO '/tmp/frames.csv'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_stat_file('PG_VERSION')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT * FROM pg_ls_logdir()",
    "SELECT * FROM pg_hba_file_rules()",
    "SELECT pg_reload_conf()",
    "LOAD '/tmp/evil.so'",
    "SELECT query_to_xml('SELECT pg_read_file(''/etc/passwd'')', true, false, '')",
    "TABLE pg_authid",
    "SELECT * FROM pg_shadow",
    "TABLE api_tokens",
    "SELECT max(sha256) FROM api_tokens",
    "SELECT * FROM reader_logins",
    "SELECT query_to_xml('TABLE reader_logins', true, false, '')",
    "SELECT table_to_xml('api_tokens', true, false, '')",
    "SELECT schema_to_xml('public', true, false, '')",
]
OTHERS_POSTGRES = [
    "SET ROLE postgres",
    "RESET ROLE",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "SELECT set_config('role', 'none', true), pg_read_file('/etc/passwd')",
    "SELECT set_config('role', 'none', true), query_to_xml('TABLE api_tokens', true, false, '')",
    "SELECT set_config('session_authorization', 'default', true),"
    " query_to_xml('TABLE pg_authid', true, false, '')",
    "SELECT query_to_xml('SELECT set_config(''role'', ''postgres'', true)', true, false, '')",
    "SELECT dblink('dbname=postgres', 'SELECT 1')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
]
ENDLESS_POSTGRES = [
    "SELECT pg_sleep(3600)",
    "SELECT set_config('statement_timeout', '0', false), pg_sleep(3600)",
    "SELECT query_to_xml('SELECT set_config(''statement_timeout'', ''0'', true), pg_sleep(3600)',"
    " true, false, '')",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 1000000) b",
    "SELECT pg_sleep(0.1) FROM generate_series(1, 100000)",
    "SELECT sum(length((2::numeric ^ n)::text)) FROM generate_series(100000, 130000) n",
]


def test_there_are_thirty_attempts_and_more_on_either() -> None:
    assert len(WRITES_SQLITE + FILES_SQLITE + ENDLESS_SQLITE) >= 30
    assert len(WRITES_POSTGRES + FILES_POSTGRES + OTHERS_POSTGRES + ENDLESS_POSTGRES) >= 30


def _fill(database: Database) -> None:
    database.upgrade()
    batch = [make_result(index=i, boxes=[(0, 0, 10, 10)] * 2) for i in range(20)]
    Writer(database).write(batch, WEIGHTS)
    statement = "INSERT INTO api_tokens (name, role, sha256, created_at) VALUES ('one', 'admin', '{}', '{}')"
    with database.writing() as connection:
        connection.execute(text(statement.format(SECRET, "2026-11-23 00:00:00.000000")))


def _state(database: Database) -> list[object]:
    statements = (
        "SELECT count(*) FROM frames",
        "SELECT count(*) FROM detections",
        "SELECT name FROM cameras",
        "SELECT name FROM classes ORDER BY class_id",
        "SELECT count(*) FROM sqlite_master"
        if database.dialect == "sqlite"
        else "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    )
    with database.reading() as connection:
        return [tuple(connection.scalars(text(statement))) for statement in statements]


@pytest.fixture(scope="module")
def sqlite_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('escapes') / 'history.db'}")
    _fill(database)
    yield database
    database.close()


@pytest.fixture(scope="module")
def postgres_history(postgres_server_url: str) -> Iterator[Database]:
    """As the superuser of its server: the worst that framewatch can be given."""
    admin = create_engine(postgres_server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE escapes"))
    url = make_url(postgres_server_url).set(database="escapes")
    database = open_database(url.render_as_string(hide_password=False))
    _fill(database)
    yield database
    database.close()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE escapes WITH (FORCE)"))
    admin.dispose()


def _refused(database: Database, statement: str) -> str:
    with pytest.raises(QueryError) as raised:
        list(run_readonly_sql(database, statement, timeout_s=20.0).rows)
    message = str(raised.value)
    assert message.startswith("sql: ")
    assert "\n" not in message
    assert SECRET not in message
    return message


@pytest.mark.parametrize("statement", WRITES_SQLITE + FILES_SQLITE)
def test_sqlite_refuses(sqlite_history: Database, statement: str) -> None:
    before = _state(sqlite_history)
    folder = Path(sqlite_history.url.database or "").parent
    files = {path.name for path in folder.iterdir()}
    _refused(sqlite_history, statement)
    assert _state(sqlite_history) == before
    assert {path.name for path in folder.iterdir()} == files


@pytest.mark.postgres
@pytest.mark.parametrize("statement", WRITES_POSTGRES + FILES_POSTGRES + OTHERS_POSTGRES)
def test_postgresql_refuses(postgres_history: Database, statement: str) -> None:
    before = _state(postgres_history)
    _refused(postgres_history, statement)
    assert _state(postgres_history) == before


@pytest.mark.postgres
def test_a_reader_that_holds_locks_keeps_no_worker_from_starting(postgres_history: Database) -> None:
    statement = f"SELECT pg_advisory_lock({SCHEMA_LOCK}), n FROM generate_series(1, 1000000) n"
    rows = iter(run_readonly_sql(postgres_history, statement, timeout_s=120.0).rows)
    next(rows)

    def start() -> None:
        postgres_history.upgrade()
        prepare_days(postgres_history, datetime(2030, 1, 1, tzinfo=UTC))

    starting = threading.Thread(target=start, daemon=True)
    starting.start()
    starting.join(SOON_S)
    assert not starting.is_alive()
    with postgres_history.reading() as connection:
        held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :key AND granted")
        assert connection.scalar(held, {"key": SCHEMA_LOCK}) == 1
        assert date(2030, 1, 1) in partition_days(connection, "frames")
    del rows


def _stopped(database: Database, statement: str) -> None:
    """It ends by the time-out or at once, and gives nothing away either way."""
    started = time.monotonic()
    with pytest.raises(QueryError, match=r"stopped after 0.3 s|too big|memory|no such table|invalid"):
        list(run_readonly_sql(database, statement, timeout_s=0.3).rows)
    assert time.monotonic() - started < SOON_S


@pytest.mark.parametrize("statement", ENDLESS_SQLITE)
def test_sqlite_stops(sqlite_history: Database, statement: str) -> None:
    _stopped(sqlite_history, statement)


@pytest.mark.postgres
@pytest.mark.parametrize("statement", ENDLESS_POSTGRES)
def test_postgresql_stops(postgres_history: Database, statement: str) -> None:
    _stopped(postgres_history, statement)
