"""Every change of a camera's state, with time and reason."""

import sqlalchemy as sa
from alembic import op

from storage.columns import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "camera_events",
        sa.Column("camera_id", sa.Integer, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("ingest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("camera_id", "at", "state", name="pk_camera_events"),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name="fk_camera_events_camera_id"),
    )
    op.create_index("ix_camera_events_at", "camera_events", ["at"])


def downgrade() -> None:
    op.drop_table("camera_events")
