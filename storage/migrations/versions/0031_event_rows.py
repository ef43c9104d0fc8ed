"""Events in a table of its own name, with the video in which they begin, and a view `events`.

No version has written events before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("events")
    _create_events("event_rows", with_video=True)


def downgrade() -> None:
    op.drop_table("event_rows")
    _create_events("events", with_video=False)


def _create_events(name: str, with_video: bool) -> None:
    op.create_table(
        name,
        sa.Column("event_id", sa.Integer(), primary_key=True),
        sa.Column("event_run_id", sa.Integer(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.Integer(), sa.ForeignKey("rules.rule_id"), nullable=False),
        sa.Column("track", sa.Integer()),
        sa.Column("zone_id", sa.Integer()),
        *([sa.Column("video_id", sa.Integer(), nullable=False)] if with_video else []),
        sa.Column("from_s", sa.Double(), nullable=False),
        sa.Column("to_s", sa.Double(), nullable=False),
        sa.Column("peak_s", sa.Double(), nullable=False),
        sa.Column("peak_video_id", sa.Integer(), nullable=False),
        sa.Column("peak_frame", sa.Integer(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.CheckConstraint("from_s <= to_s", name="times"),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{name}_event_run_id", name, ["event_run_id"])
    op.create_index(f"ix_{name}_event_key", name, ["event_key"])
