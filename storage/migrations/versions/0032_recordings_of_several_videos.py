"""Offsets of local time, and analyses that continue each other.

Former analyses have no checkpoint. They are dropped, and the next batch or `nightjar analyze` makes new ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

OFFSETS = {"utc_offset_s": sa.Integer, "offset_changes_s": sa.Double, "later_utc_offset_s": sa.Integer}


def upgrade() -> None:
    for name, kind in OFFSETS.items():
        op.add_column("recording_videos", sa.Column(name, kind()))
    _drop_analyses()
    op.add_column("analyses", sa.Column("continued_by", sa.Text()))
    _create_tracks(sa.Column("recording_id", sa.Integer(), nullable=False))
    op.create_index("ix_tracks_recording_id_track", "tracks", ["recording_id", "track"])


def downgrade() -> None:
    _drop_analyses()
    op.drop_column("analyses", "continued_by")
    _create_tracks()
    for name in reversed(OFFSETS):
        op.drop_column("recording_videos", name)


def _drop_analyses() -> None:
    for table in ("motion", "pose_tracks", "analyses"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - our names
    op.drop_table("tracks")
    op.execute(
        "UPDATE segments SET awaits_analysis = true WHERE status = 'done' AND model_version_id IN"
        " (SELECT model_version_id FROM model_versions WHERE task = 'pose')"
    )


def _create_tracks(*recording: sa.Column[int]) -> None:
    op.create_table(
        "tracks",
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        *recording,
        sa.Column("first_frame", sa.Integer(), nullable=False),
        sa.Column("last_frame", sa.Integer(), nullable=False),
        sa.Column("first_s", sa.Double(), nullable=False),
        sa.Column("last_s", sa.Double(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("mean_score", sa.REAL(), nullable=False),
        *(sa.Column(f"box_{name}", sa.REAL()) for name in ("left", "top", "width", "height")),
        sa.PrimaryKeyConstraint("analysis_id", "track"),
        sqlite_with_rowid=False,
    )
