"""Time with somebody in view, and numbers of videos, per place and local day. Read only.

A frame stands for the time until the next processed one. So the time of a stored second (`pose_seconds`) is that from
its first frame with somebody in it to the end of its last one, and never beyond the second. It belongs to the day in
which it begins.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Select,
    case,
    func,
    literal,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from storage.sql.browse.cameras import FilmPlace, camera_films, films_of, folder_films
from storage.sql.database import reading
from storage.sql.tables import model_versions, pose_seconds, recording_videos, shown_models, videos

DAY_S = 86400
LONG_AGO_DAYS = 1_000_000  # before the first year
EPOCH = date(1970, 1, 1)
FARTHEST_ZONE = timedelta(hours=26)  # more than the offset of any clock from UTC


class whole_days(FunctionElement[int]):
    """Number of whole days in a number of seconds, rounded down."""

    type = Integer()
    inherit_cache = True
    name = "whole_days"


@compiles(whole_days, "postgresql")
def _postgresql(element: whole_days, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"CAST(floor(({compiler.process(element.clauses, **kwargs)}) / {DAY_S}) AS integer)"


@compiles(whole_days, "sqlite")
def _sqlite(element: whole_days, compiler: SQLCompiler, **kwargs: Any) -> str:
    seconds = compiler.process(element.clauses, **kwargs)
    # CAST rounds to zero. Not every build has floor().
    return f"(CAST((({seconds}) + {DAY_S * LONG_AGO_DAYS}.0) / {DAY_S} AS integer) - {LONG_AGO_DAYS})"


class ShownPose(NamedTuple):
    """The pose model that the views show. step_s: least time between processed frames, 0 = every frame"""

    model_version_id: int
    step_s: float


class DaySums(NamedTuple):
    """Sums of a local day at a place. seen_s: with somebody in view; videos: those that overlap the day"""

    seen_s: float = 0.0
    videos: int = 0


Days = dict[FilmPlace, dict[date, DaySums]]


def shown_pose(connection: Connection) -> ShownPose | None:
    """Return the shown pose model; None while there is none."""
    shown = (
        select(model_versions.c.model_version_id, model_versions.c.frames_per_second)
        .join(shown_models, shown_models.c.model_version_id == model_versions.c.model_version_id)
        .where(shown_models.c.task == "pose")
    )
    row = connection.execute(shown).first()
    return ShownPose(row[0], 1 / row[1] if row[1] else 0.0) if row else None


def read_days(engine: Engine, first: date, last: date, place: FilmPlace | None = None) -> Days:
    """Return the sums of the days from `first` to `last`, of one place or of all. Days without videos are left out."""
    wanted = [films_of(place)] if place else [camera_films(), folder_films()]
    found: Days = defaultdict(dict)
    with reading(engine) as connection:
        pose = shown_pose(connection)
        longest_s = connection.execute(select(func.max(videos.c.duration_s))).scalar() or 0.0
        for films in wanted:
            near = films_near(films, first, last, longest_s)
            for at, day, number in _filmed(connection, near, first, last):
                before = found[at].get(day, DaySums())
                found[at][day] = before._replace(videos=before.videos + number)
            for at, day, seen_s in _seen(connection, near, pose, first, last) if pose else ():
                before = found[at].get(day, DaySums())
                found[at][day] = before._replace(seen_s=before.seen_s + seen_s)
    return dict(found)


def films_near(films: Select[Any], first: date, last: date, longest_s: float) -> CTE:
    """Return those of the films that may overlap these days of their own clock. longest_s: of any video

    Materialized: SQLite would otherwise calculate their times again for each second with somebody in view.
    """
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC) - FARTHEST_ZONE - timedelta(seconds=longest_s)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1) + FARTHEST_ZONE
    start_at = recording_videos.c.start_at
    return films.where(start_at >= begin, start_at < end).cte("films").prefix_with("MATERIALIZED")


def local_s(films: CTE, second: ColumnElement[float]) -> ColumnElement[float]:
    """Return a second of a film on a clock at its camera, seconds since 1970."""
    return films.c.base_s + second + case((second >= films.c.change_s, films.c.shift_s), else_=0)


def film_days(films: CTE) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the local days in which a film begins and ends, in days since 1970."""
    within_s = case((films.c.duration_s > 0.001, films.c.duration_s - 0.001), else_=0.0)
    return whole_days(films.c.base_s), whole_days(local_s(films, within_s))


def seen_s(films: CTE, pose: ShownPose) -> ColumnElement[float]:
    """Return the time with somebody in view of a row of pose_seconds."""
    if pose.step_s > 1:  # each row is of one frame
        return literal(pose.step_s)
    second = pose_seconds.c
    step_s = films.c.frame_s if not pose.step_s else _larger(films.c.frame_s, literal(pose.step_s))
    beyond = second.last_s + step_s > second.second + 1
    return case((beyond, second.second + 1.0), else_=second.last_s + step_s) - second.first_s


def _larger(one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    return case((one > other, one), else_=other)


def number_of(day: date) -> int:
    """Return the days since 1970."""
    return (day - EPOCH).days


def _filmed(connection: Connection, films: CTE, first: date, last: date) -> list[tuple[FilmPlace, date, int]]:
    begins, ends = film_days(films)
    place = tuple(films.c[name] for name in FilmPlace._fields)
    overlapping = (begins <= number_of(last)) & (ends >= number_of(first))
    counted = select(*place, begins, ends, func.count()).where(overlapping).group_by(*place, begins, ends)
    return [
        (FilmPlace(*row[:3]), EPOCH + timedelta(days=day), row[5])
        for row in connection.execute(counted)
        for day in range(max(row[3], number_of(first)), min(row[4], number_of(last)) + 1)
    ]


def _seen(
    connection: Connection, films: CTE, pose: ShownPose, first: date, last: date
) -> Iterator[tuple[FilmPlace, date, float]]:
    """Yield sums of days, of which some are of the same day."""
    begins, _ = film_days(films)
    within = begins.between(number_of(first), number_of(last))
    for statement in (_whole_films(films, pose).where(within), _divided_films(films, pose)):
        for row in connection.execute(statement):
            day = EPOCH + timedelta(days=row[3])
            if row[4] and first <= day <= last:
                yield FilmPlace(*row[:3]), day, row[4]


def _whole_films(films: CTE, pose: ShownPose) -> Select[Any]:
    """Select the sums of the films that lie within one day. Nearly all do, and their seconds need no day each."""
    mine = (pose_seconds.c.video_id == films.c.video_id) & (pose_seconds.c.model_version_id == pose.model_version_id)
    of_film = select(func.sum(seen_s(films, pose))).where(mine).correlate(films).scalar_subquery()
    place = tuple(films.c[name] for name in FilmPlace._fields)
    begins, ends = film_days(films)
    return select(*place, begins, func.sum(of_film)).where(begins == ends).group_by(*place, begins)


def _divided_films(films: CTE, pose: ShownPose) -> Select[Any]:
    """Select the sums per day of the other films."""
    mine = (pose_seconds.c.video_id == films.c.video_id) & (pose_seconds.c.model_version_id == pose.model_version_id)
    place = tuple(films.c[name] for name in FilmPlace._fields)
    begins, ends = film_days(films)
    day = whole_days(local_s(films, pose_seconds.c.first_s))
    summed = select(*place, day, func.sum(seen_s(films, pose))).join_from(films, pose_seconds, mine)
    return summed.where(begins != ends).group_by(*place, day)
