"""The times at which the events of a video, and the outcome of a batch, were passed to the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    for table in ("videos", "batches"):
        op.add_column(table, sa.Column("notified_at", INSTANT))
    # Nobody wants to hear about years of history on the day of an update.
    op.execute("UPDATE videos SET notified_at = probed_at")
    op.execute("UPDATE batches SET notified_at = coalesce(finished_at, started_at) WHERE status <> 'running'")


def downgrade() -> None:
    for table in ("videos", "batches"):
        op.drop_column(table, "notified_at")
