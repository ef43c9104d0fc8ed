"""The first tables: archive, models, batches, the ledger and its results."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A migration is a record: it repeats the names of its day and imports nothing that may change.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
KEYPOINT_COLUMNS = [f"{name}_{part}" for name in KEYPOINTS for part in ("x", "y", "score")]


def upgrade() -> None:
    _create_archive()
    _create_models()
    _create_batches()
    _create_ledger()
    _create_results()


def downgrade() -> None:
    for table in ("classifications", "poses", "batch_segments", "segments", "batches"):
        op.drop_table(table)
    for table in ("shown_models", "model_versions", "archive_files", "videos"):
        op.drop_table(table)


def _create_archive() -> None:
    op.create_table(
        "videos",
        sa.Column("video_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("container", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("fps", sa.Double(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("probed_at", INSTANT, nullable=False),
        sa.CheckConstraint("frames > 0", name=op.f("ck_videos_frames")),
        sa.PrimaryKeyConstraint("video_id", name=op.f("pk_videos")),
        sa.UniqueConstraint("sha256", name=op.f("uq_videos_sha256")),
    )
    op.create_table(
        "archive_files",
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("video_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.Column("read_at", INSTANT, nullable=False),
        sa.CheckConstraint("(video_id IS NULL) <> (reason IS NULL)", name=op.f("ck_archive_files_video_or_reason")),
        sa.ForeignKeyConstraint(["video_id"], ["videos.video_id"], name=op.f("fk_archive_files_video_id")),
        sa.PrimaryKeyConstraint("archive", "key", name=op.f("pk_archive_files")),
    )
    op.create_index(op.f("ix_archive_files_video_id"), "archive_files", ["video_id"], unique=False)


def _create_models() -> None:
    op.create_table(
        "model_versions",
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("version_sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("ir_sha256", sa.Text(), nullable=False),
        sa.Column("source_location", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("source_format", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("registered_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("model_version_id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("version_sha256", name=op.f("uq_model_versions_version_sha256")),
    )
    op.create_index(op.f("ix_model_versions_name"), "model_versions", ["name"], unique=False)
    op.create_table(
        "shown_models",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.model_version_id"], name=op.f("fk_shown_models_model_version_id")
        ),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_shown_models")),
    )


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("batch_key", sa.Text(), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("dispatch", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("flow_run_id", sa.Text(), nullable=True),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("files_listed", sa.Integer(), nullable=True),
        sa.Column("files_quarantined", sa.Integer(), nullable=True),
        sa.Column("segments_done", sa.Integer(), nullable=True),
        sa.Column("segments_quarantined", sa.Integer(), nullable=True),
        sa.Column("segments_missing", sa.Integer(), nullable=True),
        sa.Column("frames_done", sa.BigInteger(), nullable=True),
        sa.Column("frames_undecodable", sa.BigInteger(), nullable=True),
        sa.Column("frames_quarantined", sa.BigInteger(), nullable=True),
        sa.Column("frames_missing", sa.BigInteger(), nullable=True),
        sa.Column("people", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name=op.f("ck_batches_finished")),
        sa.CheckConstraint("dispatch IN ('local', 'fleet')", name=op.f("ck_batches_dispatch")),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'incomplete', 'crashed')", name=op.f("ck_batches_status")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.model_version_id"], name=op.f("fk_batches_model_version_id")
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batches")),
        sa.UniqueConstraint("batch_key", name=op.f("uq_batches_batch_key")),
    )


def _create_ledger() -> None:
    op.create_table(
        "segments",
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.Column("video_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("start_frame", sa.Integer(), nullable=False),
        sa.Column("stop_frame", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("precision", sa.Text(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("frames_done", sa.Integer(), nullable=True),
        sa.Column("undecodable_frames", sa.Integer(), nullable=True),
        sa.Column("undecodable", sa.Text(), nullable=True),
        sa.Column("people", sa.Integer(), nullable=True),
        sa.Column("result_key", sa.Text(), nullable=True),
        sa.Column("result_sha256", sa.Text(), nullable=True),
        sa.Column("wall_s", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("planned_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.CheckConstraint("(status = 'leased') = (lease_until IS NOT NULL)", name=op.f("ck_segments_lease")),
        sa.CheckConstraint("(status = 'leased') = (owner IS NOT NULL)", name=op.f("ck_segments_owner")),
        sa.CheckConstraint(
            "(status IN ('done', 'quarantined')) = (finished_at IS NOT NULL)", name=op.f("ck_segments_finished")
        ),
        sa.CheckConstraint(
            "status <> 'done' OR (frames_done IS NOT NULL AND people IS NOT NULL)", name=op.f("ck_segments_done")
        ),
        sa.CheckConstraint("status <> 'quarantined' OR reason IS NOT NULL", name=op.f("ck_segments_quarantined")),
        sa.CheckConstraint("status IN ('planned', 'leased', 'done', 'quarantined')", name=op.f("ck_segments_status")),
        sa.CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name=op.f("ck_segments_frames")),
        sa.CheckConstraint("0 <= tries AND tries <= attempt", name=op.f("ck_segments_attempt")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_segments_batch_id")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.model_version_id"], name=op.f("fk_segments_model_version_id")
        ),
        sa.ForeignKeyConstraint(["video_id"], ["videos.video_id"], name=op.f("fk_segments_video_id")),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_segments")),
        sa.UniqueConstraint(
            "video_id",
            "model_version_id",
            "start_frame",
            name=op.f("uq_segments_video_id_model_version_id_start_frame"),
        ),
    )
    op.create_index(op.f("ix_segments_batch_id"), "segments", ["batch_id"], unique=False)
    op.create_index(
        op.f("ix_segments_model_version_id_status"), "segments", ["model_version_id", "status"], unique=False
    )
    op.create_table(
        "batch_segments",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_batch_segments_batch_id")),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.segment_id"], name=op.f("fk_batch_segments_segment_id")),
        sa.PrimaryKeyConstraint("batch_id", "segment_id", name=op.f("pk_batch_segments")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_batch_segments_segment_id"), "batch_segments", ["segment_id"], unique=False)


def _create_results() -> None:
    op.create_table(
        "poses",
        sa.Column("video_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("person", sa.SmallInteger(), nullable=False),
        sa.Column("t_s", sa.Double(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        *(sa.Column(name, sa.REAL()) for name in KEYPOINT_COLUMNS),
        sa.PrimaryKeyConstraint("video_id", "model_version_id", "frame", "person", name=op.f("pk_poses")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "classifications",
        sa.Column("video_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("t_s", sa.Double(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "model_version_id", "frame", "label", name=op.f("pk_classifications")),
        sqlite_with_rowid=False,
    )
