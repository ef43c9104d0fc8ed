"""evaluations.inferences_per_s may be NULL, where other processes made it doubtful."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
BEFORE = "evaluations_before"


def upgrade() -> None:
    _let_speeds_be_null(True)


def downgrade() -> None:
    op.execute("DELETE FROM evaluations WHERE inferences_per_s IS NULL")
    _let_speeds_be_null(False)


def _let_speeds_be_null(nullable: bool) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("evaluations", "inferences_per_s", nullable=nullable)
        return
    op.rename_table("evaluations", BEFORE)  # SQLite changes no column
    _create_evaluations(nullable)
    op.execute(f"INSERT INTO evaluations SELECT * FROM {BEFORE}")  # noqa: S608 - a constant
    op.drop_table(BEFORE)


def _create_evaluations(nullable: bool) -> None:
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
        sa.Column("inferences_per_s", sa.Double(), nullable=nullable),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("evaluated_at", INSTANT, nullable=False),
        sa.UniqueConstraint("model_version_id", "protocol_sha256"),
        sa.CheckConstraint("mode IN ('multi', 'single', 'agreement')", name="mode"),
        sa.CheckConstraint("(mode = 'agreement') = (ap IS NULL)", name="figures"),
    )
