"""New views presence, absence and not_looked_at; reasons in presence_intervals. No table changes."""

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table: the views are created again after every migration."""


def downgrade() -> None:
    """Change no table."""
