"""The view track_summary reads a track's other parts only if there are any; all views compute `at` alike.

No table changes.
"""

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table: the views are created again after every migration."""


def downgrade() -> None:
    """Change no table."""
