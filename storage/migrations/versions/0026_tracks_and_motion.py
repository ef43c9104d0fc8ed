"""Tracks and motion: analyses of stored poses, keyed by recording, model version and analysis version."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
MOTION_VALUES = (
    *("centre_x_px", "centre_y_px", "box_height_px"),
    *("speed_px_per_s", "speed_body_lengths_per_s", "vertical_velocity_px_per_s", "trunk_angle_deg"),
    *("left_elbow_angle_deg", "right_elbow_angle_deg", "left_shoulder_angle_deg", "right_shoulder_angle_deg"),
    *("left_hip_angle_deg", "right_hip_angle_deg", "left_knee_angle_deg", "right_knee_angle_deg"),
)
# Each table after those that it refers to.
TABLES = (
    *("recordings", "recording_videos", "analysis_versions", "shown_analysis", "analyses"),
    *("tracks", "pose_tracks", "motion"),
)


def upgrade() -> None:
    _create_analyses()
    _create_rows()
    _mark_segments()


def downgrade() -> None:
    op.drop_index("ix_segments_awaiting", table_name="segments")
    op.drop_column("segments", "awaits_analysis")
    for table in reversed(TABLES):
        op.drop_table(table)


def _index_some(name: str, table: str, columns: list[str], condition: str) -> None:
    """Create a partial index."""
    where = sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)


def _create_analyses() -> None:
    op.create_table(
        "recordings",
        sa.Column("recording_id", sa.Integer(), primary_key=True),
        sa.Column("created_at", INSTANT, nullable=False),
    )
    op.create_table(
        "recording_videos",
        sa.Column("recording_id", sa.Integer(), sa.ForeignKey("recordings.recording_id"), primary_key=True),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), primary_key=True),
        sa.Column("start_s", sa.Double(), nullable=False, server_default="0"),
        sa.UniqueConstraint("video_id"),
    )
    op.create_table(
        "analysis_versions",
        sa.Column("analysis_version_id", sa.Integer(), primary_key=True),
        sa.Column("version_sha256", sa.Text(), nullable=False, unique=True),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("registered_at", INSTANT, nullable=False),
    )
    op.create_table(
        "shown_analysis",
        sa.Column("shown_analysis_id", sa.Integer(), primary_key=True),
        sa.Column(
            "analysis_version_id", sa.Integer(), sa.ForeignKey("analysis_versions.analysis_version_id"), nullable=False
        ),
        sa.Column("since", INSTANT, nullable=False),
        sa.CheckConstraint("shown_analysis_id = 1", name="one_row"),
    )
    op.create_table(
        "analyses",
        sa.Column("analysis_id", sa.Integer(), primary_key=True),
        sa.Column("recording_id", sa.Integer(), sa.ForeignKey("recordings.recording_id"), nullable=False),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), nullable=False),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column(
            "analysis_version_id", sa.Integer(), sa.ForeignKey("analysis_versions.analysis_version_id"), nullable=False
        ),
        sa.Column("status", sa.Text()),
        sa.Column("made_from", sa.Text(), nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("tracks", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", INSTANT),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.CheckConstraint("status IN ('running', 'done')", name="status"),
        sa.CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name="owner"),
        sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease"),
        sa.CheckConstraint("status <> 'done' OR finished_at IS NOT NULL", name="finished"),
        sa.UniqueConstraint("video_id", "model_version_id", "analysis_version_id", "status"),
        sqlite_autoincrement=True,
    )
    _index_some("ix_analyses_replaced", "analyses", ["analysis_id"], "status IS NULL")


def _create_rows() -> None:
    op.create_table(
        "tracks",
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
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
    op.create_table(
        "pose_tracks",
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("person", sa.SmallInteger(), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "frame", "person"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "motion",
        sa.Column("analysis_id", sa.Integer(), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("t_s", sa.Double(), nullable=False),
        sa.Column("filled", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.REAL()) for name in MOTION_VALUES),
        *(sa.Column(f"{name}_{axis}", sa.REAL()) for name in KEYPOINTS for axis in ("x", "y")),
        sa.PrimaryKeyConstraint("analysis_id", "track", "frame"),
        sqlite_with_rowid=False,
    )


def _mark_segments() -> None:
    """Mark the poses of earlier batches, so that the next batch analyses them."""
    op.add_column("segments", sa.Column("awaits_analysis", sa.Boolean(), nullable=False, server_default=sa.false()))
    _index_some("ix_segments_awaiting", "segments", ["model_version_id", "video_id"], "awaits_analysis")
    op.execute(
        "UPDATE segments SET awaits_analysis = true WHERE status = 'done' AND model_version_id IN"
        " (SELECT model_version_id FROM model_versions WHERE task = 'pose')"
    )
