"""Assignments of a fleet's runs; an estimate beside each batch; free segments found without a sort."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A migration is a record: it repeats the names of its day and imports nothing that may change.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STATUSES = "('waiting', 'working', 'done', 'lost', 'dismissed')"
ENDED = "(status IN ('waiting', 'working')) = (ended_at IS NULL)"
OWNED = sa.text("owner IS NOT NULL")
FREE = sa.text("status IN ('planned', 'leased')")


def upgrade() -> None:
    op.create_table(
        "assignments",
        sa.Column("assignment_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("granted_at", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.CheckConstraint(f"status IN {STATUSES}", name=op.f("ck_assignments_status")),
        sa.CheckConstraint(
            "(status IN ('waiting', 'working')) = (ended_at IS NULL)", name=op.f("ck_assignments_ended")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_assignments_batch_id_batches")),
        sa.PrimaryKeyConstraint("assignment_id", name=op.f("pk_assignments")),
    )
    op.create_index(op.f("ix_assignments_batch_id"), "assignments", ["batch_id"])
    op.create_index("ix_segments_free", "segments", ["tries", "segment_id"], postgresql_where=FREE, sqlite_where=FREE)
    op.create_index("ix_segments_owner", "segments", ["owner"], postgresql_where=OWNED, sqlite_where=OWNED)
    op.add_column("batches", sa.Column("estimated_s", sa.Double()))


def downgrade() -> None:
    op.drop_column("batches", "estimated_s")
    op.drop_index("ix_segments_owner", "segments")
    op.drop_index("ix_segments_free", "segments")
    op.drop_table("assignments")
