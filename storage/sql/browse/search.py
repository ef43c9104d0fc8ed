"""Videos, cameras and recordings by name. Read only.

Only the names of files are searched, never rows of results. The database narrows them down by one part of the text;
what decides is a comparison of the words here, as the databases do not agree on letters beyond ASCII.
"""

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, or_, select, tuple_

from storage.sql.browse.cameras import BASE_S
from storage.sql.browse.presence_days import FARTHEST_ZONE, number_of, whole_days
from storage.sql.database import reading
from storage.sql.tables import archive_files, recording_videos, recordings, videos

MOST_CHARACTERS = 200  # of a text that is searched for
FEWEST_SHA_DIGITS = 6
NAMES_AT_ONCE = 2000
MOST_NAMES = 100_000  # that the database cannot rule out, and which are compared here
LARGEST_ID = 2**31 - 1
_SHA_START = re.compile(f"[0-9a-f]{{{FEWEST_SHA_DIGITS},64}}")
_ASCII_PART = re.compile("[!-~]+")
_MARKED = re.compile(".[\u0300-\u036f]+")  # a letter with marks that has no character of its own
_Found = TypeVar("_Found")


class FoundFile(NamedTuple):
    """A file of an archive. sha256, duration_s: of its video; reason: of its quarantine, if it is no usable video

    gone_at: time since which its archive does not list it; None while it does
    """

    archive: str
    key: str
    sha256: str | None
    duration_s: float | None
    camera: str | None
    start_at: datetime | None
    time_zone: str | None
    gone_at: datetime | None
    reason: str | None


class FoundRecording(NamedTuple):
    """A recording. local_s: its begin on a clock at the camera, seconds since 1970; None without a clock"""

    recording_id: int
    camera: str | None
    local_s: float | None
    time_zone: str | None


class SearchResult(NamedTuple, Generic[_Found]):
    """The first findings. more: True if there may be others"""

    rows: list[_Found]
    more: bool


class Wanted(NamedTuple):
    """Words to search for, folded. A name must have all of them."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Wanted":
        """Read a user's text."""
        return cls(tuple(folded(text[:MOST_CHARACTERS].replace("\0", " ")).split()))

    def matches(self, name: str) -> bool:
        """Return whether a name has all words."""
        whole = folded(name)
        return all(word in whole for word in self.words)

    @property
    def ascii_parts(self) -> list[str]:
        """Parts of the words whose case both databases ignore."""
        return sorted({part for word in self.words for part in _ASCII_PART.findall(_MARKED.sub(" ", word))})


def folded(text: str) -> str:
    """Return a text for comparisons that ignore case and how letters with marks are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def find_files(engine: Engine, wanted: Wanted, most: int) -> SearchResult[FoundFile]:
    """Return the first files by archive and name whose name has all words."""
    found: list[FoundFile] = []
    looked_at, after = 0, None
    with reading(engine) as connection:
        while wanted.words and looked_at < MOST_NAMES:
            files = _files_after(connection, wanted, after)
            found += [file for file in files if wanted.matches(file.key)]
            looked_at += len(files)
            if len(found) > most:
                return SearchResult(found[:most], True)
            if len(files) < NAMES_AT_ONCE:
                return SearchResult(found, False)
            after = (files[-1].archive, files[-1].key)
    return SearchResult(found, bool(wanted.words))


def _files_after(connection: Connection, wanted: Wanted, after: tuple[str, str] | None) -> list[FoundFile]:
    file = archive_files.c
    named = _files().where(*(_contains(connection, file.key, part) for part in wanted.ascii_parts))
    if after is not None:
        named = named.where(tuple_(file.archive, file.key) > after)
    return [FoundFile(*row) for row in connection.execute(named.order_by(file.archive, file.key).limit(NAMES_AT_ONCE))]


def _files() -> Select[Any]:
    columns = (
        videos.c[name] if name in ("sha256", "duration_s") else archive_files.c[name] for name in FoundFile._fields
    )
    return select(*columns).outerjoin_from(archive_files, videos, videos.c.video_id == archive_files.c.video_id)


def _contains(connection: Connection, text: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Return a condition that ignores the case of ASCII letters, and no others: the languages of servers differ."""
    if connection.dialect.name == "sqlite":
        return text.like(f"%{_escaped(part)}%", escape="\\")
    return text.collate("C").ilike(f"%{_escaped(part)}%", escape="\\")


def _escaped(part: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", part)


def find_by_sha256(engine: Engine, wanted: Wanted, most: int) -> SearchResult[FoundFile]:
    """Return the files of videos whose sha256 begins with the only word."""
    start = wanted.words[0] if len(wanted.words) == 1 else ""
    if not _SHA_START.fullmatch(start):
        return SearchResult([], False)
    mine = (videos.c.sha256 >= start) & (videos.c.sha256 < f"{start}g")
    with reading(engine) as connection:
        rows = connection.execute(_files().where(mine).order_by(videos.c.sha256, archive_files.c.key).limit(most + 1))
        found = [FoundFile(*row) for row in rows]
    return SearchResult(found[:most], len(found) > most)


def find_cameras(engine: Engine, wanted: Wanted, most: int) -> SearchResult[str]:
    """Return the cameras whose name has all words."""
    if not wanted.words:
        return SearchResult([], False)
    with reading(engine) as connection:
        names = connection.execute(select(recordings.c.camera).distinct().where(recordings.c.camera.is_not(None)))
        found = sorted(name for name in names.scalars() if name and wanted.matches(name))
    return SearchResult(found[:most], len(found) > most)


def find_recordings(engine: Engine, wanted: Wanted, most: int) -> SearchResult[FoundRecording]:
    """Return recordings by number or by the day on which they begin, such as 2026-11-24. Other words must be in the
    camera's name."""
    days = [day for day in map(_day, wanted.words) if day is not None]
    numbers = [int(word) for word in wanted.words if word.isascii() and word.isdigit() and len(word) <= 10]
    is_wanted = [_begins_on(day) for day in days]
    if len(wanted.words) == 1:
        is_wanted += [recordings.c.recording_id == number for number in numbers if number <= LARGEST_ID]
    if not is_wanted:
        return SearchResult([], False)
    rest = Wanted(tuple(word for word in wanted.words if _day(word) is None and word not in map(str, numbers)))
    with reading(engine) as connection:
        rows = connection.execute(_recordings().where(or_(*is_wanted)).limit(MOST_NAMES))
        found = [each for each in (FoundRecording(*row) for row in rows) if rest.matches(each.camera or "")]
    return SearchResult(found[:most], len(found) > most)


def _recordings() -> Select[Any]:
    first = (recording_videos.c.recording_id == recordings.c.recording_id) & (recording_videos.c.position == 0)
    columns = (recordings.c.recording_id, recordings.c.camera, BASE_S, recordings.c.time_zone)
    return (
        select(*columns)
        .join_from(recordings, recording_videos, first)
        .order_by(recordings.c.start_at, recordings.c.recording_id)
    )


def _day(word: str) -> date | None:
    try:
        return date.fromisoformat(word) if len(word) == 10 else None
    except ValueError:
        return None


def _begins_on(day: date) -> ColumnElement[bool]:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if not 1900 < day.year < 9000:
        return recordings.c.recording_id == -1
    near = recordings.c.start_at.between(begin - FARTHEST_ZONE, begin + timedelta(days=1) + FARTHEST_ZONE)
    return near & (whole_days(BASE_S) == number_of(day))
