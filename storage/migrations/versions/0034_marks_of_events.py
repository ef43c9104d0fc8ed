"""Marks of events as right or wrong, and the view of each rule's precision."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "event_marks",
        sa.Column("event_key", sa.Text, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("rule_version", sa.Text, nullable=False),
        sa.Column("marked_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("event_key", name="pk_event_marks"),
        sa.CheckConstraint("mark IN ('right', 'wrong')", name="mark"),
    )


def downgrade() -> None:
    op.drop_table("event_marks")
