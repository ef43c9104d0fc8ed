"""All tables and indexes, as tables.py has them.

Revisions before this one were never released. A database that has one is refused by `storage.sql.database.migrate`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = None
branch_labels = None
depends_on = None

# A migration is a record: it repeats names and types, and imports nothing that may change. Constraints without a name
# get one from the naming convention in tables.py.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
KEYPOINT_COLUMNS = [f"{name}_{part}" for name in KEYPOINTS for part in ("x", "y", "score")]
# Each table after those that it refers to.
TABLES = (
    *("videos", "time_repairs", "archive_files", "ignored_files"),
    *("model_versions", "shown_models"),
    *("batches", "assignments", "segments", "batch_segments"),
    *("poses", "pose_seconds", "classifications"),
    *("training_runs", "training_epochs", "training_steps", "training_predictions"),
    *("evaluations", "benchmark_results"),
)


def upgrade() -> None:
    _create_archive()
    _create_models()
    _create_ledger()
    _create_results()
    _create_trainings()
    _create_measurements()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _index_some(name: str, table: str, columns: list[str], condition: str) -> None:
    """Create a partial index."""
    where = sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)


def _create_archive() -> None:
    op.create_table(
        "videos",
        sa.Column("video_id", sa.Integer(), primary_key=True),
        sa.Column("sha256", sa.Text(), nullable=False, unique=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("container", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("fps", sa.Double()),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("stream", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("streams", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("superseded_by", sa.Integer(), sa.ForeignKey("videos.video_id")),
        sa.Column("probed_at", INSTANT, nullable=False),
        sa.Column("stored_width", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("stored_height", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("crop_left", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("crop_top", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("crop_right", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("crop_bottom", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("pixel_aspect", sa.Double(), nullable=False, server_default="1"),
        sa.Column("mirrored", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("unused_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("coded_bytes", sa.BigInteger()),
        sa.Column("coded_sha256", sa.Text()),
        sa.CheckConstraint("frames > 0", name="frames"),
    )
    op.create_table(
        "time_repairs",
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), primary_key=True),
        sa.Column("start_frame", sa.Integer(), primary_key=True),
        sa.Column("stop_frame", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("clock_s", sa.Double()),
        sa.CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
    )
    op.create_table(
        "archive_files",
        sa.Column("archive", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id")),
        sa.Column("reason", sa.Text()),
        sa.Column("retry", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.Column("read_at", INSTANT, nullable=False),
        sa.Column("gone_at", INSTANT),
        sa.Column("former_video_id", sa.Integer(), sa.ForeignKey("videos.video_id")),
        sa.CheckConstraint("(video_id IS NULL) <> (reason IS NULL)", name="video_or_reason"),
    )
    op.create_table(
        "ignored_files",
        sa.Column("archive", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("etag", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
    )
    name, key = ("ix_archive_files_name_c", 'key COLLATE "C"') if _is_postgresql() else ("ix_archive_files_name", "key")
    op.create_index(name, "archive_files", ["video_id", sa.text("gone_at DESC"), sa.text(key), "archive"])
    _index_some("ix_archive_files_refused", "archive_files", ["archive"], "reason IS NOT NULL")


def _create_models() -> None:
    op.create_table(
        "model_versions",
        sa.Column("model_version_id", sa.Integer(), primary_key=True),
        sa.Column("version_sha256", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False, index=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("ir_sha256", sa.Text(), nullable=False),
        sa.Column("source_location", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("source_format", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("frames_per_second", sa.Double()),
        sa.Column("registered_at", INSTANT, nullable=False),
    )
    op.create_table(
        "shown_models",
        sa.Column("task", sa.Text(), primary_key=True),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("chosen_by", sa.Text(), nullable=False, server_default="batch"),
        sa.CheckConstraint("chosen_by IN ('batch', 'person')", name="chosen_by"),
    )


def _create_ledger() -> None:
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.Integer(), primary_key=True),
        sa.Column("batch_key", sa.Text(), nullable=False, unique=True),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column("dispatch", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("files_listed", sa.Integer()),
        sa.Column("files_quarantined", sa.Integer()),
        sa.Column("segments_done", sa.Integer()),
        sa.Column("segments_quarantined", sa.Integer()),
        sa.Column("segments_missing", sa.Integer()),
        sa.Column("frames_done", sa.BigInteger()),
        sa.Column("frames_undecodable", sa.BigInteger()),
        sa.Column("frames_quarantined", sa.BigInteger()),
        sa.Column("frames_missing", sa.BigInteger()),
        sa.Column("people", sa.BigInteger()),
        sa.Column("estimated_s", sa.Double()),
        sa.Column("forgotten_at", INSTANT),
        sa.CheckConstraint("dispatch IN ('local', 'fleet')", name="dispatch"),
        sa.CheckConstraint("status IN ('running', 'completed', 'incomplete', 'crashed', 'cancelled')", name="status"),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
    )
    op.create_table(
        "assignments",
        sa.Column("assignment_id", sa.Text(), primary_key=True),
        sa.Column("batch_id", sa.Integer(), sa.ForeignKey("batches.batch_id"), nullable=False, index=True),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("granted_at", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.CheckConstraint("status IN ('waiting', 'working', 'done', 'lost', 'dismissed')", name="status"),
        sa.CheckConstraint("(status IN ('waiting', 'working')) = (ended_at IS NULL)", name="ended"),
    )
    op.create_table(
        "segments",
        sa.Column("segment_id", sa.Integer(), primary_key=True),
        sa.Column("video_id", sa.Integer(), sa.ForeignKey("videos.video_id"), nullable=False),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column("start_frame", sa.Integer(), nullable=False),
        sa.Column("stop_frame", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", INSTANT),
        sa.Column("batch_id", sa.Integer(), sa.ForeignKey("batches.batch_id"), index=True),
        sa.Column("device", sa.Text()),
        sa.Column("precision", sa.Text()),
        sa.Column("worker", sa.Text()),
        sa.Column("frames_done", sa.Integer()),
        sa.Column("undecodable_frames", sa.Integer()),
        sa.Column("undecodable", sa.Text()),
        sa.Column("people", sa.Integer()),
        sa.Column("result_key", sa.Text()),
        sa.Column("result_sha256", sa.Text()),
        sa.Column("wall_s", sa.Double()),
        sa.Column("reason", sa.Text()),
        sa.Column("retry", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("planned_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.UniqueConstraint("video_id", "model_version_id", "start_frame"),
        sa.CheckConstraint("status IN ('planned', 'leased', 'done', 'quarantined')", name="status"),
        sa.CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
        sa.CheckConstraint("0 <= tries AND tries <= attempt", name="attempt"),
        sa.CheckConstraint("(status = 'leased') = (owner IS NOT NULL)", name="owner"),
        sa.CheckConstraint("(status = 'leased') = (lease_until IS NOT NULL)", name="lease"),
        sa.CheckConstraint("(status IN ('done', 'quarantined')) = (finished_at IS NOT NULL)", name="finished"),
        sa.CheckConstraint("status <> 'done' OR (frames_done IS NOT NULL AND people IS NOT NULL)", name="done"),
        sa.CheckConstraint("status <> 'quarantined' OR reason IS NOT NULL", name="quarantined"),
    )
    op.create_table(
        "batch_segments",
        sa.Column("batch_id", sa.Integer(), sa.ForeignKey("batches.batch_id"), primary_key=True),
        sa.Column("segment_id", sa.Integer(), sa.ForeignKey("segments.segment_id"), primary_key=True, index=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_segments_model_version_id_status", "segments", ["model_version_id", "status"])
    _index_some("ix_segments_free", "segments", ["tries", "segment_id"], "status IN ('planned', 'leased')")
    _index_some("ix_segments_quarantined", "segments", ["video_id"], "status = 'quarantined'")
    _index_some("ix_segments_owner", "segments", ["owner"], "owner IS NOT NULL")


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
        sa.PrimaryKeyConstraint("video_id", "model_version_id", "frame", "person"),
        sqlite_with_rowid=False,
    )
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
    op.create_table(
        "classifications",
        sa.Column("video_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("t_s", sa.Double(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "model_version_id", "frame", "label"),
        sqlite_with_rowid=False,
    )
    if _is_postgresql():
        key = ["video_id", "model_version_id", "frame", "t_s"]
        _index_some("ix_poses_hand_up", "poses", key, "left_wrist_y < nose_y OR right_wrist_y < nose_y")


def _create_trainings() -> None:
    op.create_table(
        "training_runs",
        sa.Column("training_run_id", sa.Integer(), primary_key=True),
        sa.Column("run_key", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("preset", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.Column("pictures_train", sa.Integer(), nullable=False),
        sa.Column("pictures_validation", sa.Integer(), nullable=False),
        sa.Column("pictures_test", sa.Integer(), nullable=False),
        sa.Column("base_sha256", sa.Text()),
        sa.Column("best_epoch", sa.Integer()),
        sa.Column("accuracy", sa.Double()),
        sa.Column("precision", sa.Double()),
        sa.Column("recall", sa.Double()),
        sa.Column("roc_auc", sa.Double()),
        sa.Column("roc_auc_low", sa.Double()),
        sa.Column("roc_auc_high", sa.Double()),
        sa.Column("true_positives", sa.Integer()),
        sa.Column("false_negatives", sa.Integer()),
        sa.Column("true_negatives", sa.Integer()),
        sa.Column("false_positives", sa.Integer()),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id")),
        sa.Column("threshold", sa.Double()),
        sa.Column("accuracy_low", sa.Double()),
        sa.Column("accuracy_high", sa.Double()),
        sa.Column("average_precision", sa.Double()),
        sa.Column("ir_accuracy", sa.Double()),
        sa.Column("ir_largest_difference", sa.Double()),
        sa.Column("ir_labels_changed", sa.Integer()),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", INSTANT),
        sa.CheckConstraint("status IN ('running', 'completed', 'failed')", name="status"),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
        sa.CheckConstraint("status <> 'completed' OR accuracy IS NOT NULL", name="completed"),
    )
    op.create_table(
        "training_epochs",
        sa.Column("training_run_id", sa.Integer(), sa.ForeignKey("training_runs.training_run_id"), primary_key=True),
        sa.Column("epoch", sa.Integer(), primary_key=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("validation_loss", sa.Double(), nullable=False),
        sa.Column("validation_accuracy", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
    )
    op.create_table(
        "training_steps",
        sa.Column("training_run_id", sa.Integer(), sa.ForeignKey("training_runs.training_run_id"), primary_key=True),
        sa.Column("step", sa.Integer(), primary_key=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
    )
    op.create_table(
        "training_predictions",
        sa.Column("training_run_id", sa.Integer(), sa.ForeignKey("training_runs.training_run_id"), primary_key=True),
        sa.Column("sha256", sa.Text(), primary_key=True),
        sa.Column("box", sa.Text(), primary_key=True),
        sa.Column("picture", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("score", sa.Double()),
        sa.CheckConstraint("label IN ('car', 'not_car')", name="label"),
        sa.CheckConstraint("split IN ('train', 'validation', 'test')", name="split"),
    )


def _create_measurements() -> None:
    op.create_table(
        "evaluations",
        sa.Column("evaluation_id", sa.Integer(), primary_key=True),
        sa.Column("model_version_id", sa.Integer(), sa.ForeignKey("model_versions.model_version_id"), nullable=False),
        sa.Column("protocol_sha256", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("mean_oks", sa.Double(), nullable=False),
        sa.Column("ap", sa.Double()),
        sa.Column("ap50", sa.Double()),
        sa.Column("ap75", sa.Double()),
        sa.Column("ar", sa.Double()),
        sa.Column("pck", sa.Double()),
        sa.Column("inferences_per_s", sa.Double(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("evaluated_at", INSTANT, nullable=False),
        sa.UniqueConstraint("model_version_id", "protocol_sha256"),
        sa.CheckConstraint("mode IN ('multi', 'single', 'agreement')", name="mode"),
        sa.CheckConstraint("(mode = 'agreement') = (ap IS NULL)", name="figures"),
    )
    op.create_table(
        "benchmark_results",
        sa.Column("benchmark_result_id", sa.Integer(), primary_key=True),
        sa.Column(
            "model_version_id",
            sa.Integer(),
            sa.ForeignKey("model_versions.model_version_id"),
            nullable=False,
            index=True,
        ),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("openvino", sa.Text(), nullable=False),
        sa.Column("video", sa.Text()),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("frames_per_s", sa.Double(), nullable=False),
        sa.Column("latency_p50_ms", sa.Double(), nullable=False),
        sa.Column("latency_p90_ms", sa.Double(), nullable=False),
        sa.Column("latency_p99_ms", sa.Double(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("multiply_adds", sa.BigInteger(), nullable=False),
        sa.Column("decode_cpu_ms", sa.Double()),
        sa.Column("inference_cpu_ms", sa.Double(), nullable=False),
        sa.Column("reading_cpu_ms", sa.Double()),
        sa.Column("storing_cpu_ms", sa.Double()),
        sa.Column("other_cpu_ms", sa.Double()),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("decoder_memory_bytes", sa.BigInteger()),
        sa.Column("temperature_c", sa.Double()),
        sa.Column("load_1m", sa.Double(), nullable=False),
        sa.CheckConstraint("what IN ('model', 'pipeline')", name="what"),
        sa.CheckConstraint("frames > 0 AND seconds > 0 AND frames_per_s > 0", name="measured"),
        sa.CheckConstraint(
            "(what = 'pipeline') = (decode_cpu_ms IS NOT NULL AND reading_cpu_ms IS NOT NULL"
            " AND storing_cpu_ms IS NOT NULL AND other_cpu_ms IS NOT NULL AND video IS NOT NULL)",
            name="stages",
        ),
    )
