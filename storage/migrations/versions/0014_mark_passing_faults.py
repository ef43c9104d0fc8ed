"""The columns `retry`: what is in the quarantine for a reason that may pass, and is tried again by the next batch."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = ("archive_files", "segments")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("retry", sa.Boolean(), nullable=False, server_default=sa.text("false")))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "retry")
