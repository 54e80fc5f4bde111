"""The tables, as docs/sql.md explains them. The migrations make them; a test compares the two.

Keys are natural, so that a write needs no RETURNING and a repeated one changes nothing.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.columns import JsonDocument, UtcDateTime

PARTITIONED = ("frames", "detections")
"""Tables that PostgreSQL keeps in one partition per UTC day of captured_at."""

PRIVATE = ("api_tokens", "api_sessions", "reader_logins")
"""Tables that no role but framewatch's own may read."""

VIEWS = (
    *("detection_history", "detections_per_hour", "busiest_cameras", "latency_per_hour"),
    *("ledger_balance", "camera_states", "camera_uptime", "evidence_pictures"),
)
"""The views, which docs/sql.md explains."""


class Row(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        # 32 bits would make `score >= 0.9` miss a stored 0.9 on PostgreSQL.
        float: Double(),
        dict[str, Any]: JsonDocument,
        list[str]: JsonDocument,
    }


class CameraRow(Row):
    """A camera; one without url is not configured (any more) and only names its history."""

    __tablename__ = "cameras"
    __table_args__ = ({"sqlite_autoincrement": True},)  # a reused id would inherit a removed camera's cache

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    url: Mapped[str | None] = mapped_column(Text)
    settings: Mapped[dict[str, Any]]
    enabled: Mapped[bool]
    created_at: Mapped[datetime]


class ModelRow(Row):
    """Weights that made detections."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("name", "sha256"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    categories: Mapped[list[str]]


class ClassRow(Row):
    """What a model's class numbers mean."""

    __tablename__ = "classes"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    class_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text, index=True)


class FrameRow(Row):
    """A frame that went through a model, with or without detections."""

    __tablename__ = "frames"
    __table_args__ = (
        Index(None, "captured_at"),
        {"sqlite_with_rowid": False, "postgresql_partition_by": "RANGE (captured_at)"},
    )

    camera_id: Mapped[int] = mapped_column(ForeignKey("cameras.id"), primary_key=True)
    captured_at: Mapped[datetime] = mapped_column(primary_key=True)
    frame_index: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    width: Mapped[int]
    height: Mapped[int]
    detection_count: Mapped[int]
    recorded: Mapped[bool]
    enqueued_at: Mapped[datetime]
    claimed_at: Mapped[datetime]
    inferred_at: Mapped[datetime]
    stored_at: Mapped[datetime]


class BoxRow(Row):
    """One detected object. Its frame's row was written in the same transaction.

    It has no foreign key: on PostgreSQL that costs a look-up per row and hinders dropping partitions.
    """

    __tablename__ = "detections"
    __table_args__ = (
        Index(None, "camera_id", "class_id", "captured_at"),
        Index(None, "captured_at"),
        {"sqlite_with_rowid": False, "postgresql_partition_by": "RANGE (captured_at)"},
    )

    camera_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    captured_at: Mapped[datetime] = mapped_column(primary_key=True)
    frame_index: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    model_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    class_id: Mapped[int]
    score: Mapped[float]
    x: Mapped[float]
    y: Mapped[float]
    width: Mapped[float]
    height: Mapped[float]
    area: Mapped[float]
    track_id: Mapped[int | None] = mapped_column(BigInteger)


class CountRow(Row):
    """How many detections one camera has of one class in one hour; `storage.rollup` keeps it."""

    __tablename__ = "detection_counts_hourly"
    __table_args__ = ({"sqlite_with_rowid": False},)

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    class_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    camera_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    detections: Mapped[int] = mapped_column(BigInteger)


class CountChangeRow(Row):
    """Detections added (or removed, below zero) that `detection_counts_hourly` does not hold yet."""

    __tablename__ = "detection_count_changes"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    hour: Mapped[datetime]
    camera_id: Mapped[int]
    model_id: Mapped[int]
    class_id: Mapped[int]
    detections: Mapped[int] = mapped_column(BigInteger)


class LedgerRow(Row):
    """What happened to one camera's frames in one minute; a column per drop reason."""

    __tablename__ = "frame_ledger"
    __table_args__ = (Index(None, "minute"),)

    camera_id: Mapped[int] = mapped_column(ForeignKey("cameras.id"), primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    captured: Mapped[int] = mapped_column(BigInteger)
    stored: Mapped[int] = mapped_column(BigInteger)
    sampled_out: Mapped[int] = mapped_column(BigInteger)
    no_motion: Mapped[int] = mapped_column(BigInteger)
    queue_full: Mapped[int] = mapped_column(BigInteger)
    stale: Mapped[int] = mapped_column(BigInteger)
    corrupt: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    replayed: Mapped[int] = mapped_column(BigInteger, server_default="0")


class CameraEventRow(Row):
    """One change of a camera's state."""

    __tablename__ = "camera_events"

    camera_id: Mapped[int] = mapped_column(ForeignKey("cameras.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    state: Mapped[str] = mapped_column(String(16), primary_key=True)
    reason: Mapped[str | None] = mapped_column(Text)
    ingest: Mapped[str] = mapped_column(Text)


class EvidenceRow(Row):
    """The picture of one detection: the best of its camera, model and class within an interval."""

    __tablename__ = "evidence"
    __table_args__ = (
        UniqueConstraint("camera_id", "model_id", "class_id", "interval_start"),
        UniqueConstraint("path"),
        Index(None, "captured_at"),
    )

    camera_id: Mapped[int] = mapped_column(ForeignKey("cameras.id"), primary_key=True)
    captured_at: Mapped[datetime] = mapped_column(primary_key=True)
    frame_index: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    class_id: Mapped[int]
    interval_start: Mapped[datetime]
    score: Mapped[float]
    path: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(8))
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int]
    stored_at: Mapped[datetime]


class TokenRow(Row):
    """A token of the HTTP API; `storage.tokens` makes and finds them."""

    __tablename__ = "api_tokens"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    role: Mapped[str] = mapped_column(String(8))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class SessionRow(Row):
    """A browser that gave a token; without a foreign key, as the token may be the `api_token` setting."""

    __tablename__ = "api_sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime]


class ReaderLoginRow(Row):
    """The login that a person's own SQL runs as on PostgreSQL; `storage.readers` keeps it."""

    __tablename__ = "reader_logins"

    role: Mapped[str] = mapped_column(String(63), primary_key=True)
    password: Mapped[str] = mapped_column(Text)


def _table(row: type[Row]) -> Table:
    table = row.__table__
    assert isinstance(table, Table)
    return table


cameras, models, classes = _table(CameraRow), _table(ModelRow), _table(ClassRow)
frames, detections, frame_ledger = _table(FrameRow), _table(BoxRow), _table(LedgerRow)
camera_events = _table(CameraEventRow)
detection_counts_hourly, detection_count_changes = _table(CountRow), _table(CountChangeRow)
evidence = _table(EvidenceRow)
api_tokens, api_sessions, reader_logins = _table(TokenRow), _table(SessionRow), _table(ReaderLoginRow)
