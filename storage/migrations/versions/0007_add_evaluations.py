"""Evaluations: how right a pose model is, and by which protocol that was measured."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# A migration is a record: it repeats the names of its day and imports nothing that may change.
INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("protocol_sha256", "protocol", "mode")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("images", "people")),
        sa.Column("mean_oks", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Double()) for name in ("ap", "ap50", "ap75", "ar", "pck")),
        sa.Column("inferences_per_s", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("device", "precision")),
        sa.Column("evaluated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("evaluation_id", name="pk_evaluations"),
        sa.UniqueConstraint(
            "model_version_id", "protocol_sha256", name="uq_evaluations_model_version_id_protocol_sha256"
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.model_version_id"], name="fk_evaluations_model_version_id"
        ),
        sa.CheckConstraint("mode IN ('multi', 'single', 'agreement')", name=op.f("ck_evaluations_mode")),
        sa.CheckConstraint("(mode = 'agreement') = (ap IS NULL)", name=op.f("ck_evaluations_figures")),
    )


def downgrade() -> None:
    op.drop_table("evaluations")
