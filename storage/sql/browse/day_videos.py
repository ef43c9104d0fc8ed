"""The videos of a place on one day, or without a clock, each with what was seen in it. Read only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, Text, bindparam, column, func, select, table, text

from storage.sql.browse.cameras import FILM, FilmPlace, films_of
from storage.sql.browse.presence_days import (
    DAY_S,
    film_days,
    films_near,
    local_s,
    number_of,
    seen_s,
    shown_pose,
)
from storage.sql.database import reading
from storage.sql.tables import analyses, pose_seconds, recording_videos, recordings, shown_analysis, videos

VIDEO_NAMES = table("video_names", column("video_id"), column("key", Text), column("gone_at"))
EVENTS = text(
    "SELECT recording_id, video_id, count(*) FROM events WHERE recording_id IN :recordings"
    " GROUP BY recording_id, video_id"
).bindparams(bindparam("recordings", expanding=True))


class PlacedFilm(NamedTuple):
    """A video of a place.

    name: as in the views; gone_at: time since which no archive lists it; None while one does
    local_s: begin and end, seconds since 1970 on a clock at the camera (UTC without a time zone); None without a clock
    recording_id: None in videos that no batch has arranged yet
    """

    video_id: int
    sha256: str
    name: str
    gone_at: datetime | str | None
    recording_id: int | None
    local_from_s: float | None
    local_to_s: float | None
    duration_s: float


@dataclass(frozen=True)
class FilmFindings:
    """Findings in a video. seen_s: with somebody in view, on the day that was asked for; None without a pose model

    still_frame: a frame with most people, else the first one
    tracks: number of people who were followed; None before an analysis
    """

    film: PlacedFilm
    seen_s: float | None = None
    most_people: int = 0
    still_frame: int = 0
    tracks: int | None = None
    events: int = 0


def read_day(engine: Engine, place: FilmPlace, day: date, most: int, skip: int = 0) -> tuple[list[FilmFindings], int]:
    """Return the videos that overlap a local day in the order of time, at most this number, and the number of all."""
    with reading(engine) as connection:
        longest_s = connection.execute(select(func.max(videos.c.duration_s))).scalar() or 0.0
        films = films_near(films_of(place), day, day, longest_s)
        begins, ends = film_days(films)
        overlapping = (begins <= number_of(day)) & (ends >= number_of(day))
        listed = _listed(films, most, skip).where(overlapping).order_by(films.c.base_s, "key", films.c.video_id)
        return _with_findings(connection, listed, day)


def read_without_clock(engine: Engine, place: FilmPlace, most: int, skip: int = 0) -> tuple[list[FilmFindings], int]:
    """Return the videos of a place whose time is not known, by name, at most this number, and the number of all."""
    films = films_of(place).where(recording_videos.c.start_at.is_(None)).cte("films")
    with reading(engine) as connection:
        return _with_findings(connection, _listed(films, most, skip).order_by("key", films.c.video_id), None)


def _listed(films: Any, most: int, skip: int) -> Select[Any]:
    """Select the columns of PlacedFilm, and the number of all rows."""
    key = func.coalesce(VIDEO_NAMES.c.key, videos.c.sha256).label("key")
    where = (films.c.recording_id, films.c.base_s, local_s(films, films.c.duration_s), films.c.duration_s)
    return (
        select(films.c.video_id, videos.c.sha256, key, VIDEO_NAMES.c.gone_at, *where, func.count().over())
        .join_from(films, videos, videos.c.video_id == films.c.video_id)
        .outerjoin(VIDEO_NAMES, VIDEO_NAMES.c.video_id == films.c.video_id)
        .limit(most)
        .offset(skip)
    )


def _with_findings(connection: Connection, listed: Select[Any], day: date | None) -> tuple[list[FilmFindings], int]:
    rows = connection.execute(listed).all()
    films = [PlacedFilm(*row[:-1]) for row in rows]
    ids = sorted({film.video_id for film in films})
    seen, peaks = _seen(connection, films, day), _peaks(connection, ids)
    tracks = _tracks(connection, ids)
    events = _events(connection, films)
    posed = shown_pose(connection) is not None
    found = [
        FilmFindings(
            film,
            seen.get((film.video_id, film.recording_id), 0.0) if posed else None,
            *peaks.get(film.video_id, (0, 0)),
            tracks.get((film.recording_id, film.video_id)),
            events.get((film.recording_id, film.video_id), 0),
        )
        for film in films
    ]
    return found, rows[0][-1] if rows else 0


def _seen(connection: Connection, films: Sequence[PlacedFilm], day: date | None) -> dict[tuple[int, int | None], float]:
    """Map (video_id, recording_id) to the time with somebody in view; day: None = in the whole video"""
    pose = shown_pose(connection)
    if pose is None or not films:
        return {}
    places = _film_rows([film.video_id for film in films]).cte("films")
    mine = (pose_seconds.c.video_id == places.c.video_id) & (pose_seconds.c.model_version_id == pose.model_version_id)
    key = (places.c.video_id, places.c.recording_id)
    summed = select(*key, func.sum(seen_s(places, pose))).join_from(places, pose_seconds, mine).group_by(*key)
    if day is not None:
        at_s = local_s(places, pose_seconds.c.first_s)
        summed = summed.where(at_s >= number_of(day) * DAY_S, at_s < (number_of(day) + 1) * DAY_S)
    return {(row[0], row[1]): row[2] for row in connection.execute(summed)}


def _film_rows(video_ids: Sequence[int]) -> Select[Any]:
    return (
        select(*FILM)
        .select_from(videos)
        .outerjoin(recording_videos, recording_videos.c.video_id == videos.c.video_id)
        .outerjoin(recordings, recordings.c.recording_id == recording_videos.c.recording_id)
        .where(videos.c.video_id.in_(video_ids))
    )


def _peaks(connection: Connection, video_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Map video_id to the most people in one frame, and a frame of that second."""
    pose = shown_pose(connection)
    if pose is None or not video_ids:
        return {}
    second = pose_seconds.c
    order = (second.most_people.desc(), second.frames_seen.desc(), second.frame)
    place = func.row_number().over(partition_by=second.video_id, order_by=order).label("place")
    ranked = select(second.video_id, second.most_people, second.frame, place).where(
        second.video_id.in_(video_ids), second.model_version_id == pose.model_version_id
    )
    first = ranked.subquery()
    rows = connection.execute(select(first.c.video_id, first.c.most_people, first.c.frame).where(first.c.place == 1))
    return {row[0]: (row[1], row[2]) for row in rows}


def _tracks(connection: Connection, video_ids: Sequence[int]) -> dict[tuple[int | None, int], int]:
    """Map (recording_id, video_id) to the number of tracks of the shown analysis."""
    pose = shown_pose(connection)
    if pose is None or not video_ids:
        return {}
    rows = connection.execute(
        select(analyses.c.recording_id, analyses.c.video_id, analyses.c.tracks).where(
            analyses.c.video_id.in_(video_ids),
            analyses.c.model_version_id == pose.model_version_id,
            analyses.c.analysis_version_id == select(shown_analysis.c.analysis_version_id).scalar_subquery(),
            analyses.c.status == "done",
        )
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _events(connection: Connection, films: Sequence[PlacedFilm]) -> dict[tuple[int | None, int], int]:
    """Map (recording_id, video_id) to the number of shown events that begin in the video."""
    wanted = sorted({film.recording_id for film in films if film.recording_id is not None})
    if not wanted:
        return {}
    return {(row[0], row[1]): row[2] for row in connection.execute(EVENTS, {"recordings": wanted})}
