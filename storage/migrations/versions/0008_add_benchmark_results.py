"""Benchmarks: how fast a model is on a device, alone and with all that is around it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A migration is a record: it repeats the names of its day and imports nothing that may change.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STAGES = (
    "(what = 'pipeline') = (decode_cpu_ms IS NOT NULL AND reading_cpu_ms IS NOT NULL"
    " AND storing_cpu_ms IS NOT NULL AND other_cpu_ms IS NOT NULL AND video IS NOT NULL)"
)


def upgrade() -> None:
    words = ("what", "device", "precision", "worker", "machine", "openvino")
    measured = ("seconds", "frames_per_s", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "inference_cpu_ms")
    op.create_table(
        "benchmark_results",
        sa.Column("benchmark_result_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in words),
        sa.Column("video", sa.Text()),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("started_at", INSTANT, nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in measured),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("multiply_adds", sa.BigInteger(), nullable=False),
        *(sa.Column(f"{stage}_cpu_ms", sa.Double()) for stage in ("decode", "reading", "storing", "other")),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("decoder_memory_bytes", sa.BigInteger()),
        sa.Column("temperature_c", sa.Double()),
        sa.Column("load_1m", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("benchmark_result_id", name="pk_benchmark_results"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.model_version_id"], name="fk_benchmark_results_model_version_id"
        ),
        sa.CheckConstraint("what IN ('model', 'pipeline')", name=op.f("ck_benchmark_results_what")),
        sa.CheckConstraint(
            "frames > 0 AND seconds > 0 AND frames_per_s > 0", name=op.f("ck_benchmark_results_measured")
        ),
        sa.CheckConstraint(STAGES, name=op.f("ck_benchmark_results_stages")),
    )
    op.create_index("ix_benchmark_results_model_version_id", "benchmark_results", ["model_version_id"])


def downgrade() -> None:
    op.drop_table("benchmark_results")
