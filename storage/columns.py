"""Column types that behave alike on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

STAMP_LENGTH = len("2026-11-23 22:53:00.123456")


def format_stamp(moment: datetime) -> str:
    """UTC with microseconds in a fixed width, so that text sorts as time does: '2026-11-23 22:53:00.123456'.

    Raises ValueError for a naive datetime.
    """
    if moment.tzinfo is None:
        raise ValueError(f"expected an aware datetime, got the naive {moment!r}")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def parse_stamp(stamp: str) -> datetime:
    """The inverse of `format_stamp`."""
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime with microseconds: timestamptz on PostgreSQL, text of 26 characters on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite has no type for times; SQLAlchemy's own text would lose the time zone."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(STAMP_LENGTH))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuses naive datetimes: PostgreSQL would take them for the session's time zone."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return format_stamp(value)
        if value.tzinfo is None:
            raise ValueError(f"expected an aware datetime, got the naive {value!r}")
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Aware UTC, whatever the session's time zone."""
        del dialect
        if value is None:
            return None
        if isinstance(value, str):
            return parse_stamp(value)
        assert isinstance(value, datetime)
        return value.astimezone(UTC)


JsonDocument = JSON().with_variant(JSONB(), "postgresql")
"""Small settings: JSONB on PostgreSQL, JSON text on SQLite."""
