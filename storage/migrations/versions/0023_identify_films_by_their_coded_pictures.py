"""The hash of each video's coded pictures, and the video that a refused file was before."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("videos", sa.Column("coded_bytes", sa.BigInteger()))
    op.add_column("videos", sa.Column("coded_sha256", sa.Text()))
    op.execute("ALTER TABLE archive_files ADD COLUMN former_video_id INTEGER REFERENCES videos (video_id)")


def downgrade() -> None:
    op.drop_column("archive_files", "former_video_id")
    op.drop_column("videos", "coded_sha256")
    op.drop_column("videos", "coded_bytes")
