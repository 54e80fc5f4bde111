import socket
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from core.errors import DatabaseUnavailableError, SettingsError, UsageError
from storage.database import Database, open_database
from storage.migrations.scope import is_ours
from storage.queries import HISTORY_COLUMNS
from storage.tables import Row
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("history.db", "expected sqlite:///FILE or postgresql://USER@HOST/NAME, got 'history.db'"),
        ("", "got ''"),
        (f"me:{SECRET}@host/history", "without '://'"),
        (f"mysql://me:{SECRET}@host/history", "got the dialect 'mysql'"),
        (f"postgresql+psycopg2://me:{SECRET}@host/history", "got the driver 'psycopg2'"),
        (f"postgresql+asyncpg://me:{SECRET}@host/history", "got the driver 'asyncpg'"),
        ("sqlite+aiosqlite:///history.db", "got the driver 'aiosqlite'"),
        (f"postgresql://me:{SECRET}@host:port/history", "expected sqlite:///FILE or postgresql://"),
        ("sqlite://", "expected sqlite:///FILE"),
        ("sqlite:///:memory:", "expected sqlite:///FILE"),
        ("sqlite:////no/such/folder/history.db", "expected an existing directory, got /no/such/folder"),
    ],
)
def test_a_url_that_cannot_work_gets_one_line_without_its_password(url: str, expected: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_database(url)
    message = str(raised.value)
    assert expected in message
    assert SECRET not in message
    assert "\n" not in message


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_spelling_of_postgresql_takes_psycopg_3(scheme: str) -> None:
    database = open_database(f"{scheme}://me:{SECRET}@host/history")
    assert database.engine.driver == "psycopg"
    assert SECRET not in database.label


def test_a_directory_is_no_sqlite_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="got the directory"):
        open_database(f"sqlite:///{tmp_path}")


def test_another_kind_of_file_is_no_sqlite_file(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    file.write_text("camera,captured_at\n" * 100)
    with pytest.raises(SettingsError, match="another kind of file"):
        open_database(f"sqlite:///{file}")


def test_a_damaged_sqlite_file_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    database = open_database(f"sqlite:///{file}")
    database.upgrade()
    database.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    broken = open_database(f"sqlite:///{file}")
    with pytest.raises(SettingsError, match="damaged"):
        broken.check()
    broken.close()


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port
        port = closed.getsockname()[1]
        database = open_database(f"postgresql://me:{SECRET}@127.0.0.1:{port}/history")
        with pytest.raises(DatabaseUnavailableError) as raised:
            database.check()
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.postgres
def test_a_wrong_password_is_told_without_telling_it(postgres_url: str) -> None:
    database = open_database(postgres_url)
    wrong = database.url.set(password=SECRET).render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailableError, match="password authentication failed") as raised:
        open_database(wrong).check()
    assert SECRET not in str(raised.value)


def test_a_fresh_database_asks_for_the_upgrade(database_url: str) -> None:
    database = open_database(database_url)
    with pytest.raises(UsageError, match="framewatch db upgrade"):
        database.check()
    with pytest.raises(UsageError, match="framewatch db upgrade"):
        Writer(database).write([make_result()], WEIGHTS)
    database.close()


def test_an_upgraded_database_passes_the_check(database: Database) -> None:
    before = database.info().revision
    database.upgrade()
    database.check()
    assert database.info().revision == before


def test_a_schema_of_a_newer_version_asks_for_a_newer_framewatch(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="update framewatch"):
        database.check()


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    Writer(database).write([make_result()], WEIGHTS)  # makes partitions, which are nobody's difference
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_ours})
        assert compare_metadata(context, Row.metadata) == []


def test_the_view_has_its_promised_columns(database: Database) -> None:
    columns = [column["name"] for column in inspect(database.engine).get_columns("detection_history")]
    assert tuple(columns) == HISTORY_COLUMNS


def test_a_downgrade_leaves_nothing_and_an_upgrade_brings_it_back(database: Database) -> None:
    Writer(database).write([make_result()], WEIGHTS)
    database.downgrade("base")
    inspector = inspect(database.engine)
    assert inspector.get_table_names() == ["alembic_version"]
    assert inspector.get_view_names() == []
    database.upgrade()
    database.check()


def test_several_processes_may_upgrade_at_once(database_url: str) -> None:
    script = (
        f"from storage.database import open_database as o; d = o({database_url!r}); d.upgrade(); d.check()"
    )
    started = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(4)]
    for process in started:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error.decode()


def test_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'history.db'}")
    database.upgrade()
    with database.reading() as connection:
        pragmas = ("journal_mode", "foreign_keys", "synchronous")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 1, 1]
    database.close()


def test_info_tells_what_there_is(database: Database) -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0)] * 2
    Writer(database).write([make_result(index=0, boxes=boxes), make_result(index=864_000)], WEIGHTS)
    info = database.info()
    assert (info.rows["frames"], info.rows["detections"], info.rows["cameras"]) == (2, 2, 1)
    assert info.revision == info.head
    assert info.newest is not None
    assert info.oldest is not None
    assert (info.newest - info.oldest).days == 1
    assert info.size_bytes > 0
    assert info.detections_per_day == {date(2026, 11, 23): 2}
    if info.dialect == "postgresql":
        assert info.partitions == 2
        assert (info.first_partition, info.last_partition) == (date(2026, 11, 23), date(2026, 11, 24))
        assert set(info.table_bytes) == set(info.rows)
        assert info.table_bytes["detections"] > info.table_bytes["camera_events"] > 0
    else:
        assert (info.partitions, info.first_partition, info.table_bytes) == (0, None, {})
    assert not info.rows_estimated


def test_a_misspelt_file_is_not_made(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'histroy.db'}")
    for ask in (database.check, database.info, lambda: Writer(database).write([make_result()], WEIGHTS)):
        with pytest.raises(UsageError, match="found no such file; run `framewatch db upgrade`"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_info_also_serves_a_database_without_tables(database: Database) -> None:
    database.downgrade("base")
    info = database.info()
    assert (info.revision, dict(info.rows), info.oldest) == (None, {}, None)
