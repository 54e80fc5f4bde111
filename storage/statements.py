"""Statements for both databases, some of which SQLAlchemy's common dialect does not know."""

from typing import TypeAlias

from sqlalchemy import Connection, Subquery, Table, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from storage.tables import detection_count_changes, detection_counts_hourly

Insert: TypeAlias = sqlite.Insert | postgresql.Insert

COUNT_KEY = ("hour", "camera_id", "model_id", "class_id")


def insert_into(connection: Connection, table: Table) -> Insert:
    """The dialect's own INSERT, which has ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_missing(connection: Connection, table: Table) -> Insert:
    """INSERT that passes over rows whose key exists already."""
    return insert_into(connection, table).on_conflict_do_nothing()


def hourly_counts() -> Subquery:
    """hour, camera_id, model_id, class_id, detections: several rows per key, to be summed."""
    tables = detection_counts_hourly, detection_count_changes
    parts = (select(*(table.c[name] for name in COUNT_KEY), table.c.detections) for table in tables)
    return union_all(*parts).subquery("hourly")
