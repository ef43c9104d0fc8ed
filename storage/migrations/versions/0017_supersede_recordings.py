"""Recordings that were read while they were written are superseded in the views; files that are ignored are listed."""

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

CURRENT_VIDEOS = """\
CREATE VIEW current_videos AS
SELECT video_id, sha256, size_bytes, container, codec, width, height, frames, fps, duration_s
FROM videos
WHERE superseded_by IS NULL
"""


def upgrade() -> None:
    op.execute("ALTER TABLE videos ADD COLUMN superseded_by INTEGER REFERENCES videos (video_id)")
    op.create_table(
        "ignored_files",
        sa.Column("archive", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("etag", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        _since(),
    )
    views = _drop_views()
    op.execute(CURRENT_VIDEOS)
    _create_views(views, _only_current)


def downgrade() -> None:
    views = _drop_views()
    del views["current_videos"]
    _create_views(views, _of_all)
    op.drop_table("ignored_files")
    op.drop_column("videos", "superseded_by")


def _since() -> "sa.Column[Any]":
    return sa.Column("since", sa.DateTime(timezone=True) if _postgresql() else sa.Text(), nullable=False)


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _drop_views() -> dict[str, str]:
    """Name and SELECT of all views; one that asks another comes after it."""
    listed = (
        "SELECT viewname, definition FROM pg_views WHERE schemaname = current_schema()"
        if _postgresql()
        else "SELECT name, sql FROM sqlite_master WHERE type = 'view'"
    )
    rows = op.get_bind().execute(sa.text(listed)).all()
    found = {name: re.sub(r"^\s*CREATE VIEW \w+ AS\s+", "", statement) for name, statement in rows}
    ordered: list[str] = []
    while len(ordered) < len(found):
        waiting = found.keys() - ordered
        ordered += sorted(name for name in waiting if not any(_asks(found[name], other) for other in waiting - {name}))
    for name in reversed(ordered):
        op.execute(f"DROP VIEW {name}")
    return {name: found[name] for name in ordered}


def _asks(statement: str, view: str) -> bool:
    return re.search(rf"\b(FROM|JOIN)\s+\(*{view}\b", statement) is not None


def _only_current(statement: str) -> str:
    """The same of videos that are not superseded. The table stays: PostgreSQL groups by its key."""
    joined = re.sub(
        r"\bJOIN videos (?:AS )?(\w+) ON ", r"JOIN videos AS \1 ON \1.superseded_by IS NULL AND ", statement
    )
    if not re.search(r"\bFROM\s+\(*videos (?:AS )?v\b", joined):
        return joined
    before, group, after = joined.rpartition("GROUP BY")
    return f"{before}WHERE v.superseded_by IS NULL\n{group}{after}"


def _of_all(statement: str) -> str:
    whole = re.sub(r"\bWHERE \(?v\.superseded_by IS NULL\)?\s+GROUP BY", "GROUP BY", statement)
    return re.sub(r"\b\w+\.superseded_by IS NULL", "1 = 1", whole)


def _create_views(views: dict[str, str], change: Callable[[str], str]) -> None:
    for name, statement in views.items():
        op.execute(sa.text(f"CREATE VIEW {name} AS {change(statement)}".replace(":", r"\:")))
