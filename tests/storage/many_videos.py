"""The rows of a large archive, copied from those of one video in one statement per table."""

from sqlalchemy import Engine, Table, text

from storage.sql.database import writing
from storage.sql.tables import (
    analyses,
    archive_files,
    batch_segments,
    motion,
    pose_seconds,
    pose_tracks,
    poses,
    recording_videos,
    recordings,
    segments,
    tracks,
    videos,
)

FOLDERS = 500  # cameras, say
DIGITS = 7  # of a file's number
# Differences between the rows of copy `i` and the first video, in SQL that both databases know.
_NUMBER = f"substr(CAST({10**DIGITS} + i AS text), 2)"
COPIES: dict[Table, dict[str, str]] = {
    videos: {"video_id": "video_id + i", "sha256": f"{_NUMBER} || substr(sha256, {DIGITS + 1})"},
    archive_files: {
        "video_id": "video_id + i",
        "key": f"'cam' || substr(CAST(1000 + i % {FOLDERS} AS text), 2) || '/' || {_NUMBER} || '.mp4'",
    },
    segments: {"video_id": "video_id + i", "segment_id": "segment_id + i * {segments}"},
    batch_segments: {"segment_id": "segment_id + i * {segments}"},
    poses: {"video_id": "video_id + i"},
    pose_seconds: {"video_id": "video_id + i"},
    recordings: {"recording_id": "recording_id + i"},
    recording_videos: {"recording_id": "recording_id + i", "video_id": "video_id + i"},
    analyses: {
        "analysis_id": "analysis_id + i",
        "recording_id": "recording_id + i",
        "video_id": "video_id + i",
    },
    pose_tracks: {"analysis_id": "analysis_id + i"},
    tracks: {"analysis_id": "analysis_id + i", "recording_id": "recording_id + i"},
    motion: {"analysis_id": "analysis_id + i"},
}


def key_of(number: int) -> str:
    """The name of the archive's file with this number, of which 0 is the first."""
    return f"cam{number % FOLDERS:03d}/{number:0{DIGITS}d}.mp4"


def multiply(engine: Engine, count: int, segments_each: int = 1) -> None:
    """Insert the rows of the database's only video, with `segments_each` segments, for `count` - 1 copies."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"
    with writing(engine) as connection:
        for table, changed in COPIES.items():
            names = [column.name for column in table.columns]
            values = [changed.get(name, name).replace("{segments}", str(segments_each)) for name in names]
            copies = f"{numbers} SELECT {', '.join(values)} FROM {table.name}, n"
            connection.execute(text(f"INSERT INTO {table.name} ({', '.join(names)}) {copies}"))
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
