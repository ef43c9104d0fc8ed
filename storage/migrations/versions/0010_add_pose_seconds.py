"""The table pose_seconds, filled from the rows that are there."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FILL = """
INSERT INTO pose_seconds
SELECT p.video_id, p.model_version_id, min(p.frame), CAST(floor(p.t_s) AS INTEGER), min(p.t_s), max(p.t_s),
       count(DISTINCT p.frame), max(p.person) + 1
FROM poses AS p
JOIN segments AS s ON s.video_id = p.video_id AND s.model_version_id = p.model_version_id
                  AND p.frame >= s.start_frame AND p.frame < s.stop_frame
GROUP BY p.video_id, p.model_version_id, s.segment_id, floor(p.t_s)
"""


def upgrade() -> None:
    op.create_table(
        "pose_seconds",
        sa.Column("video_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("second", sa.Integer(), nullable=False),
        sa.Column("first_s", sa.Double(), nullable=False),
        sa.Column("last_s", sa.Double(), nullable=False),
        sa.Column("frames_seen", sa.Integer(), nullable=False),
        sa.Column("most_people", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "model_version_id", "frame"),
        sqlite_with_rowid=False,
    )
    op.execute(FILL)


def downgrade() -> None:
    op.drop_table("pose_seconds")
