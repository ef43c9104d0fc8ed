"""Repaired time stamps, the stream that was taken, and no rate for a single frame."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, default in (("stream", "0"), ("streams", "1")):
        op.add_column("videos", sa.Column(name, sa.Integer(), nullable=False, server_default=default))
    _let_fps_be_null()
    op.create_table(
        "time_repairs",
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), primary_key=True),
        sa.Column("start_frame", sa.Integer(), primary_key=True),
        sa.Column("stop_frame", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("clock_s", sa.Double()),
        sa.CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
    )


def downgrade() -> None:
    """A single frame's rate stays NULL: no older version fails at that."""
    op.drop_table("time_repairs")
    for name in ("streams", "stream"):
        op.drop_column("videos", name)


def _let_fps_be_null() -> None:
    """SQLite cannot change a column, and renames none that a view shows."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("videos", "fps", nullable=True)
        return
    views = op.get_bind().execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'view'")).all()
    for name, _ in views:
        op.execute(f"DROP VIEW {name}")
    op.add_column("videos", sa.Column("rate", sa.Double()))
    op.execute("UPDATE videos SET rate = fps")
    op.drop_column("videos", "fps")
    op.execute("ALTER TABLE videos RENAME COLUMN rate TO fps")
    for _, statement in views:
        op.execute(statement)
