"""The videos of a camera, as the site file has placed them. Read only."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, select

from storage.sql.catalogue import ArchivedVideo
from storage.sql.database import reading
from storage.sql.tables import archive_files, videos


class PlacedVideo(NamedTuple):
    """A file of an archive with its place. camera, start_at, time_zone: None = not known"""

    file: ArchivedVideo
    camera: str | None
    start_at: datetime | None
    time_zone: str | None


_FILE = [archive_files.c[name] for name in ArchivedVideo._fields[:-1]]
_PLACE = [archive_files.c.camera, archive_files.c.start_at, archive_files.c.time_zone]
_FOUND = select(*_FILE, videos.c.sha256, *_PLACE).join(videos, videos.c.video_id == archive_files.c.video_id)


def newest_video(engine: Engine, camera: str) -> PlacedVideo | None:
    """Return the newest video of a camera that an archive lists; without clocks the last one by name. None = none."""
    mine = (archive_files.c.camera == camera) & archive_files.c.gone_at.is_(None) & videos.c.superseded_by.is_(None)
    order = (archive_files.c.start_at.desc().nulls_last(), archive_files.c.key.desc(), archive_files.c.archive)
    with reading(engine) as connection:
        row = connection.execute(_FOUND.where(mine).order_by(*order).limit(1)).first()
    return None if row is None else _placed(row)


def placed_video(engine: Engine, file: ArchivedVideo) -> PlacedVideo:
    """Return a file with its place."""
    mine = (archive_files.c.archive == file.archive) & (archive_files.c.key == file.key)
    with reading(engine) as connection:
        row = connection.execute(_FOUND.where(mine)).first()
    return PlacedVideo(file, None, None, None) if row is None else _placed(row)


def camera_names(engine: Engine) -> list[str]:
    """Return the names of all cameras that have a video."""
    named = select(archive_files.c.camera).where(archive_files.c.camera.is_not(None), archive_files.c.gone_at.is_(None))
    with reading(engine) as connection:
        return sorted(connection.execute(named.distinct()).scalars())


def _placed(row: Row[Any]) -> PlacedVideo:
    known = len(ArchivedVideo._fields)
    return PlacedVideo(ArchivedVideo(*row[:known]), *row[known:])
