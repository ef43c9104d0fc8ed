"""Videos that a row of a query names: by id, by hash or by name, and the video of an event's peak."""

from typing import NamedTuple

from sqlalchemy import Engine, bindparam, text

from storage.sql.database import reading, storable

MOST = 50
PEAK_TOLERANCE_S = 0.001


class NamedVideo(NamedTuple):
    """A video that a name may mean. name, archive: NULL for a video in no archive"""

    video_id: int
    sha256: str
    name: str | None
    archive: str | None
    superseded: bool


_FOUND = """
SELECT v.video_id, v.sha256, n.key, n.archive, v.superseded_by IS NOT NULL
FROM videos AS v LEFT JOIN video_names AS n ON n.video_id = v.video_id
"""


def video_of_id(engine: Engine, video_id: int) -> list[NamedVideo]:
    """Return the video of an id, as a list of one or none."""
    return _videos(engine, f"{_FOUND} WHERE v.video_id = :video_id", video_id=video_id)


def videos_of_hash(engine: Engine, sha256: str) -> list[NamedVideo]:
    """Return the video of a whole hash, as a list of one or none."""
    return _videos(engine, f"{_FOUND} WHERE v.sha256 = :sha256", sha256=sha256)


def videos_of_name(engine: Engine, name: str) -> list[NamedVideo]:
    """Return the videos that the views show under a name; where there are none, those with another file of this name.

    name: a key, an archive's address with a key, or the hash of a video in no archive
    """
    known = storable(name)
    found = _videos(engine, _BY_NAME, name=known, most=MOST)
    shown = [video for video in found if known in (video.name, f"{video.archive}/{video.name}", video.sha256)]
    current = [video for video in shown if not video.superseded]
    return current or shown or found


_BY_NAME = f"""{_FOUND}
WHERE v.sha256 = :name OR v.video_id IN (
    SELECT coalesce(f.video_id, f.former_video_id) FROM archive_files AS f
    WHERE f.key = :name OR f.archive || '/' || f.key = :name
)
ORDER BY v.video_id DESC LIMIT :most"""  # noqa: S608 # our text


def peak_videos(engine: Engine, video_id: int, frame: int | None, second: float | None) -> list[NamedVideo]:
    """Return the videos with the peak of an event that begins in a video: another one in a recording of several files.

    frame, second: of the peak
    """
    condition = "e.peak_frame = :frame" if frame is not None else "abs(e.peak_s - :second) <= :tolerance"
    peaks = f"SELECT e.peak_video_id FROM events AS e WHERE e.video_id = :video_id AND {condition}"  # noqa: S608
    values = {"frame": frame} if frame is not None else {"second": second, "tolerance": PEAK_TOLERANCE_S}
    return _videos(engine, f"{_FOUND} WHERE v.video_id IN ({peaks}) ORDER BY v.video_id", video_id=video_id, **values)


def _videos(engine: Engine, statement: str, **values: object) -> list[NamedVideo]:
    bound = text(statement).bindparams(*(bindparam(name, value) for name, value in values.items()))
    with reading(engine) as connection:
        return [NamedVideo._make(row) for row in connection.execute(bound)]
