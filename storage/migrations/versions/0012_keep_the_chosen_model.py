"""In shown_models: whether a person chose the version or a batch did. A person's choice stays.

Of what was shown before, nobody wrote down who chose it: it counts as a batch's, as it behaved.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# One statement for both databases: SQLite cannot make the table anew under the views that read it.
ADD_COLUMN = """
ALTER TABLE shown_models ADD COLUMN chosen_by TEXT DEFAULT 'batch' NOT NULL
CONSTRAINT ck_shown_models_chosen_by CHECK (chosen_by IN ('batch', 'person'))
"""


def upgrade() -> None:
    op.execute(ADD_COLUMN)


def downgrade() -> None:
    op.drop_column("shown_models", "chosen_by")
