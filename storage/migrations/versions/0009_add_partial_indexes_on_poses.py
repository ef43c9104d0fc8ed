"""On PostgreSQL: two partial indexes on poses, for hands above heads and for people who lie."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HAND_UP = "left_wrist_y < nose_y OR right_wrist_y < nose_y"
LYING = (
    "abs(left_hip_y + right_hip_y - left_shoulder_y - right_shoulder_y)"
    " < abs(left_hip_x + right_hip_x - left_shoulder_x - right_shoulder_x)"
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    key = ["video_id", "model_version_id"]
    op.create_index("ix_poses_hand_up", "poses", [*key, "t_s"], postgresql_where=sa.text(HAND_UP))
    op.create_index("ix_poses_lying", "poses", [*key, "frame", "person", "t_s"], postgresql_where=sa.text(LYING))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_poses_lying", "poses")
        op.drop_index("ix_poses_hand_up", "poses")
