"""Roles of PostgreSQL that may read framewatch's tables and views and do nothing else.

Two of them. `framewatch_reader` is for people's own programs (psql, Grafana, Metabase): they log in as it, or
as a member of it. And a login per database, `framewatch_sql_<oid of the database>`, which `framewatch sql`
connects as: its password is made up by `upgrade` and kept in the table `reader_logins`, which no reader may
read. Only a connection that was never anything else keeps strangers' SQL in: from SET ROLE, and from
SET SESSION AUTHORIZATION, set_config() leads back.
"""

import logging
import secrets
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from sqlalchemy import URL, Connection, select, text
from sqlalchemy.exc import DBAPIError

from core.errors import UsageError
from storage.statements import insert_into
from storage.tables import PRIVATE, VIEWS, Row, reader_logins

READER_ROLE = "framewatch_reader"
# Roles belong to the whole server, where another database may be at the same step.
_CREATE_ROLE = """
DO $$ BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
_READER_SETTINGS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "5min",  # a forgotten transaction would hold up retention
    "timezone": "UTC",
    "enable_partitionwise_join": "on",
}
_LOGIN_NAME = "SELECT 'framewatch_sql_' || oid FROM pg_database WHERE datname = current_database()"
_MAY_MAKE_ROLES = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
# It writes to the log also in a READ ONLY transaction; PostgreSQL lets everybody call it.
_OPEN_LOG_WRITERS = """
SELECT CAST(p.oid AS regprocedure) FROM pg_proc p JOIN pg_roles r ON r.rolname = current_user AND r.rolsuper
WHERE p.proname = 'pg_logical_emit_message' AND has_function_privilege('public', p.oid, 'EXECUTE')
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reader:
    """What `framewatch db upgrade --with-reader` made."""

    role: str
    password: str | None
    """None where the role had a password already and keeps it."""
    address: URL
    """The database, with framewatch's own login."""

    @property
    def url(self) -> str:
        """How other programs connect, with the password if it is known."""
        at = self.address
        shown = str(URL.create("postgresql", self.role, None, at.host, at.port, at.database))
        if self.password is None:
            return shown
        # SQLAlchemy would leave spaces as they are, which libpq refuses.
        return shown.replace(f"{self.role}@", f"{self.role}:{quote(self.password, safe='')}@", 1)


def ensure_readers(connection: Connection) -> None:
    """Makes both roles and lets them read what there is now, in a migration's transaction; safe to repeat.

    Only a superuser, or a role with CREATEROLE, can make roles; for others nothing happens.
    """
    if not connection.scalar(text(_MAY_MAKE_ROLES)):
        return
    for function in connection.scalars(text(_OPEN_LOG_WRITERS)).all():
        connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    login = _login_name(connection)
    for role in (READER_ROLE, login):
        connection.exec_driver_sql(_CREATE_ROLE.format(role=role))
        _let_read(connection, role)
    password = connection.scalar(select(reader_logins.c.password).where(reader_logins.c.role == login))
    if password is None:
        password = secrets.token_urlsafe(24)
        values = {"role": login, "password": password}
        connection.execute(insert_into(connection, reader_logins).values(values))
    if not _set_login(connection, login, password):
        logger.warning("role %s: another role made it, and it keeps its password", login)


def find_login(connection: Connection) -> tuple[str, str] | None:
    """Role and password for `framewatch sql`; None for a mere reader, and where `upgrade` made none."""
    if not connection.scalar(text("SELECT has_table_privilege('reader_logins', 'SELECT')")):
        return None
    role = _login_name(connection)
    password = connection.scalar(select(reader_logins.c.password).where(reader_logins.c.role == role))
    return None if password is None else (role, password)


def _login_name(connection: Connection) -> str:
    return str(connection.scalar(text(_LOGIN_NAME)))


def open_reader(connection: Connection, password: str | None) -> Reader:
    """Lets `framewatch_reader` log in, with this password or a new one where it has none yet.

    Raises UsageError, with the SQL for an administrator, where the role may not be changed.
    """
    if not connection.scalar(text(_MAY_MAKE_ROLES)):
        raise UsageError(
            "--with-reader: expected a role that is superuser or has CREATEROLE, got neither; "
            "let an administrator run: ALTER ROLE ... CREATEROLE"
        )
    can_login = text("SELECT rolcanlogin FROM pg_roles WHERE rolname = :role")
    if password is None and connection.scalar(can_login, {"role": READER_ROLE}):
        return Reader(READER_ROLE, None, connection.engine.url)
    chosen = password or secrets.token_urlsafe(18)
    if not _set_login(connection, READER_ROLE, chosen):
        raise UsageError(
            f"--with-reader: expected to own the role {READER_ROLE}, which another role made; "
            f"let an administrator run: ALTER ROLE {READER_ROLE} LOGIN PASSWORD '...'"
        )
    for name, value in _READER_SETTINGS.items():
        connection.exec_driver_sql(f"ALTER ROLE {READER_ROLE} SET {name} = '{value}'")
    return Reader(READER_ROLE, chosen, connection.engine.url)


def _let_read(connection: Connection, role: str) -> None:
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    readable = [name for name in Row.metadata.tables if name not in PRIVATE]
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    connection.exec_driver_sql(f"GRANT SELECT ON {', '.join((*readable, *VIEWS))} TO {role}")


def _set_login(connection: Connection, role: str, password: str) -> bool:
    """False where another role made this one. The server gets a verifier, as it may log the statement."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"ALTER ROLE {role} LOGIN PASSWORD '{verifier}'")
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        return False
    return True
