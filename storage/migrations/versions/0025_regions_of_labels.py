"""The region of a frame that a label's score is from, and parameters of the view label_intervals."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

COLUMNS = ("region_left", "region_top", "region_width", "region_height")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("classifications", sa.Column(name, sa.Integer()))
    op.create_table(
        "label_settings",
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), primary_key=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("other_label", sa.Text(), nullable=False),
        sa.Column("enter_score", sa.Double(), nullable=False),
        sa.Column("leave_score", sa.Double(), nullable=False),
        sa.Column("min_duration_s", sa.Double(), nullable=False),
        sa.CheckConstraint("label <> other_label", name="labels"),
        sa.CheckConstraint("0 <= leave_score AND leave_score <= enter_score AND enter_score <= 1", name="scores"),
        sa.CheckConstraint("0 <= min_duration_s", name="duration"),
    )


def downgrade() -> None:
    op.drop_table("label_settings")
    for name in reversed(COLUMNS):
        op.drop_column("classifications", name)
