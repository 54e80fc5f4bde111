"""Hourly counts, and views for the questions of docs/sql.md."""

import sqlalchemy as sa
from alembic import op

from storage.columns import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HOUR = {
    "sqlite": "substr(captured_at, 1, 13) || ':00:00.000000'",
    "postgresql": "date_trunc('hour', captured_at, 'UTC')",
}
COUNT_ALL = """
INSERT INTO detection_counts_hourly (hour, camera_id, model_id, class_id, detections)
SELECT {hour}, camera_id, model_id, class_id, count(*) FROM detections GROUP BY 1, 2, 3, 4
"""


def upgrade() -> None:
    _create_counts()
    op.execute(COUNT_ALL.format(hour=HOUR[op.get_bind().dialect.name]))


def downgrade() -> None:
    op.drop_table("detection_count_changes")
    op.drop_table("detection_counts_hourly")


def _create_counts() -> None:
    key = ("hour", "camera_id", "model_id", "class_id")
    numbers = [sa.Column(name, sa.Integer, nullable=False, autoincrement=False) for name in key[1:]]
    op.create_table(
        "detection_counts_hourly",
        sa.Column("hour", UtcDateTime, nullable=False),
        *numbers,
        sa.Column("detections", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_detection_counts_hourly"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "detection_count_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("hour", UtcDateTime, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in key[1:]),
        sa.Column("detections", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_detection_count_changes"),
    )
