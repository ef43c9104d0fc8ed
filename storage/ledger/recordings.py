"""Recordings: the videos of a camera that follow each other, as they are stored. The plan is made in tasks.analysis."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, exists, insert, select, text, update

from storage.ledger.chain import DROPPED, lock_recording
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.events.runs import delete_runs_of_clock
from storage.sql.tables import analyses, archive_files, model_versions, recording_videos, recordings, segments, videos

ROWS_AT_ONCE = 10_000
IDS_AT_ONCE = 500  # in one IN (…)


class FilmedVideo(NamedTuple):
    """A video with one file that contains it.

    size: width and height as shown, pixels
    camera, start_at, time_zone: of the file, None = not known; all None for a video without a file
    gone_at: time since which no archive lists the file
    """

    video_id: int
    sha256: str
    frames: int
    duration_s: float
    size: tuple[int, int]
    camera: str | None
    start_at: datetime | None
    time_zone: str | None
    gone_at: datetime | None


class RecordedVideo(NamedTuple):
    """A video in its recording.

    start_frame, start_s: of its first frame, in the recording; start_at: None without a clock
    utc_offset_s: local time minus UTC at its start; None without a time zone
    offset_changes_s, later_utc_offset_s: second of the video from which another offset holds; None: it never changes
    """

    video_id: int
    start_frame: int
    start_s: float
    start_at: datetime | None
    utc_offset_s: int | None
    offset_changes_s: float | None
    later_utc_offset_s: int | None

    @property
    def place(self) -> tuple[int, int, float]:
        """Return what the analysis of the video depends on."""
        return self.video_id, self.start_frame, self.start_s


class Recording(NamedTuple):
    """Videos of one camera in their order, at least one. camera, time_zone: None = not known"""

    camera: str | None
    time_zone: str | None
    videos: tuple[RecordedVideo, ...]


class Change(NamedTuple):
    """A recording as it shall be. recording_id: None for a new one; first: position of the first other video"""

    recording_id: int | None
    recording: Recording
    first: int


class Rearrangement(NamedTuple):
    """Changes that belong together, as videos go from one recording to another.

    removed: ids of recordings without videos afterwards
    video_ids: all videos of the recordings that change, before and after
    former: all recordings with one of these videos, as they were read
    """

    changes: tuple[Change, ...]
    removed: tuple[int, ...]
    video_ids: frozenset[int]
    former: dict[int, Recording]


class ArrangementChangedError(Exception):
    """Another process has arranged the same recordings meanwhile."""


def read_filmed(engine: Engine) -> Iterator[FilmedVideo]:
    """Yield every video that is not superseded, once for each of its files. Those of one video come together."""
    columns = (
        *(videos.c[name] for name in ("video_id", "sha256", "frames", "duration_s", "width", "height")),
        *(archive_files.c[name] for name in ("camera", "start_at", "time_zone", "gone_at")),
    )
    found = (
        select(*columns)
        .join(archive_files, archive_files.c.video_id == videos.c.video_id, isouter=True)
        .where(videos.c.superseded_by.is_(None))
        .order_by(videos.c.video_id)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    with reading(engine) as connection:
        for video_id, sha256, frames, duration_s, width, height, *place in connection.execute(found):
            yield FilmedVideo(video_id, sha256, frames, duration_s, (width, height), *place)


def read_recordings(engine: Engine) -> dict[int, Recording]:
    """Return all recordings, by their ids."""
    with reading(engine) as connection:
        return _read(connection)


def _read(connection: Connection, only: Sequence[int] | None = None) -> dict[int, Recording]:
    """Read recordings. only: their ids, None = all"""
    columns = (recording_videos.c[name] for name in RecordedVideo._fields)
    found = (
        select(recordings.c.recording_id, recordings.c.camera, recordings.c.time_zone, *columns)
        .join(recording_videos, recording_videos.c.recording_id == recordings.c.recording_id)
        .order_by(recordings.c.recording_id, recording_videos.c.position)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    if only is not None:
        found = found.where(recordings.c.recording_id.in_(only))
    read = {}
    for recording_id, rows in groupby(connection.execute(found), attrgetter("recording_id")):
        of_it = list(rows)
        camera, time_zone = of_it[0][1:3]
        read[recording_id] = Recording(camera, time_zone, tuple(RecordedVideo(*row[3:]) for row in of_it))
    return read


def store(engine: Engine, rearrangements: Sequence[Rearrangement]) -> None:
    """Store changes in one transaction, and drop the analyses of all videos whose place has changed.

    Raises ArrangementChangedError where another process has changed one of these recordings meanwhile.
    """
    with writing(engine) as connection:
        lock_arrangement(connection)
        for recording_id in sorted({recording_id for each in rearrangements for recording_id in each.former}):
            lock_recording(connection, recording_id)  # before any of its analyses, as those who complete one do
        for each in rearrangements:
            if _of_videos(connection, each.video_ids) != each.former:
                raise ArrangementChangedError
            for recording_id in each.removed:
                _cut(connection, recording_id, each.former[recording_id], 0)
            for change in each.changes:
                if change.recording_id is not None:
                    _cut(connection, change.recording_id, each.former[change.recording_id], change.first)
            for change in each.changes:
                _store(connection, change, each.former.get(change.recording_id or 0))


def lock_arrangement(connection: Connection) -> None:
    """Let other processes wait that would change recordings, until the end of the transaction."""
    if connection.dialect.name == "postgresql":  # on SQLite, one transaction writes at a time
        connection.execute(text("LOCK TABLE recordings IN SHARE ROW EXCLUSIVE MODE"))


def _of_videos(connection: Connection, video_ids: Iterable[int]) -> dict[int, Recording]:
    """Read all recordings that contain one of these videos."""
    found: set[int] = set()
    for some in _some(video_ids):
        mine = select(recording_videos.c.recording_id).where(recording_videos.c.video_id.in_(some))
        found.update(connection.execute(mine).scalars())
    return {one: each for some in _some(found) for one, each in _read(connection, some).items()}


def _cut(connection: Connection, recording_id: int, recording: Recording, first: int) -> None:
    """Remove the videos from a position on, so that each can go to its new place.

    The last rows before them were made knowing how the recording went on, so they are made again.
    """
    gone = [video.video_id for video in recording.videos[first:]]
    if not gone:
        return
    _drop_analyses(connection, recording_id, gone)
    if first:
        _ask_again(connection, [recording.videos[first - 1].video_id])
    later = recording_videos.c.position >= first
    connection.execute(delete(recording_videos).where(recording_videos.c.recording_id == recording_id, later))


def _drop_analyses(connection: Connection, recording_id: int, video_ids: Iterable[int]) -> None:
    """Drop the analyses of videos in this recording, also those that are being made."""
    for some in _some(video_ids):
        mine = (analyses.c.recording_id == recording_id) & analyses.c.video_id.in_(some)
        dropped = update(analyses).where(mine, analyses.c.status.is_not(None))
        connection.execute(dropped.values(DROPPED))


def _ask_again(connection: Connection, video_ids: Iterable[int]) -> None:
    """Mark all poses of these videos as not analysed."""
    of_poses = select(model_versions.c.model_version_id).where(model_versions.c.task == "pose")
    for some in _some(video_ids):
        theirs = segments.c.video_id.in_(some) & (segments.c.status == "done")
        marked = update(segments).where(theirs, segments.c.model_version_id.in_(of_poses))
        connection.execute(marked.where(~segments.c.awaits_analysis).values(awaits_analysis=True))


def _store(connection: Connection, change: Change, former: Recording | None) -> None:
    recording, first = change.recording, change.first
    about = {"camera": recording.camera, "time_zone": recording.time_zone, "start_at": recording.videos[0].start_at}
    recording_id = change.recording_id
    if recording_id is None:
        new = insert(recordings).values(**about, created_at=database_now()).returning(recordings.c.recording_id)
        recording_id = connection.execute(new).scalar_one()
    else:
        mine = recordings.c.recording_id == recording_id
        clock = select(recordings.c.start_at, recordings.c.time_zone).where(mine)
        if tuple(connection.execute(clock).one()) != (about["start_at"], about["time_zone"]):
            delete_runs_of_clock(connection, recording_id)
        connection.execute(update(recordings).where(mine).values(about))
    rows = [
        {"recording_id": recording_id, "position": position, **video._asdict()}
        for position, video in enumerate(recording.videos)
    ]
    for row, video in zip(rows[:first], former.videos if former else (), strict=False):
        if recording.videos[row["position"]] == video:
            continue  # else its clock has changed, and nothing more
        mine = (recording_videos.c.recording_id == recording_id) & (recording_videos.c.video_id == row["video_id"])
        connection.execute(update(recording_videos).where(mine).values(row))
    if rows[first:]:
        connection.execute(insert(recording_videos), rows[first:])
    _ask_again(connection, [row["video_id"] for row in rows[first:]])


def delete_empty_recordings(engine: Engine) -> None:
    """Delete the recordings that have lost their videos, when no analysis refers to them any more."""
    mine = recordings.c.recording_id
    filled = exists().where(recording_videos.c.recording_id == mine)
    used = exists().where(analyses.c.recording_id == mine)
    with reading(engine) as connection:
        empty = connection.execute(select(mine).where(~filled, ~used)).scalars().all()
    for some in _some(empty):
        with writing(engine) as connection:
            lock_arrangement(connection)
            connection.execute(delete(recordings).where(mine.in_(some), ~filled, ~used))


def _some(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Divide numbers into lists that fit into one statement."""
    listed = sorted(numbers)
    for first in range(0, len(listed), IDS_AT_ONCE):
        yield listed[first : first + IDS_AT_ONCE]
