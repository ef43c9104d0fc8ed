"""A recording and its files. Read only."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Double, Engine, Integer, Text, func, select, text

from storage.sql.clock import UtcDateTime
from storage.sql.database import reading
from storage.sql.tables import recording_videos

MOST_FILES = 2000  # of a recording that are shown at once


class StoredRecording(NamedTuple):
    """The files of one camera that follow each other.

    camera, start_at, time_zone: None = not known; duration_s: with the gaps between the files; files: number of all
    """

    recording_id: int
    camera: str | None
    start_at: datetime | None
    time_zone: str | None
    duration_s: float
    files: int


class RecordingFile(NamedTuple):
    """A video in its recording. start_s: of its first frame on the recording's clock; gone_at: None while it exists"""

    video_id: int
    sha256: str
    name: str
    position: int
    start_s: float
    duration_s: float
    frames: int
    start_at: datetime | None
    gone_at: datetime | None


_RECORDING = text("""
SELECT c.recording_id, c.camera, c.start_at, c.time_zone, max(r.start_s + v.duration_s) AS duration_s, count(*) AS files
FROM recordings AS c
JOIN recording_videos AS r ON r.recording_id = c.recording_id
JOIN videos AS v ON v.video_id = r.video_id
WHERE c.recording_id = :recording
GROUP BY c.recording_id, c.camera, c.start_at, c.time_zone
""").columns(recording_id=Integer, camera=Text, start_at=UtcDateTime, time_zone=Text, duration_s=Double, files=Integer)

_FILES = text("""
SELECT v.video_id, v.sha256, coalesce(n.key, v.sha256) AS name, r.position, r.start_s, v.duration_s, v.frames,
       r.start_at, n.gone_at
FROM recording_videos AS r
JOIN videos AS v ON v.video_id = r.video_id
LEFT JOIN video_names AS n ON n.video_id = v.video_id
WHERE r.recording_id = :recording AND r.position BETWEEN :first AND :last
ORDER BY r.position
""").columns(video_id=Integer, sha256=Text, name=Text, start_s=Double, start_at=UtcDateTime, gone_at=UtcDateTime)


def stored_recording(engine: Engine, recording_id: int) -> StoredRecording | None:
    """Return a recording; None if there is none with files."""
    with reading(engine) as connection:
        row = connection.execute(_RECORDING, {"recording": recording_id}).first()
    return None if row is None else StoredRecording(*row)


def files_near(engine: Engine, recording_id: int, at_s: float) -> list[RecordingFile]:
    """Return MOST_FILES files around a second of the recording's clock, in their order; all if there are fewer."""
    place = recording_videos.c
    before = select(func.max(place.position)).where(place.recording_id == recording_id, place.start_s <= at_s)
    with reading(engine) as connection:
        position = connection.execute(before).scalar() or 0
        first = max(0, position - MOST_FILES // 2)
        values = {"recording": recording_id, "first": first, "last": first + MOST_FILES - 1}
        return [RecordingFile(*row) for row in connection.execute(_FILES, values)]


def start_in_recording(engine: Engine, recording_id: int, video_id: int) -> float:
    """Return the second of the recording's clock at which a video of it begins."""
    place = recording_videos.c
    mine = select(place.start_s).where(place.recording_id == recording_id, place.video_id == video_id)
    with reading(engine) as connection:
        return float(connection.execute(mine).scalar_one())
