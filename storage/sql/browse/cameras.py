"""Places where videos were taken: cameras, and the top folders of videos without a camera. Read only."""

from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, Text, case, cast, exists, func, null, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from storage.sql.clock import epoch_s
from storage.sql.database import reading
from storage.sql.tables import archive_files, recording_videos, recordings, videos


class top_folder(FunctionElement[str]):
    """The part of a key before its first slash; empty for a key without one."""

    type = Text()
    inherit_cache = True
    name = "top_folder"


@compiles(top_folder, "postgresql")
def _postgresql(element: top_folder, compiler: SQLCompiler, **kwargs: Any) -> str:
    key = compiler.process(element.clauses, **kwargs)
    return f"CASE WHEN strpos({key}, '/') > 0 THEN split_part({key}, '/', 1) ELSE '' END"


@compiles(top_folder, "sqlite")
def _sqlite(element: top_folder, compiler: SQLCompiler, **kwargs: Any) -> str:
    key = compiler.process(element.clauses, **kwargs)
    return f"CASE WHEN instr({key}, '/') > 0 THEN substr({key}, 1, instr({key}, '/') - 1) ELSE '' END"


class FilmPlace(NamedTuple):
    """A camera, or a folder of an archive.

    camera: None for a folder
    archive, folder: None for a camera; the folder is empty for files that lie in none
    """

    camera: str | None
    archive: str | None = None
    folder: str | None = None


class PlaceFacts(NamedTuple):
    """A place with its videos.

    on_clock: number of videos whose time is known
    newest_s: start of the newest of these, seconds since 1970 on the camera's clock; None without any
    time_zone: such as `Europe/Berlin`; None = not known, so that times are UTC
    """

    place: FilmPlace
    videos: int
    on_clock: int
    newest_s: float | None
    time_zone: str | None


# The start of video `recording_videos` on a clock at its camera, or on UTC without a time zone, seconds since 1970.
# From `change_s` of the video on, `shift_s` is added: clocks were changed.
BASE_S = (epoch_s(recording_videos.c.start_at) + func.coalesce(recording_videos.c.utc_offset_s, 0)).label("base_s")
FILM = (
    videos.c.video_id,
    recording_videos.c.recording_id,
    recording_videos.c.start_at,
    BASE_S,
    recording_videos.c.offset_changes_s.label("change_s"),
    (recording_videos.c.later_utc_offset_s - recording_videos.c.utc_offset_s).label("shift_s"),
    videos.c.duration_s,
    case((videos.c.fps > 1, 1 / videos.c.fps), else_=1.0).label("frame_s"),  # of a slow film, too: of what is stored
    recordings.c.time_zone,
)


def camera_films(camera: str | None = None) -> Select[Any]:
    """Select the videos of a camera, or of all cameras: once per camera that has them. Columns: a FilmPlace, FILM"""
    place = (recordings.c.camera, cast(null(), Text).label("archive"), cast(null(), Text).label("folder"))
    films = (
        select(*place, *FILM)
        .join(recording_videos, recording_videos.c.recording_id == recordings.c.recording_id)
        .join(videos, videos.c.video_id == recording_videos.c.video_id)
        .where(videos.c.superseded_by.is_(None))
    )
    return films.where(recordings.c.camera.is_not(None) if camera is None else recordings.c.camera == camera)


def folder_films(archive: str | None = None, folder: str | None = None) -> Select[Any]:
    """Select the videos without a camera in a folder, or in all folders: once per folder that has them. Columns: a
    FilmPlace, FILM. A file that an archive lists no longer counts if no other file of the video is left."""
    other = archive_files.alias("other")
    listed = archive_files.c.gone_at.is_(None)
    left = exists().where(other.c.video_id == archive_files.c.video_id, other.c.gone_at.is_(None))
    of_folder = top_folder(archive_files.c.key)
    films = (
        select(cast(null(), Text).label("camera"), archive_files.c.archive, of_folder.label("folder"), *FILM)
        .distinct()
        .join(videos, videos.c.video_id == archive_files.c.video_id)
        .outerjoin(recording_videos, recording_videos.c.video_id == videos.c.video_id)
        .outerjoin(recordings, recordings.c.recording_id == recording_videos.c.recording_id)
        .where(archive_files.c.camera.is_(None), recordings.c.camera.is_(None), videos.c.superseded_by.is_(None))
        .where(listed | ~left)
    )
    return films if archive is None else films.where(archive_files.c.archive == archive, of_folder == folder)


def films_of(place: FilmPlace) -> Select[Any]:
    """Select the videos of one place."""
    return camera_films(place.camera) if place.camera is not None else folder_films(place.archive, place.folder)


def read_places(engine: Engine) -> list[PlaceFacts]:
    """Read all places, in no order."""
    return [facts for films in (camera_films(), folder_films()) for facts in _read(engine, films)]


def read_place(engine: Engine, place: FilmPlace) -> PlaceFacts | None:
    """Read one place; None if it has no video."""
    return next(iter(_read(engine, films_of(place))), None)


def _read(engine: Engine, films: Select[Any]) -> list[PlaceFacts]:
    found = films.subquery("films")
    place = tuple(found.c[name] for name in FilmPlace._fields)
    clocked = case((found.c.start_at.is_not(None), 1))
    counts = (func.count(), func.count(clocked), func.max(found.c.base_s), func.max(found.c.time_zone))
    with reading(engine) as connection:
        rows = connection.execute(select(*place, *counts).group_by(*place))
        return [PlaceFacts(FilmPlace(*row[:3]), *row[3:]) for row in rows]
