"""Files that are gone from their archive, and the view video_names: where each video is now, or was last."""

import runpy
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NAMED = ("keypoints", "video_summary", "label_intervals", "presence_intervals", "quarantine")
EARLIER = "(SELECT video_id, {first_key} AS key FROM archive_files WHERE video_id IS NOT NULL GROUP BY video_id)"


def upgrade() -> None:
    _drop_views()
    op.add_column("archive_files", sa.Column("gone_at", sa.DateTime(timezone=True) if _postgresql() else sa.Text()))
    op.execute(VIDEO_NAMES.replace("{key}", _by_bytes("key")))
    _create_views("video_names")


def downgrade() -> None:
    _drop_views()
    op.execute("DROP VIEW video_names")
    op.drop_column("archive_files", "gone_at")
    _create_views(EARLIER.replace("{first_key}", f"min({_by_bytes('key')})"))


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _by_bytes(column: str) -> str:
    """Ordered by its bytes, whatever the server's language, as SQLite has it."""
    return f'{column} COLLATE "C"' if _postgresql() else column


def _drop_views() -> None:
    for view in NAMED:
        op.execute(f"DROP VIEW {view}")


def _create_views(names: str) -> None:
    """The views as earlier migrations have them, with these names of videos."""
    first, later = _earlier("0002_create_views.py"), _earlier("0005_add_label_intervals.py")
    summary = later["VIDEO_SUMMARY"].replace("{found}", later["FOUND"])
    quarantine = first["QUARANTINE"].replace("{first_key}", f"min({_by_bytes('key')})")
    if names == "video_names":
        summary = summary.replace("v.sha256, v.video_id", "names.gone_at, v.sha256, v.video_id")
        summary = summary.replace("names.key, shown.task", "names.key, names.gone_at, shown.task")
        quarantine = quarantine.replace("WHERE reason IS NOT NULL", "WHERE reason IS NOT NULL AND gone_at IS NULL")
        present = f"min(CASE WHEN gone_at IS NULL THEN {_by_bytes('key')} END)"
        quarantine = quarantine.replace(f"min({_by_bytes('key')})", f"coalesce({present}, min({_by_bytes('key')}))")
    op.execute(first["_keypoints_postgresql" if _postgresql() else "_keypoints_sqlite"](names))
    op.execute(summary.replace("{names}", names))
    op.execute(later["LABEL_INTERVALS"].replace("{names}", names))
    op.execute(quarantine)
    presence = _earlier("0015_add_presence_intervals.py")
    undecodable = presence["_undecodable"]()
    op.execute(presence["PRESENCE_INTERVALS"].replace("{names}", names).replace("{undecodable}", undecodable))


def _earlier(name: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).with_name(name)))


# A file that is there comes before one that is gone, then the one that was there last, then the first by name.
VIDEO_NAMES = """
CREATE VIEW video_names AS
SELECT video_id, key, archive, gone_at
FROM (
    SELECT video_id, key, archive, gone_at,
           row_number() OVER (PARTITION BY video_id
                              ORDER BY CASE WHEN gone_at IS NULL THEN 0 ELSE 1 END, gone_at DESC, {key}, archive
           ) AS place
    FROM archive_files
    WHERE video_id IS NOT NULL
) AS files
WHERE place = 1
"""
