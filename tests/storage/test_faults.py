"""What PostgreSQL refuses whatever it is given is for a person to put right, and no frame is to blame."""

from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.errors import UsageError
from storage.database import Database, open_database
from storage.faults import fault_of
from storage.writer import Writer
from tests.storage.results import START, WEIGHTS, make_result


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.InsufficientPrivilege("permission denied for schema public"), "a role that may do"),
        (psycopg.errors.InvalidSchemaName("schema history does not exist"), "run `framewatch db upgrade`"),
        (psycopg.errors.DataCorrupted("invalid page in block 3 of relation frames"), "a damaged one"),
        (psycopg.errors.IndexCorrupted("index frames_pkey contains a zero page"), "a damaged one"),
    ],
)
def test_a_database_at_fault_is_told_from_a_wrong_row(error: psycopg.Error, expected: str) -> None:
    for raised in (error, DBAPIError("INSERT", {}, error)):
        fault = fault_of(raised, "postgresql://history")
        assert isinstance(fault, UsageError)
        assert expected in str(fault)
        assert str(error) in str(fault)
    assert fault_of(psycopg.errors.CheckViolation("a row's own fault"), "postgresql://history") is None


@pytest.mark.postgres
def test_a_writer_that_may_not_make_a_days_partition_blames_its_role(postgres: Database) -> None:
    Writer(postgres).write([make_result()], WEIGHTS)
    with postgres.writing() as connection:
        connection.execute(text("DROP ROLE IF EXISTS only_writes"))
        connection.execute(text("CREATE ROLE only_writes LOGIN PASSWORD 'writes'"))
        connection.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO only_writes"))
        connection.execute(text("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO only_writes"))
    url = postgres.url.set(username="only_writes", password="writes")
    database = open_database(url.render_as_string(hide_password=False))
    try:
        writer = Writer(database)
        assert writer.write([make_result(index=1)], WEIGHTS).frames == 1
        with pytest.raises(UsageError, match="permission denied for schema public"):
            writer.write([make_result(index=2, captured_at=START + timedelta(days=8))], WEIGHTS)
    finally:
        database.close()
        with postgres.writing() as connection:
            connection.execute(text("DROP OWNED BY only_writes"))
            connection.execute(text("DROP ROLE only_writes"))
