"""Files of cameras with clocks, and what the database holds of them. No tests."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from storage.ledger.recordings import FilmedVideo
from storage.sql.database import writing
from storage.sql.query import query
from storage.sql.tables import archive_files
from tests.storage.samples import make_video, record_file, register_video

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
FRAMES_PER_S = 25


def filmed(
    video_id: int, start_s: float | None, duration_s: float = 10.0, camera: str | None = "door", **others: object
) -> FilmedVideo:
    """A file that begins this long after midnight. start_s: None = without a clock"""
    start_at = None if start_s is None else MIDNIGHT + timedelta(seconds=start_s)
    frames = round(duration_s * FRAMES_PER_S)
    given = FilmedVideo(video_id, f"{video_id:064d}", frames, duration_s, (640, 480), camera, start_at, "UTC", None)
    return given._replace(**others)  # type: ignore[arg-type]


def add_file(engine: Engine, video: FilmedVideo, key: str = "") -> int:
    """Store a video with its file, and the file's place. Returns the id that the database gave it."""
    width, height = video.size
    made = replace(make_video(video.sha256, video.frames), width=width, height=height, duration_s=video.duration_s)
    video_id = register_video(engine, made)
    key = key or f"{video.camera}/{video.sha256[-8:]}.mp4"
    record_file(engine, "archive/", key, 1, "etag", video_id=video_id)
    place_file(engine, key, video)
    return video_id


def place_file(engine: Engine, key: str, video: FilmedVideo) -> None:
    place = {"camera": video.camera, "start_at": video.start_at, "time_zone": video.time_zone}
    with writing(engine) as connection:
        connection.execute(update(archive_files).where(archive_files.c.key == key).values(place))


def stored(engine: Engine) -> list[tuple[str | None, list[str]]]:
    """Camera and the last digits of the videos' hashes, per recording in the order of cameras and times."""
    rows = query(
        engine,
        "SELECT r.recording_id, r.camera, v.sha256 FROM recordings AS r JOIN recording_videos AS m"
        " ON m.recording_id = r.recording_id JOIN videos AS v ON v.video_id = m.video_id"
        " ORDER BY r.camera, r.start_at, r.recording_id, m.position",
    )[1]
    found: dict[int, tuple[str | None, list[str]]] = {}
    for recording_id, camera, sha256 in rows:
        found.setdefault(recording_id, (camera, []))[1].append(sha256.lstrip("0"))
    return list(found.values())


def numbers(videos: Sequence[FilmedVideo]) -> list[str]:
    return [str(video.video_id) for video in videos]
