"""Statements that SQLite and PostgreSQL both know, but SQLAlchemy's common dialect does not."""

from typing import TypeAlias

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert: TypeAlias = sqlite.Insert | postgresql.Insert


def insert_into(connection: Connection, table: Table) -> Insert:
    """The dialect's own INSERT, which has ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_missing(connection: Connection, table: Table) -> Insert:
    """INSERT that passes over rows whose key exists already."""
    return insert_into(connection, table).on_conflict_do_nothing()
