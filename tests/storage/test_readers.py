"""The roles of PostgreSQL that only read."""

import contextlib
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import URL, text
from sqlalchemy.engine import make_url

from core.errors import UsageError
from storage.database import Database, open_database
from storage.readers import READER_ROLE
from storage.readonly_sql import run_readonly_sql
from storage.tables import PRIVATE, VIEWS, Row
from storage.writer import Writer
from tests.storage.results import WEIGHTS, make_result

pytestmark = pytest.mark.postgres


@pytest.fixture
def limited(postgres_url: str) -> Iterator[Database]:
    """An upgraded database that belongs to a role without any privilege of its own."""
    owner = f"owner_{uuid.uuid4().hex[:8]}"
    name = make_url(postgres_url).database
    admin = open_database(postgres_url)
    with admin.writing() as connection:
        connection.execute(text(f"CREATE ROLE {owner} LOGIN PASSWORD 'secret secret'"))
        connection.execute(text(f"ALTER DATABASE {name} OWNER TO {owner}"))
        connection.execute(text(f"GRANT ALL ON SCHEMA public TO {owner}"))
    url = make_url(postgres_url).set(username=owner, password="secret secret")
    database = open_database(url.render_as_string(hide_password=False))
    database.upgrade()
    yield database
    database.close()
    with admin.writing() as connection:
        connection.execute(text(f"REASSIGN OWNED BY {owner} TO postgres"))
        connection.execute(text(f"DROP OWNED BY {owner}"))
        connection.execute(text(f"DROP ROLE {owner}"))
    admin.close()


@pytest.fixture
def closed_reader(postgres: Database) -> Iterator[Database]:
    """A server whose reader cannot log in, as after a plain upgrade."""
    close = f"ALTER ROLE {READER_ROLE} NOLOGIN PASSWORD NULL"
    for moment in ("before", "after"):
        with postgres.writing() as connection:
            connection.execute(text(close))
        if moment == "before":
            yield postgres


def _connected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url, autocommit=True)


def test_the_reader_reads_all_tables_and_views_but_secrets_and_writes_nothing(
    closed_reader: Database,
) -> None:
    Writer(closed_reader).write([make_result(boxes=[(0, 0, 1, 1)])], WEIGHTS)
    reader = closed_reader.open_reader()
    assert reader.password
    with contextlib.closing(_connected(reader.url)) as connection:
        for name in {*Row.metadata.tables, *VIEWS} - set(PRIVATE):
            connection.execute(f"SELECT * FROM {name} LIMIT 1")  # type: ignore[arg-type]
        for name in PRIVATE:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {name}")  # type: ignore[arg-type]
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            "DELETE FROM frames",
            "INSERT INTO classes VALUES (1, 9, 'x')",
            "DROP TABLE frames",
            "LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE",
            "LOCK TABLE frames IN ACCESS EXCLUSIVE MODE",
            "SELECT pg_logical_emit_message(false, 'x', 'x')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)  # type: ignore[arg-type]


def test_the_reader_keeps_its_password_unless_it_is_given_one(closed_reader: Database) -> None:
    first = closed_reader.open_reader()
    assert closed_reader.open_reader().password is None
    closed_reader.upgrade()
    _connected(first.url).close()
    chosen = closed_reader.open_reader("p@ss/word:with%signs")
    _connected(chosen.url).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _connected(first.url)


def test_a_role_without_rights_is_told_what_an_administrator_may_run(limited: Database) -> None:
    with pytest.raises(UsageError, match="let an administrator run: ALTER ROLE"):
        limited.open_reader()


def test_sqlite_has_no_roles(tmp_path: object) -> None:
    database = open_database(f"sqlite:///{tmp_path}/history.db")
    database.upgrade()
    with pytest.raises(UsageError, match="expected PostgreSQL"):
        database.open_reader()
    database.close()


def test_queries_run_as_a_login_of_their_own(postgres: Database) -> None:
    statement = "SELECT session_user, current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
    ((session, current, is_super),) = run_readonly_sql(postgres, statement).rows
    assert session == current
    assert session.startswith("framewatch_sql_")
    assert not is_super


def test_a_plain_owner_queries_as_itself_and_cannot_write(limited: Database) -> None:
    Writer(limited).write([make_result(boxes=[(0, 0, 1, 1)])], WEIGHTS)
    ((count,),) = run_readonly_sql(limited, "SELECT count(*) FROM detection_history").rows
    assert count == 1
    with pytest.raises(Exception, match="read-only transaction"):
        list(run_readonly_sql(limited, "SELECT nextval('cameras_id_seq')").rows)


def test_a_superuser_without_the_login_is_refused_and_an_upgrade_mends_it(postgres: Database) -> None:
    with postgres.writing() as connection:
        connection.execute(text("DELETE FROM reader_logins"))
    with pytest.raises(UsageError, match="expected a login for queries, found none; run `framewatch db upg"):
        run_readonly_sql(postgres, "SELECT 1")
    postgres.upgrade()
    assert list(run_readonly_sql(postgres, "SELECT 1").rows) == [(1,)]


def test_a_login_that_the_server_does_not_know_is_told_and_an_upgrade_mends_it(postgres: Database) -> None:
    with postgres.writing() as connection:
        role = connection.scalar(text("SELECT role FROM reader_logins"))
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    with pytest.raises(UsageError, match=f"expected the role {role} to log in"):
        run_readonly_sql(postgres, "SELECT 1")
    postgres.upgrade()
    assert list(run_readonly_sql(postgres, "SELECT 1").rows) == [(1,)]


def test_the_url_of_a_reader_quotes_its_password() -> None:
    from storage.readers import Reader

    reader = Reader("r", "a@b/c d", URL.create("postgresql+psycopg", "x", "y", "db-host", 5433, "history"))
    assert reader.url == "postgresql://r:a%40b%2Fc%20d@db-host:5433/history"
