"""The SQL schema, one source for SQLite and PostgreSQL. No engine, no queries; migrations/ creates the tables.

The meaning of each column is in docs/schema.md.
"""

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from storage.rows import KEYPOINT_COLUMNS
from storage.sql.clock import UtcDateTime

SEGMENT_STATUSES = ("planned", "leased", "done", "quarantined")
BATCH_STATUSES = ("running", "completed", "incomplete", "crashed", "cancelled")
ASSIGNMENT_STATUSES = ("waiting", "working", "done", "lost", "dismissed")
TRAINING_STATUSES = ("running", "completed", "failed")
TRAINING_LABELS = ("car", "not_car")
TRAINING_SPLITS = ("train", "validation", "test")
EVALUATION_MODES = ("multi", "single", "agreement")
CHOOSERS = ("batch", "person")
BENCHMARKS = ("model", "pipeline")
# Named constraints, so that a migration can address them on both databases.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


videos = Table(
    "videos",
    metadata,
    Column("video_id", Integer, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("container", Text, nullable=False),
    Column("codec", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("rotation", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("fps", Double),  # NULL: a single frame
    Column("duration_s", Double, nullable=False),
    Column("stream", Integer, nullable=False, server_default="0"),
    Column("streams", Integer, nullable=False, server_default="1"),
    # A recording that was read while it was being written: the views show only the complete one.
    Column("superseded_by", ForeignKey("videos.video_id")),
    Column("probed_at", UtcDateTime, nullable=False),
    # The defaults are for rows from before these columns.
    Column("stored_width", Integer, nullable=False, server_default="0"),
    Column("stored_height", Integer, nullable=False, server_default="0"),
    Column("crop_left", Integer, nullable=False, server_default="0"),
    Column("crop_top", Integer, nullable=False, server_default="0"),
    Column("crop_right", Integer, nullable=False, server_default="0"),
    Column("crop_bottom", Integer, nullable=False, server_default="0"),
    Column("pixel_aspect", Double, nullable=False, server_default="1"),
    Column("mirrored", Boolean, nullable=False, server_default=false()),
    Column("unused_bytes", BigInteger, nullable=False, server_default="0"),
    # NULL: probed before these columns existed.
    Column("coded_bytes", BigInteger),
    Column("coded_sha256", Text),
    CheckConstraint("frames > 0", name="frames"),
)

time_repairs = Table(
    "time_repairs",
    metadata,
    Column("video_id", ForeignKey("videos.video_id"), primary_key=True),
    Column("start_frame", Integer, primary_key=True),
    Column("stop_frame", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("clock_s", Double),
    CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
)

_REFUSED = text("reason IS NOT NULL")
archive_files = Table(
    "archive_files",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("video_id", ForeignKey("videos.video_id")),
    Column("reason", Text),
    Column("retry", Boolean, nullable=False, server_default=text("false")),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
    Column("gone_at", UtcDateTime),
    # The former video of a refused file: a recording that was cut in mid-frame is read again when it is complete.
    Column("former_video_id", ForeignKey("videos.video_id")),
    Index("ix_archive_files_refused", "archive", postgresql_where=_REFUSED, sqlite_where=_REFUSED),
    CheckConstraint("(video_id IS NULL) <> (reason IS NULL)", name="video_or_reason"),
)
# The files of a video, the one that gives its name first. Ordered by bytes, whatever the server's language.
_names = {"sqlite": ("ix_archive_files_name", "key"), "postgresql": ("ix_archive_files_name_c", 'key COLLATE "C"')}
for _dialect, (_name, _bytes) in _names.items():
    _order = (archive_files.c.video_id, archive_files.c.gone_at.desc(), text(_bytes), archive_files.c.archive)
    Index(_name, *_order).ddl_if(dialect=_dialect)

ignored_files = Table(
    "ignored_files",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("size_bytes", BigInteger),
    Column("etag", Text),
    Column("reason", Text, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("model_version_id", Integer, primary_key=True),
    Column("version_sha256", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, index=True),
    Column("task", Text, nullable=False),
    Column("ir_sha256", Text, nullable=False),
    Column("source_location", Text, nullable=False),
    Column("source_sha256", Text, nullable=False),
    Column("source_format", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("frames_per_second", Double),  # NULL: every frame
    Column("registered_at", UtcDateTime, nullable=False),
)

shown_models = Table(
    "shown_models",
    metadata,
    Column("task", Text, primary_key=True),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("chosen_by", Text, nullable=False, server_default="batch"),
    _one_of("chosen_by", CHOOSERS),
)

label_settings = Table(
    "label_settings",
    metadata,
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), primary_key=True),
    Column("label", Text, nullable=False),
    Column("other_label", Text, nullable=False),
    Column("enter_score", Double, nullable=False),
    Column("leave_score", Double, nullable=False),
    Column("min_duration_s", Double, nullable=False),
    CheckConstraint("label <> other_label", name="labels"),
    CheckConstraint("0 <= leave_score AND leave_score <= enter_score AND enter_score <= 1", name="scores"),
    CheckConstraint("0 <= min_duration_s", name="duration"),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("batch_key", Text, nullable=False, unique=True),
    Column("archive", Text, nullable=False),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("dispatch", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("flow_run_id", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("files_listed", Integer),
    Column("files_quarantined", Integer),
    # Counts at the batch's end; a running batch is counted from batch_segments.
    Column("segments_done", Integer),
    Column("segments_quarantined", Integer),
    Column("segments_missing", Integer),
    Column("frames_done", BigInteger),
    Column("frames_undecodable", BigInteger),
    Column("frames_quarantined", BigInteger),
    Column("frames_missing", BigInteger),
    Column("people", BigInteger),
    Column("estimated_s", Double),
    Column("forgotten_at", UtcDateTime),
    _one_of("dispatch", ("local", "fleet")),
    _one_of("status", BATCH_STATUSES),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("assignment_id", Text, primary_key=True),
    Column("batch_id", ForeignKey("batches.batch_id"), nullable=False, index=True),
    Column("flow_run_id", Text),
    Column("status", Text, nullable=False),
    Column("worker", Text),
    Column("device", Text),
    Column("segments", Integer, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("reason", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("granted_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    _one_of("status", ASSIGNMENT_STATUSES),
    CheckConstraint("(status IN ('waiting', 'working')) = (ended_at IS NULL)", name="ended"),
)

_FREE, _OWNED = text("status IN ('planned', 'leased')"), text("owner IS NOT NULL")
_GIVEN_UP = text("status = 'quarantined'")

segments = Table(
    "segments",
    metadata,
    Column("segment_id", Integer, primary_key=True),
    Column("video_id", ForeignKey("videos.video_id"), nullable=False),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("start_frame", Integer, nullable=False),
    Column("stop_frame", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    Column("batch_id", ForeignKey("batches.batch_id"), index=True),
    Column("device", Text),
    Column("precision", Text),
    Column("worker", Text),
    Column("frames_done", Integer),
    Column("undecodable_frames", Integer),
    Column("undecodable", Text),
    Column("people", Integer),
    Column("result_key", Text),
    Column("result_sha256", Text),
    Column("wall_s", Double),
    Column("reason", Text),
    Column("retry", Boolean, nullable=False, server_default=text("false")),
    Column("planned_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("video_id", "model_version_id", "start_frame"),
    Index(None, "model_version_id", "status"),
    # Free segments in the order in which they are claimed: without it, each claim sorts all remaining ones.
    Index("ix_segments_free", "tries", "segment_id", postgresql_where=_FREE, sqlite_where=_FREE),
    Index("ix_segments_quarantined", "video_id", postgresql_where=_GIVEN_UP, sqlite_where=_GIVEN_UP),
    Index("ix_segments_owner", "owner", postgresql_where=_OWNED, sqlite_where=_OWNED),
    _one_of("status", SEGMENT_STATUSES),
    CheckConstraint("0 <= start_frame AND start_frame < stop_frame", name="frames"),
    CheckConstraint("0 <= tries AND tries <= attempt", name="attempt"),
    CheckConstraint("(status = 'leased') = (owner IS NOT NULL)", name="owner"),
    CheckConstraint("(status = 'leased') = (lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("(status IN ('done', 'quarantined')) = (finished_at IS NOT NULL)", name="finished"),
    CheckConstraint("status <> 'done' OR (frames_done IS NOT NULL AND people IS NOT NULL)", name="done"),
    CheckConstraint("status <> 'quarantined' OR reason IS NOT NULL", name="quarantined"),
)

batch_segments = Table(
    "batch_segments",
    metadata,
    Column("batch_id", ForeignKey("batches.batch_id"), primary_key=True),
    Column("segment_id", ForeignKey("segments.segment_id"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)

# Rows are added only with their ledger entry, which has the foreign keys: here PostgreSQL would
# check two of them for every row, and load 99,000 rows/s instead of 204,000.
poses = Table(
    "poses",
    metadata,
    Column("video_id", Integer, nullable=False),
    Column("model_version_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("person", SmallInteger, nullable=False),
    Column("t_s", Double, nullable=False),
    Column("score", REAL, nullable=False),
    *(Column(name, REAL) for name in KEYPOINT_COLUMNS),
    PrimaryKeyConstraint("video_id", "model_version_id", "frame", "person"),
    sqlite_with_rowid=False,
)

# For queries of crowds or gaps, which would otherwise read all of `poses`.
pose_seconds = Table(
    "pose_seconds",
    metadata,
    Column("video_id", Integer, nullable=False),
    Column("model_version_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("second", Integer, nullable=False),
    Column("first_s", Double, nullable=False),
    Column("last_s", Double, nullable=False),
    Column("frames_seen", Integer, nullable=False),
    Column("most_people", SmallInteger, nullable=False),
    PrimaryKeyConstraint("video_id", "model_version_id", "frame"),
    sqlite_with_rowid=False,
)

# A condition of docs/queries.md that few rows fulfil: a scan of ten million rows takes seconds.
HAND_UP = text("left_wrist_y < nose_y OR right_wrist_y < nose_y")
_key = (poses.c.video_id, poses.c.model_version_id, poses.c.frame, poses.c.t_s)
Index("ix_poses_hand_up", *_key, postgresql_where=HAND_UP).ddl_if(dialect="postgresql")

classifications = Table(
    "classifications",
    metadata,
    Column("video_id", Integer, nullable=False),
    Column("model_version_id", Integer, nullable=False),
    Column("frame", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("t_s", Double, nullable=False),
    Column("score", REAL, nullable=False),
    # Where in the frame the score is from; NULL where the model looks at whole frames.
    Column("region_left", Integer),
    Column("region_top", Integer),
    Column("region_width", Integer),
    Column("region_height", Integer),
    PrimaryKeyConstraint("video_id", "model_version_id", "frame", "label"),
    sqlite_with_rowid=False,
)

training_runs = Table(
    "training_runs",
    metadata,
    Column("training_run_id", Integer, primary_key=True),
    Column("run_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("preset", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("flow_run_id", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("pictures_train", Integer, nullable=False),
    Column("pictures_validation", Integer, nullable=False),
    Column("pictures_test", Integer, nullable=False),
    Column("base_sha256", Text),
    Column("best_epoch", Integer),
    Column("accuracy", Double),
    Column("precision", Double),
    Column("recall", Double),
    Column("roc_auc", Double),
    Column("roc_auc_low", Double),
    Column("roc_auc_high", Double),
    Column("true_positives", Integer),
    Column("false_negatives", Integer),
    Column("true_negatives", Integer),
    Column("false_positives", Integer),
    Column("model_version_id", ForeignKey("model_versions.model_version_id")),
    Column("threshold", Double),
    Column("accuracy_low", Double),
    Column("accuracy_high", Double),
    Column("average_precision", Double),
    Column("ir_accuracy", Double),
    Column("ir_largest_difference", Double),
    Column("ir_labels_changed", Integer),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    _one_of("status", TRAINING_STATUSES),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
    CheckConstraint("status <> 'completed' OR accuracy IS NOT NULL", name="completed"),
)

training_epochs = Table(
    "training_epochs",
    metadata,
    Column("training_run_id", ForeignKey("training_runs.training_run_id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("loss", Double, nullable=False),
    Column("accuracy", Double, nullable=False),
    Column("validation_loss", Double, nullable=False),
    Column("validation_accuracy", Double, nullable=False),
    Column("seconds", Double, nullable=False),
)

training_steps = Table(
    "training_steps",
    metadata,
    Column("training_run_id", ForeignKey("training_runs.training_run_id"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("loss", Double, nullable=False),
    Column("accuracy", Double, nullable=False),
)

training_predictions = Table(
    "training_predictions",
    metadata,
    Column("training_run_id", ForeignKey("training_runs.training_run_id"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("box", Text, primary_key=True),
    Column("picture", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("score", Double),
    _one_of("label", TRAINING_LABELS),
    _one_of("split", TRAINING_SPLITS),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("evaluation_id", Integer, primary_key=True),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("protocol_sha256", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("images", Integer, nullable=False),
    Column("people", Integer, nullable=False),
    Column("mean_oks", Double, nullable=False),
    Column("ap", Double),
    Column("ap50", Double),
    Column("ap75", Double),
    Column("ar", Double),
    Column("pck", Double),
    Column("inferences_per_s", Double, nullable=False),
    Column("device", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("evaluated_at", UtcDateTime, nullable=False),
    UniqueConstraint("model_version_id", "protocol_sha256"),
    _one_of("mode", EVALUATION_MODES),
    CheckConstraint("(mode = 'agreement') = (ap IS NULL)", name="figures"),
)

benchmark_results = Table(
    "benchmark_results",
    metadata,
    Column("benchmark_result_id", Integer, primary_key=True),
    Column("model_version_id", ForeignKey("model_versions.model_version_id"), nullable=False, index=True),
    Column("what", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("openvino", Text, nullable=False),
    Column("video", Text),
    Column("flow_run_id", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("frames_per_s", Double, nullable=False),
    Column("latency_p50_ms", Double, nullable=False),
    Column("latency_p90_ms", Double, nullable=False),
    Column("latency_p99_ms", Double, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("multiply_adds", BigInteger, nullable=False),
    # Milliseconds of CPU per frame, by stage; a model alone has only the second.
    Column("decode_cpu_ms", Double),
    Column("inference_cpu_ms", Double, nullable=False),
    Column("reading_cpu_ms", Double),
    Column("storing_cpu_ms", Double),
    Column("other_cpu_ms", Double),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("decoder_memory_bytes", BigInteger),
    Column("temperature_c", Double),
    Column("load_1m", Double, nullable=False),
    _one_of("what", BENCHMARKS),
    CheckConstraint("frames > 0 AND seconds > 0 AND frames_per_s > 0", name="measured"),
    CheckConstraint(
        "(what = 'pipeline') = (decode_cpu_ms IS NOT NULL AND reading_cpu_ms IS NOT NULL"
        " AND storing_cpu_ms IS NOT NULL AND other_cpu_ms IS NOT NULL AND video IS NOT NULL)",
        name="stages",
    ),
)
