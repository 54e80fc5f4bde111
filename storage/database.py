"""Opens the history database: SQLite or PostgreSQL behind one object."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """What `framewatch db info` shows."""

    url: str
    """Without its password."""
    dialect: str
    """"sqlite" or "postgresql"."""
    server_version: str
    revision: str | None
    """Alembic revision of the schema; None before the first upgrade."""
    head: str
    """Revision that this code needs."""
    rows: Mapping[str, int]
    """Per table."""
    rows_estimated: bool
    """True when a table is so big that PostgreSQL's estimate is given."""
    size_bytes: int
    oldest: datetime | None
    newest: datetime | None
    partitions: int


class Database:
    """An engine with framewatch's schema on it; threads may share it, processes may not."""

    engine: Engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection with a transaction that ends without writing."""
        raise NotImplementedError

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection with a transaction that commits at the end of the block."""
        raise NotImplementedError

    def check(self) -> None:
        """Connects and compares the schema with this code.

        Raises DatabaseUnavailableError, or UsageError that tells to run `framewatch db upgrade`.
        """
        raise NotImplementedError

    def upgrade(self) -> None:
        """Brings the schema to this code's revision (Alembic); safe when several processes do it at once."""
        raise NotImplementedError

    def info(self) -> DatabaseInfo:
        """Version, revision, rows, size and age of the history."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives back all connections."""
        raise NotImplementedError


def open_database(url: str) -> Database:
    """The database at a SQLAlchemy URL: sqlite:///FILE or postgresql://USER@HOST/NAME (psycopg 3).

    Does not connect yet. Raises SettingsError, in one line without the password, for a URL that cannot work.
    """
    raise NotImplementedError
