"""The display geometry of each video."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

EDGES = ("crop_left", "crop_top", "crop_right", "crop_bottom")
# What earlier versions applied to every video: its rotation and nothing else.
FILL = """
UPDATE videos SET stored_width = CASE WHEN rotation IN (90, 270) THEN height ELSE width END,
                  stored_height = CASE WHEN rotation IN (90, 270) THEN width ELSE height END
"""


def upgrade() -> None:
    for name in ("stored_width", "stored_height", *EDGES):
        op.add_column("videos", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("videos", sa.Column("pixel_aspect", sa.Double(), nullable=False, server_default="1"))
    op.add_column("videos", sa.Column("mirrored", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(FILL)


def downgrade() -> None:
    for name in ("mirrored", "pixel_aspect", *reversed(EDGES), "stored_height", "stored_width"):
        op.drop_column("videos", name)
