"""How many dead letters were replayed in each minute of the frame ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "frame_ledger", sa.Column("replayed", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )


def downgrade() -> None:
    op.drop_column("frame_ledger", "replayed")
