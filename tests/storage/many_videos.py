"""The rows of a large archive, made from those of one video in one statement per table."""

from sqlalchemy import Engine, Table, text

from storage.sql.database import writing
from storage.sql.tables import archive_files, batch_segments, pose_seconds, poses, segments, videos

FOLDERS = 500  # cameras, say
DIGITS = 7  # of a file's number
# What tells the rows of copy `i` from those of the first video, in words that both databases know.
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
}


def key_of(number: int) -> str:
    """The name of the archive's file with this number, of which 0 is the first."""
    return f"cam{number % FOLDERS:03d}/{number:0{DIGITS}d}.mp4"


def multiply(engine: Engine, count: int, segments_each: int = 1) -> None:
    """Give `count` - 1 copies of the database's only video, with `segments_each` segments, the rows that it has."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"
    with writing(engine) as connection:
        for table, changed in COPIES.items():
            names = [column.name for column in table.columns]
            values = [changed.get(name, name).replace("{segments}", str(segments_each)) for name in names]
            copies = f"{numbers} SELECT {', '.join(values)} FROM {table.name}, n"
            connection.execute(text(f"INSERT INTO {table.name} ({', '.join(names)}) {copies}"))
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
