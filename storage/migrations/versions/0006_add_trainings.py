"""Fine-tunings: what was trained on what, every step and epoch of it, and the pictures that it fails on."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A migration is a record: it repeats the names of its day and imports nothing that may change.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
OF_A_RUN = "training_runs.training_run_id"


def upgrade() -> None:
    _runs()
    _of_a_run(
        "training_epochs",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("validation_loss", sa.Double(), nullable=False),
        sa.Column("validation_accuracy", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
    )
    _of_a_run(
        "training_steps",
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
    )
    _of_a_run(
        "training_failures",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
    )


def downgrade() -> None:
    for table in ("training_failures", "training_steps", "training_epochs", "training_runs"):
        op.drop_table(table)


def _runs() -> None:
    measured = ("accuracy", "precision", "recall", "roc_auc", "roc_auc_low", "roc_auc_high")
    counted = ("true_positives", "false_negatives", "true_negatives", "false_positives")
    op.create_table(
        "training_runs",
        sa.Column("training_run_id", sa.Integer(), nullable=False),
        sa.Column("run_key", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "preset", "params", "data", "status")),
        sa.Column("error", sa.Text()),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        *(sa.Column(f"pictures_{split}", sa.Integer(), nullable=False) for split in ("train", "validation", "test")),
        sa.Column("base_sha256", sa.Text()),
        sa.Column("best_epoch", sa.Integer()),
        *(sa.Column(name, sa.Double()) for name in measured),
        *(sa.Column(name, sa.Integer()) for name in counted),
        sa.Column("model_version_id", sa.Integer()),
        sa.PrimaryKeyConstraint("training_run_id", name="pk_training_runs"),
        sa.UniqueConstraint("run_key", name="uq_training_runs_run_key"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.model_version_id"], name="fk_training_runs_model_version_id"
        ),
        sa.CheckConstraint("status IN ('running', 'completed', 'failed')", name=op.f("ck_training_runs_status")),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name=op.f("ck_training_runs_finished")),
        sa.CheckConstraint("status <> 'completed' OR accuracy IS NOT NULL", name=op.f("ck_training_runs_completed")),
    )


def _of_a_run(table: str, *columns: sa.Column[Any]) -> None:
    """A table whose key is the run and its first column."""
    op.create_table(
        table,
        sa.Column("training_run_id", sa.Integer(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("training_run_id", columns[0].name, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["training_run_id"], [OF_A_RUN], name=f"fk_{table}_training_run_id"),
    )
