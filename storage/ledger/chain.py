"""Analyses along a recording: each continues the one of the video before it. Within the caller's transaction.

`made_from` is a hash of all that an analysis depends on: its segments, its place in the recording, and the `made_from`
of the analysis that it continues. So an analysis whose predecessor has changed is recognised by its own row and that
of its predecessor.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, select, update

from storage.sql.analyses import track_records
from storage.sql.tables import analyses, motion, pose_tracks, recording_videos, recordings, tracks, videos
from storage.track_rows import MotionRecords

# Checkpoints that are kept: of the last analyses before the newest one, as files may arrive in another order, and of
# every so many earlier ones. From a removed one back to the nearest kept one, analyses are made again.
NEWEST_KEPT, KEPT_EVERY = 4, 16

DROPPED: dict[str, Any] = {"status": None, "owner": None, "lease_until": None}


class PlaceInRecording(NamedTuple):
    """Place of a video in a recording. start_frame, start_s: of its first frame, on the recording's clock"""

    recording_id: int
    position: int
    start_frame: int
    start_s: float


class Predecessor(NamedTuple):
    """The analysis that another one continues. checkpoint: None = it has none; decided_frame: of the recording"""

    analysis_id: int
    made_from: str
    checkpoint: bytes | None
    decided_frame: int


class EarlierPart(NamedTuple):
    """An analysis whose last rows the next one may replace. Frames [start_frame, stop_frame) of the recording"""

    analysis_id: int
    start_frame: int
    stop_frame: int
    start_s: float


class AnalysisRows(NamedTuple):
    """Rows of an analysis: arrays of POSE_TRACKS and TRACKS, and motion."""

    pose_tracks: NDArray[Any]
    tracks: NDArray[Any]
    motion: MotionRecords


class Tail(NamedTuple):
    """The last rows of an earlier analysis, now that the recording goes on.

    pose_frame, motion_frame: frames of the video from which the former rows are replaced
    open_tracks: tracks that were not summed up before pose_frame
    """

    part: EarlierPart
    pose_frame: int
    motion_frame: int
    open_tracks: Sequence[int]
    rows: AnalysisRows


def fingerprint(done: Iterable[Row[Any]]) -> str:
    """Hash the done segments of a video in the order of frames: equal for equal rows."""
    lines = (f"{row.start_frame} {row.stop_frame} {row.attempt} {row.people} {row.result_sha256}\n" for row in done)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def made_from(segments: str, start_frame: int, start_s: float, former: str) -> str:
    """Hash what an analysis depends on. segments: their fingerprint; former: made_from of its predecessor, or empty

    It begins with the fingerprint, so that analyses of the same rows in two recordings can be told.
    """
    place = f"{segments} {start_frame} {start_s!r} {former}"
    return f"{segments[:32]}{hashlib.sha256(place.encode()).hexdigest()[:32]}"


def contains(segments: str) -> ColumnElement[bool]:
    """Match the analyses of segments with this fingerprint."""
    return func.substr(analyses.c.made_from, 1, 32) == segments[:32]


def lock_recording(connection: Connection, recording_id: int) -> None:
    """Let other processes wait that would change the chain of this recording's analyses."""
    mine = select(recordings.c.recording_id).where(recordings.c.recording_id == recording_id)
    connection.execute(mine.with_for_update(key_share=True))


def of_recording(
    recording_id: int | ColumnElement[int], model_version_id: int, analysis_version_id: int
) -> ColumnElement[bool]:
    """Match the analyses of a chain, in a join with recording_videos."""
    return and_(
        recording_videos.c.recording_id == recording_id,
        analyses.c.recording_id == recording_id,
        analyses.c.video_id == recording_videos.c.video_id,
        analyses.c.model_version_id == model_version_id,
        analyses.c.analysis_version_id == analysis_version_id,
    )


def predecessor(connection: Connection, chain: ColumnElement[bool], position: int) -> Predecessor | None:
    """Return the last analysis that is done before a position of a chain."""
    columns = (analyses.c.analysis_id, analyses.c.made_from, analyses.c.checkpoint)
    decided = recording_videos.c.start_frame + func.coalesce(analyses.c.decided_frame, 0)
    found = (
        select(*columns, decided)
        .where(chain, analyses.c.status == "done", recording_videos.c.position < position)
        .order_by(recording_videos.c.position.desc())
        .limit(1)
    )
    row = connection.execute(found).first()
    return None if row is None else Predecessor(*row)


def earlier_parts(
    connection: Connection, chain: ColumnElement[bool], position: int, decided_frame: int
) -> list[EarlierPart]:
    """Return the analyses before a position that have rows of this frame of the recording or later ones, ascending."""
    start, stop = recording_videos.c.start_frame, recording_videos.c.start_frame + videos.c.frames
    before = (recording_videos.c.position < position) & (stop > decided_frame)
    found = (
        select(analyses.c.analysis_id, start, stop, recording_videos.c.start_s)
        .where(chain, videos.c.video_id == analyses.c.video_id, analyses.c.status == "done", before)
        .order_by(start)
    )
    return [EarlierPart(*row) for row in connection.execute(found)]


def is_made_before(connection: Connection, chain: ColumnElement[bool], position: int, now: ColumnElement[Any]) -> bool:
    """Return whether a process makes an analysis before a position of a chain."""
    running = (analyses.c.status == "running") & (analyses.c.lease_until >= now)
    found = select(analyses.c.analysis_id).where(chain, running, recording_videos.c.position < position).limit(1)
    return connection.execute(found).first() is not None


def has_later(connection: Connection, chain: ColumnElement[bool], position: int) -> bool:
    """Return whether an analysis behind a position of a chain is done."""
    later = (analyses.c.status == "done") & (recording_videos.c.position > position)
    return connection.execute(select(analyses.c.analysis_id).where(chain, later).limit(1)).first() is not None


def drop_later(connection: Connection, chain: ColumnElement[bool], position: int) -> list[int]:
    """Drop the analyses behind a position of a chain, also those that are being made. Returns their videos."""
    later = analyses.c.status.is_not(None) & (recording_videos.c.position > position)
    found = connection.execute(select(analyses.c.analysis_id, analyses.c.video_id).where(chain, later)).all()
    for row in found:
        connection.execute(update(analyses).where(analyses.c.analysis_id == row.analysis_id).values(DROPPED))
    return [row.video_id for row in found]


def drop_uncontinuable(connection: Connection, chain: ColumnElement[bool], position: int, former_id: int) -> list[int]:
    """Drop the analysis from which the one at a position cannot continue, and those that it depends on.

    These are the ones before it without a checkpoint, so that all are made again in one go.
    former_id: the analysis before the position. Returns the videos of the dropped ones.
    """
    before = (analyses.c.status == "done") & (recording_videos.c.position < position)
    kept = before & analyses.c.checkpoint.is_not(None) & (analyses.c.analysis_id != former_id)
    last_kept = connection.execute(select(func.max(recording_videos.c.position)).where(chain, kept)).scalar()
    dropped = before if last_kept is None else before & (recording_videos.c.position > last_kept)
    found = connection.execute(select(analyses.c.analysis_id, analyses.c.video_id).where(chain, dropped)).all()
    for row in found:
        connection.execute(update(analyses).where(analyses.c.analysis_id == row.analysis_id).values(DROPPED))
    return [row.video_id for row in found]


def prune_checkpoints(connection: Connection, chain: ColumnElement[bool], position: int) -> None:
    """Remove checkpoints far before a position of a chain, except every KEPT_EVERY-th.

    A person in view takes 50 kB of each. Only an analysis that begins in the middle of the recording needs them.
    """
    old = (recording_videos.c.position < position - NEWEST_KEPT) & (recording_videos.c.position % KEPT_EVERY != 0)
    pruned = select(analyses.c.analysis_id).where(chain, analyses.c.status == "done", old)
    found = connection.execute(pruned.where(analyses.c.checkpoint.is_not(None))).scalars().all()
    for start in range(0, len(found), 500):
        some = analyses.c.analysis_id.in_(found[start : start + 500])
        connection.execute(update(analyses).where(some).values(checkpoint=None))


def replace_tails(connection: Connection, recording_id: int, tails: Sequence[Tail]) -> None:
    """Replace the last rows of earlier analyses. In motion, rows are found by their tracks, as its key is."""
    moved: set[int] = set()
    for tail in tails:
        moved.update(tail.open_tracks, tail.rows.motion.head["track"].tolist(), _last_tracks(connection, tail))
    for tail in tails:
        _remove(connection, tail, moved)
        add_rows(connection, tail.part.analysis_id, recording_id, tail.rows)
        mine = tracks.c.analysis_id == tail.part.analysis_id
        total = select(func.count()).select_from(tracks).where(mine).scalar_subquery()
        changed = update(analyses).where(analyses.c.analysis_id == tail.part.analysis_id)
        connection.execute(changed.values(tracks=total))


def _last_tracks(connection: Connection, tail: Tail) -> list[int]:
    """Return the tracks that were seen in the rows to be replaced, or near them."""
    first = min(tail.pose_frame, tail.motion_frame)
    mine = (tracks.c.analysis_id == tail.part.analysis_id) & (tracks.c.last_frame >= first)
    return list(connection.execute(select(tracks.c.track).where(mine)).scalars())


def _remove(connection: Connection, tail: Tail, moved: set[int]) -> None:
    analysis_id = tail.part.analysis_id
    poses = (pose_tracks.c.analysis_id == analysis_id) & (pose_tracks.c.frame >= tail.pose_frame)
    connection.execute(delete(pose_tracks).where(poses))
    of_tail = tracks.c.track.in_(tail.open_tracks) | (tracks.c.last_frame >= tail.pose_frame)
    connection.execute(delete(tracks).where(tracks.c.analysis_id == analysis_id, of_tail))
    rows = (motion.c.analysis_id == analysis_id) & (motion.c.frame >= tail.motion_frame)
    for some in np.array_split(np.array(sorted(moved), int), len(moved) // 500 + 1):
        connection.execute(delete(motion).where(rows, motion.c.track.in_(some.tolist())))


def add_rows(connection: Connection, analysis_id: int, recording_id: int, rows: AnalysisRows) -> None:
    """Add rows to an analysis."""
    track_records.add_pose_tracks(connection, analysis_id, rows.pose_tracks)
    track_records.add_motion(connection, analysis_id, rows.motion)
    track_records.add_tracks(connection, analysis_id, recording_id, rows.tracks)
