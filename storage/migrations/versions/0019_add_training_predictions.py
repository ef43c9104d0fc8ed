"""Every picture of a training with its split and score; threshold, intervals and the IR's figures of a run; its owner.

training_failures becomes a view over training_predictions. Of runs from before, only the failures are there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
FIGURES = ("threshold", "accuracy_low", "accuracy_high", "average_precision", "ir_accuracy", "ir_largest_difference")
OLD_THRESHOLD = 0.5

FAILURES = """
CREATE VIEW training_failures AS
SELECT p.training_run_id, p.sha256, p.picture, p.source, p.label, p.score
FROM training_predictions AS p
JOIN training_runs AS r ON r.training_run_id = p.training_run_id
WHERE p.split = 'test' AND (p.score >= r.threshold) <> (p.label = 'car')
"""
KEEP = """
INSERT INTO training_predictions (training_run_id, sha256, box, picture, source, label, split, score)
SELECT training_run_id, sha256, '', picture, source, label, 'test', score FROM training_failures
"""
GIVE_BACK = """
INSERT INTO old_failures (training_run_id, sha256, picture, source, label, score)
SELECT training_run_id, sha256, min(picture), min(source), min(label), min(score)
FROM training_failures GROUP BY training_run_id, sha256
"""


def upgrade() -> None:
    for name in FIGURES:
        op.add_column("training_runs", sa.Column(name, sa.Double()))
    op.add_column("training_runs", sa.Column("ir_labels_changed", sa.Integer()))
    op.add_column("training_runs", sa.Column("owner", sa.Text()))
    op.add_column("training_runs", sa.Column("lease_until", INSTANT))
    op.execute(f"UPDATE training_runs SET threshold = {OLD_THRESHOLD} WHERE status = 'completed'")  # noqa: S608
    op.create_table(
        "training_predictions",
        sa.Column("training_run_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("sha256", "box", "picture", "source", "label")),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("score", sa.Double()),
        sa.PrimaryKeyConstraint("training_run_id", "sha256", "box", name="pk_training_predictions"),
        sa.ForeignKeyConstraint(
            ["training_run_id"], ["training_runs.training_run_id"], name="fk_training_predictions_training_run_id"
        ),
        sa.CheckConstraint("label IN ('car', 'not_car')", name=op.f("ck_training_predictions_label")),
        sa.CheckConstraint("split IN ('train', 'validation', 'test')", name=op.f("ck_training_predictions_split")),
    )
    op.execute(KEEP)
    op.drop_table("training_failures")
    op.execute(FAILURES)


def downgrade() -> None:
    op.create_table(
        "old_failures",
        sa.Column("training_run_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("sha256", "picture", "source", "label")),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("training_run_id", "sha256", name="pk_training_failures"),
        sa.ForeignKeyConstraint(
            ["training_run_id"], ["training_runs.training_run_id"], name="fk_training_failures_training_run_id"
        ),
    )
    op.execute(GIVE_BACK)
    op.execute("DROP VIEW training_failures")
    op.rename_table("old_failures", "training_failures")
    op.drop_table("training_predictions")
    for name in (*FIGURES, "ir_labels_changed", "owner", "lease_until"):
        op.drop_column("training_runs", name)
