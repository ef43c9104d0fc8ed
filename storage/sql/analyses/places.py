"""The columns of archive_files that say where and when a file was taken."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, bindparam, select, update

from storage.sql.catalogue import creation_columns
from storage.sql.database import reading, storable, writing
from storage.sql.tables import archive_files, videos

ROWS_AT_ONCE = 5000  # in one transaction


class StoredPlace(NamedTuple):
    """Camera and first frame's time of a file. clock: source of the time; no_clock: reason where there is none"""

    camera: str | None
    start_at: datetime | None
    time_zone: str | None
    clock: str | None
    no_clock: str | None


class ClockFacts(NamedTuple):
    """Facts about a file of an archive that decide its clock. duration_s and the rest: None or False without a video"""

    archive: str
    key: str
    video_id: int | None
    duration_s: float | None
    creation_time: datetime | None
    creation_time_read: bool


def read_places(engine: Engine, archive: str | None = None) -> list[tuple[ClockFacts, StoredPlace]]:
    """Read all files of an archive, or of every one, with the places that are stored for them."""
    facts = (
        archive_files.c.archive,
        archive_files.c.key,
        archive_files.c.video_id,
        videos.c.duration_s,
        videos.c.creation_time,
        videos.c.creation_time_read,
    )
    stored = tuple(archive_files.c[name] for name in StoredPlace._fields)
    statement = select(*facts, *stored).outerjoin_from(
        archive_files, videos, videos.c.video_id == archive_files.c.video_id
    )
    if archive is not None:
        statement = statement.where(archive_files.c.archive == archive)
    with reading(engine) as connection:
        return [_split(row) for row in connection.execute(statement.order_by(*facts[:2]))]


def _split(row: Row[tuple[object, ...]]) -> tuple[ClockFacts, StoredPlace]:
    values = tuple(row)
    known = len(ClockFacts._fields)
    facts = ClockFacts(*values[:known])
    return facts._replace(creation_time_read=bool(facts.creation_time_read)), StoredPlace(*values[known:])


def write_places(engine: Engine, places: Sequence[tuple[str, str, StoredPlace]]) -> None:
    """Store the places of files, given as (archive, key, place)."""
    mine = (archive_files.c.archive == bindparam("of_archive")) & (archive_files.c.key == bindparam("of_key"))
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in StoredPlace._fields}
    for first in range(0, len(places), ROWS_AT_ONCE):
        rows = [
            {"of_archive": archive, "of_key": key} | _storable(place)
            for archive, key, place in places[first : first + ROWS_AT_ONCE]
        ]
        with writing(engine) as connection:
            connection.execute(update(archive_files).where(mine).values(values), rows)


def _storable(place: StoredPlace) -> dict[str, object]:
    values = place._asdict().items()
    return {f"new_{name}": storable(value) if isinstance(value, str) else value for name, value in values}


def store_creation_time(engine: Engine, video_id: int, created_s: float | None) -> None:
    """Record the creation time that a video's container claims, or that it claims none."""
    mine = update(videos).where(videos.c.video_id == video_id)
    with writing(engine) as connection:
        connection.execute(mine.values(creation_columns(created_s)))
