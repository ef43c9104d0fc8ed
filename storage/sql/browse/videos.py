"""A video as its pages name it: by the beginning of its hash, with its name, place and files."""

import re
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Double, Engine, Integer, Text, select, text

from storage.sql.catalogue import ArchivedVideo
from storage.sql.clock import UtcDateTime
from storage.sql.database import reading
from storage.sql.tables import archive_files, videos

SHA_START = re.compile("[0-9a-f]{16,64}")
LARGEST_INTEGER = 2**31 - 1  # of a key in both databases


class StoredVideo(NamedTuple):
    """A video and its place in a recording.

    name: as in the views: its key in the archive, else its sha256
    archive: address of the archive that has it under this name; None without a file
    width, height: displayed pixels of its first frame, to which all coordinates refer
    fps: None for a single frame
    gone_at: time since which no archive lists it; None while one does
    camera, recording_id: None in videos that no batch has arranged yet; camera also where it is not known
    start_at: time of the first frame, UTC; None without a clock
    time_zone: of the camera, such as `Europe/Berlin`; None = not known
    """

    video_id: int
    sha256: str
    name: str
    archive: str | None
    width: int
    height: int
    frames: int
    fps: float | None
    duration_s: float
    codec: str
    container: str
    gone_at: datetime | None
    camera: str | None
    recording_id: int | None
    start_at: datetime | None
    time_zone: str | None


# 'g' follows every digit of a hash, in any language: a range uses the index, LIKE often does not.
_FOUND = text("""
SELECT v.video_id, v.sha256, coalesce(n.key, v.sha256) AS name, n.archive, v.width, v.height, v.frames, v.fps,
       v.duration_s, v.codec, v.container, n.gone_at, c.camera, r.recording_id, r.start_at, c.time_zone
FROM videos AS v
LEFT JOIN video_names AS n ON n.video_id = v.video_id
LEFT JOIN recording_videos AS r ON r.video_id = v.video_id AND r.recording_id = coalesce(
    CAST(:recording AS integer), (SELECT min(m.recording_id) FROM recording_videos AS m WHERE m.video_id = v.video_id))
LEFT JOIN recordings AS c ON c.recording_id = r.recording_id
WHERE v.sha256 >= :start AND v.sha256 < :stop
LIMIT 2
""").columns(
    video_id=Integer,
    sha256=Text,
    name=Text,
    fps=Double,
    duration_s=Double,
    gone_at=UtcDateTime,
    start_at=UtcDateTime,
)


def stored_video(engine: Engine, sha256_start: str, recording_id: int | None = None) -> StoredVideo | None:
    """Find a video by the first 16 or more digits of its sha256; None if none or several begin so.

    recording_id: the recording whose camera and clock are meant; None = the first. None is returned if the video is
        not in it.
    """
    if SHA_START.fullmatch(sha256_start) is None or not 0 <= (recording_id or 0) <= LARGEST_INTEGER:
        return None
    wanted = {"start": sha256_start, "stop": f"{sha256_start}g", "recording": recording_id}
    with reading(engine) as connection:
        found = [StoredVideo(*row) for row in connection.execute(_FOUND, wanted)]
    if len(found) != 1 or (recording_id is not None and found[0].recording_id is None):
        return None
    return found[0]


def present_files(engine: Engine, video_id: int) -> list[ArchivedVideo]:
    """Return the files that archives list of a video, by archive and key."""
    columns = (*(archive_files.c[name] for name in ArchivedVideo._fields[:-1]), videos.c.sha256)
    mine = select(*columns).join(videos, videos.c.video_id == archive_files.c.video_id)
    mine = mine.where(archive_files.c.video_id == video_id, archive_files.c.gone_at.is_(None))
    with reading(engine) as connection:
        rows = connection.execute(mine.order_by(archive_files.c.archive, archive_files.c.key))
        return [ArchivedVideo(*row) for row in rows]
