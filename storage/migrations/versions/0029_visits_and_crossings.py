"""The video of each visit and crossing, and crossings that are not certain yet.

No version has written such rows before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _drop()
    _create_visits(*_video())
    _create_crossings(*_video(), certain=False)
    for table in ("visits", "crossings"):
        op.create_index(f"ix_{table}_video_id", table, ["video_id"])


def downgrade() -> None:
    _drop()
    _create_visits()
    _create_crossings()


def _drop() -> None:
    for table in ("crossings", "visits"):
        op.drop_table(table)


def _video() -> list[sa.Column[int]]:
    return [sa.Column("video_id", sa.Integer(), nullable=False)]


def _keys(number: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in ("event_run_id", "zone_id", "track", number)]


def _open() -> sa.Column[bool]:
    return sa.Column("open", sa.Boolean(), nullable=False, server_default=sa.false())


def _create_visits(*video: sa.Column[int]) -> None:
    op.create_table(
        "visits",
        *_keys("visit"),
        *video,
        sa.Column("entered_s", sa.Double(), nullable=False),
        sa.Column("left_s", sa.Double(), nullable=False),
        _open(),
        sa.PrimaryKeyConstraint("event_run_id", "zone_id", "track", "visit"),
        sa.CheckConstraint("entered_s <= left_s", name="times"),
        sqlite_with_rowid=False,
    )


def _create_crossings(*video: sa.Column[int], certain: bool = True) -> None:
    directions = sa.CheckConstraint("direction IN ('left_to_right', 'right_to_left')", name="direction")
    op.create_table(
        "crossings",
        *_keys("crossing"),
        *video,
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        *([] if certain else [_open(), directions]),
        sa.PrimaryKeyConstraint("event_run_id", "zone_id", "track", "crossing"),
        sqlite_with_rowid=False,
    )
