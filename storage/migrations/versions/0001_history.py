"""Cameras, models, frames, detections, the frame ledger and the view over them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from storage.columns import JsonDocument, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BY_DAY: dict[str, Any] = {"sqlite_with_rowid": False, "postgresql_partition_by": "RANGE (captured_at)"}
DROP_REASONS = ("sampled_out", "no_motion", "queue_full", "stale", "corrupt", "failed")
# strftime('%s') of 59.999999 s gives the next second, so that it is given whole seconds.
LATENCY_MS = {
    "sqlite": (
        "(strftime('%s', substr(f.stored_at, 1, 19)) - strftime('%s', substr(f.captured_at, 1, 19))) * 1000.0"
        " + (substr(f.stored_at, 21) - substr(f.captured_at, 21)) / 1000.0"
    ),
    "postgresql": "CAST(EXTRACT(EPOCH FROM f.stored_at - f.captured_at) * 1000 AS double precision)",
}
# Every join finds exactly one row. LEFT says so to the planners, which then leave out the joins that a query
# does not need (most need no frames), and turn one into a plain join where WHERE names its columns.
VIEW = """
CREATE VIEW detection_history AS
SELECT c.name AS camera, d.captured_at, k.name AS class_name, d.score, d.x, d.y, d.width, d.height, d.area,
       f.width AS frame_width, f.height AS frame_height, d.frame_index, m.name AS model, d.track_id,
       CASE WHEN f.recorded THEN NULL ELSE {latency_ms} END AS latency_ms
FROM detections d
LEFT JOIN cameras c ON c.id = d.camera_id
LEFT JOIN models m ON m.id = d.model_id
LEFT JOIN classes k ON k.model_id = d.model_id AND k.class_id = d.class_id
LEFT JOIN frames f ON f.camera_id = d.camera_id AND f.captured_at = d.captured_at
                  AND f.frame_index = d.frame_index AND f.model_id = d.model_id
"""


def upgrade() -> None:
    _create_cameras_and_models()
    _create_frames()
    _create_detections()
    _create_ledger()
    op.execute(VIEW.format(latency_ms=LATENCY_MS[op.get_bind().dialect.name]))


def downgrade() -> None:
    op.execute("DROP VIEW detection_history")
    for table in ("frame_ledger", "detections", "frames", "classes", "models", "cameras"):
        op.drop_table(table)


def _create_cameras_and_models() -> None:
    op.create_table(
        "cameras",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("settings", JsonDocument, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cameras"),
        sa.UniqueConstraint("name", name="uq_cameras_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("categories", JsonDocument, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", "sha256", name="uq_models_name_sha256"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "classes",
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("class_id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "class_id", name="pk_classes"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_classes_model_id"),
    )
    op.create_index("ix_classes_name", "classes", ["name"])


def _create_frames() -> None:
    op.create_table(
        "frames",
        sa.Column("camera_id", sa.Integer, nullable=False),
        sa.Column("captured_at", UtcDateTime, nullable=False),
        sa.Column("frame_index", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("detection_count", sa.Integer, nullable=False),
        sa.Column("recorded", sa.Boolean, nullable=False),
        sa.Column("enqueued_at", UtcDateTime, nullable=False),
        sa.Column("claimed_at", UtcDateTime, nullable=False),
        sa.Column("inferred_at", UtcDateTime, nullable=False),
        sa.Column("stored_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("camera_id", "captured_at", "frame_index", "model_id", name="pk_frames"),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name="fk_frames_camera_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_frames_model_id"),
        **BY_DAY,
    )
    op.create_index("ix_frames_captured_at", "frames", ["captured_at"])


def _create_detections() -> None:
    key = ("camera_id", "captured_at", "frame_index", "model_id", "ordinal")
    op.create_table(
        "detections",
        sa.Column("camera_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("captured_at", UtcDateTime, nullable=False),
        sa.Column("frame_index", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("model_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("class_id", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.Double, nullable=False)
            for name in ("score", "x", "y", "width", "height", "area")
        ),
        sa.Column("track_id", sa.BigInteger),
        sa.PrimaryKeyConstraint(*key, name="pk_detections"),
        **BY_DAY,
    )
    by_class = ["camera_id", "class_id", "captured_at"]
    op.create_index("ix_detections_camera_id_class_id_captured_at", "detections", by_class)
    op.create_index("ix_detections_captured_at", "detections", ["captured_at"])


def _create_ledger() -> None:
    op.create_table(
        "frame_ledger",
        sa.Column("camera_id", sa.Integer, nullable=False),
        sa.Column("minute", UtcDateTime, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("captured", "stored", *DROP_REASONS)),
        sa.PrimaryKeyConstraint("camera_id", "minute", name="pk_frame_ledger"),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name="fk_frame_ledger_camera_id"),
    )
