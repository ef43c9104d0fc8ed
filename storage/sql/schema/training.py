"""Training runs, evaluations and benchmarks."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from storage.sql.clock import UtcDateTime
from storage.sql.schema.base import metadata, one_of

TRAINING_STATUSES = ("running", "completed", "failed")
TRAINING_LABELS = ("car", "not_car")
TRAINING_SPLITS = ("train", "validation", "test")
EVALUATION_MODES = ("multi", "single", "agreement")
BENCHMARKS = ("model", "pipeline")

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
    one_of("status", TRAINING_STATUSES),
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
    one_of("label", TRAINING_LABELS),
    one_of("split", TRAINING_SPLITS),
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
    Column("inferences_per_s", Double),
    Column("device", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("evaluated_at", UtcDateTime, nullable=False),
    UniqueConstraint("model_version_id", "protocol_sha256"),
    one_of("mode", EVALUATION_MODES),
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
    one_of("what", BENCHMARKS),
    CheckConstraint("frames > 0 AND seconds > 0 AND frames_per_s > 0", name="measured"),
    CheckConstraint(
        "(what = 'pipeline') = (decode_cpu_ms IS NOT NULL AND reading_cpu_ms IS NOT NULL"
        " AND storing_cpu_ms IS NOT NULL AND other_cpu_ms IS NOT NULL AND video IS NOT NULL)",
        name="stages",
    ),
)
