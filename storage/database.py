"""Opens the history database: SQLite or PostgreSQL behind one object."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from core.errors import SettingsError, UsageError
from core.urls import redact_url
from storage import schema
from storage.faults import UPGRADE_ADVICE, clear_faults
from storage.inspection import DatabaseInfo, inspect_history
from storage.postgres import lock_schema, postgres_engine
from storage.readers import Reader, ensure_readers, open_reader
from storage.sqlite import WRITING, checked_file, sqlite_engine, turn_on_wal
from storage.time_limits import limited

_EXPECTED = "sqlite:///FILE or postgresql://USER@HOST/NAME"


class Database:
    """An engine with framewatch's schema behind it; threads may share it, processes may not."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self.dialect = engine.dialect.name
        """ "sqlite" or "postgresql"."""
        self.label = redact_url(url.render_as_string(hide_password=True))
        """The URL without its password: how messages name the database."""

    @contextmanager
    def reading(self, limit_s: float | None = None) -> Iterator[Connection]:
        """A connection for queries; nothing of its transaction is kept.

        Raises DatabaseUnavailableError when the server is lost, UsageError when tables are missing, and
        QueryError for a question that takes longer than `limit_s`.
        """
        self._require_file()
        with (
            clear_faults(self.label),
            self.engine.connect() as connection,
            limited(connection, limit_s) if limit_s is not None else nullcontext(),
        ):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection with a transaction that commits at the end of the block; errors as in `reading`."""
        self._require_file()
        with clear_faults(self.label), self.engine.connect() as connection:
            connection.execution_options(**{WRITING: True})
            with connection.begin():
                yield connection

    def _require_file(self) -> None:
        """SQLite would make an empty file of a misspelt name; only an upgrade makes one."""
        if self.dialect == "sqlite" and not Path(self.url.database or "").exists():
            raise UsageError(f"{self.label}: expected a database, found no such file; {UPGRADE_ADVICE}")

    def check(self) -> None:
        """Connects and compares the schema with this code.

        Raises DatabaseUnavailableError, or UsageError that tells to run `framewatch db upgrade`.
        """
        with self.reading() as connection:
            schema.check_revision(connection, self.label)

    def upgrade(self) -> None:
        """Brings the schema to this code's revision (Alembic); safe when several processes do it at once."""
        self._migrate("head")

    def open_reader(self, password: str | None = None) -> Reader:
        """Lets other programs log in as `framewatch_reader`, after `upgrade`.

        Without a password a new role gets a random one, and one that has a password keeps it. Raises
        UsageError on SQLite and where this role may not change others.
        """
        if self.dialect != "postgresql":
            raise UsageError(
                f"--with-reader: expected PostgreSQL, got {self.label}; programs open a SQLite file "
                "read-only by themselves (file:NAME?mode=ro)"
            )
        with self.writing() as connection:
            lock_schema(connection)
            return open_reader(connection, password)

    def downgrade(self, revision: str) -> None:
        """Takes the schema back to an older revision, "base" for none at all: its data goes with it."""
        self._migrate(revision)

    def _migrate(self, revision: str) -> None:
        if self.dialect == "sqlite":
            with clear_faults(self.label):
                turn_on_wal(checked_file(self.url))
        with self.writing() as connection:
            if self.dialect == "postgresql":
                lock_schema(connection)
            schema.migrate(connection, revision)
            if self.dialect == "postgresql" and revision == "head":
                ensure_readers(connection)

    def info(self) -> DatabaseInfo:
        """Version, revision, rows, size and age of the history; also when it has no tables yet."""
        with self.reading() as connection:
            return inspect_history(connection, self.label)

    def close(self) -> None:
        """Gives back all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at a SQLAlchemy URL: sqlite:///FILE or postgresql://USER@HOST/NAME (psycopg 3).

    Does not connect yet. Raises SettingsError, in one line without the password, for a URL that cannot work.
    """
    parsed = _parse(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            checked_file(parsed)
            return Database(parsed, sqlite_engine(parsed))
        return Database(parsed, postgres_engine(parsed))
    except ImportError as error:
        driver = parsed.get_driver_name()
        raise SettingsError(f"database url: the driver {driver} cannot be loaded: {error}") from error
    except (ArgumentError, TypeError) as error:  # options after '?' that the driver does not know
        raise SettingsError(f"database url: {error}, in {_shown(url)}") from error


def _shown(url: str) -> str:
    """A URL fit for a message, also when it is too broken to find the password in it."""
    return repr(redact_url(url)) if "://" in url or "@" not in url else "a text without '://'"


def _parse(url: str) -> URL:
    """A URL whose driver is the one framewatch uses."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(f"database url: expected {_EXPECTED}, got {_shown(url)}") from error
    backend, _, driver = parsed.drivername.partition("+")
    if backend == "sqlite" and driver in ("", "pysqlite"):
        return parsed
    if backend in ("postgres", "postgresql") and driver in ("", "psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend in ("sqlite", "postgres", "postgresql"):
        ours = "postgresql+psycopg://" if backend.startswith("postgres") else "sqlite:///"
        raise SettingsError(f"database url: expected {ours}, got the driver {driver!r}")
    raise SettingsError(f"database url: expected {_EXPECTED}, got the dialect {parsed.drivername!r}")
