"""Tokens of the HTTP API, and evidence pictures."""

import sqlalchemy as sa
from alembic import op

from storage.columns import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EVIDENCE_VIEW = """
CREATE VIEW evidence_pictures AS
SELECT c.name AS camera, e.captured_at, k.name AS class_name, e.score, e.interval_start, e.kind, e.path,
       e.width, e.height, e.bytes, e.frame_index, m.name AS model, e.ordinal
FROM evidence e
LEFT JOIN cameras c ON c.id = e.camera_id
LEFT JOIN models m ON m.id = e.model_id
LEFT JOIN classes k ON k.model_id = e.model_id AND k.class_id = e.class_id
"""


def upgrade() -> None:
    _create_tokens()
    _create_evidence()


def downgrade() -> None:
    op.drop_table("api_sessions")
    op.drop_table("api_tokens")
    op.execute("DROP VIEW evidence_pictures")
    op.drop_table("evidence")


def _create_evidence() -> None:
    slot = ("camera_id", "model_id", "class_id", "interval_start")
    detection = ("camera_id", "captured_at", "frame_index", "model_id", "ordinal")
    op.create_table(
        "evidence",
        sa.Column("camera_id", sa.Integer, nullable=False),
        sa.Column("captured_at", UtcDateTime, nullable=False),
        sa.Column("frame_index", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("class_id", sa.Integer, nullable=False),
        sa.Column("interval_start", UtcDateTime, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("width", "height", "bytes")),
        sa.Column("stored_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint(*detection, name="pk_evidence"),
        sa.UniqueConstraint(*slot, name="uq_evidence_camera_id_model_id_class_id_interval_start"),
        sa.UniqueConstraint("path", name="uq_evidence_path"),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name="fk_evidence_camera_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_evidence_model_id"),
    )
    op.create_index("ix_evidence_captured_at", "evidence", ["captured_at"])
    op.execute(EVIDENCE_VIEW)


def _create_tokens() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.PrimaryKeyConstraint("name", name="pk_api_tokens"),
        sa.UniqueConstraint("sha256", name="uq_api_tokens_sha256"),
    )
    op.create_table(
        "api_sessions",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_api_sessions"),
    )
