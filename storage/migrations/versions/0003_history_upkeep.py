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

DETECTIONS_PER_HOUR = """
CREATE VIEW detections_per_hour AS
SELECT h.hour, c.name AS camera, k.name AS class_name, m.name AS model,
       CAST(sum(h.detections) AS bigint) AS detections
FROM (SELECT hour, camera_id, model_id, class_id, detections FROM detection_counts_hourly
      UNION ALL SELECT hour, camera_id, model_id, class_id, detections FROM detection_count_changes) h
JOIN cameras c ON c.id = h.camera_id
JOIN models m ON m.id = h.model_id
JOIN classes k ON k.model_id = h.model_id AND k.class_id = h.class_id
GROUP BY h.hour, c.name, k.name, m.name
HAVING sum(h.detections) <> 0
"""


def upgrade() -> None:
    _create_counts()
    op.execute(COUNT_ALL.format(hour=HOUR[op.get_bind().dialect.name]))
    op.execute(DETECTIONS_PER_HOUR)
    op.create_index("ix_frame_ledger_minute", "frame_ledger", ["minute"])


def downgrade() -> None:
    op.drop_index("ix_frame_ledger_minute", "frame_ledger")
    op.execute("DROP VIEW detections_per_hour")
    op.drop_table("detection_count_changes")
    op.drop_table("detection_counts_hourly")


def _create_counts() -> None:
    key = ("hour", "model_id", "class_id", "camera_id")  # counts by class go along it
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
