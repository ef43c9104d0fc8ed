"""Rows of motion in the order of frames, each with the pose that it is of, and the processed frames. Read only."""

import json
import sqlite3
from typing import NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from models.types import KEYPOINTS, Poses
from storage.rows import MOST_PEOPLE_PER_FRAME
from storage.sql.analyses.pose_chunks import read_frames
from storage.sql.database import reading
from storage.sql.tables import motion, pose_tracks, segments
from storage.track_rows import MOTION_VALUES

_COLUMNS = ("track", "frame", "t_s", "filled", *MOTION_VALUES)
Spans = NDArray[np.int64]  # (tracks, 3): track, its first and its last frame


class MotionChunk(NamedTuple):
    """Rows of motion, ordered by (frame, track). NaN = not known.

    track, frame: (n,) int64, of the video; t_s: (n,) seconds of the video; filled: (n,) bool
    motion: (n, 15) in the order of MOTION_VALUES
    score: (n,); keypoints: (n, 17, 2) pixels; keypoint_scores: (n, 17): all NaN where they were not asked for
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    t_s: NDArray[np.float64]
    filled: NDArray[np.bool_]
    motion: NDArray[np.float64]
    score: NDArray[np.float64]
    keypoints: NDArray[np.float64]
    keypoint_scores: NDArray[np.float64]


class MotionSource(NamedTuple):
    """The analysis of a video."""

    analysis_id: int
    video_id: int
    model_version_id: int


def track_spans(engine: Engine, analysis_id: int) -> Spans:
    """Return the frames in which each track has rows of motion. Reads the whole index of the analysis."""
    frame = motion.c.frame
    wanted = select(motion.c.track, func.min(frame), func.max(frame)).where(motion.c.analysis_id == analysis_id)
    with reading(engine) as connection:
        rows = [tuple(row) for row in connection.execute(wanted.group_by(motion.c.track))]
    return np.array(sorted(rows), np.int64).reshape(-1, 3)


def read_motion(
    engine: Engine, source: MotionSource, spans: Spans, start_frame: int, stop_frame: int, with_poses: bool
) -> MotionChunk:
    """Return the rows of frames [start_frame, stop_frame). with_poses: also the score and the keypoints"""
    here = spans[(spans[:, 1] < stop_frame) & (spans[:, 2] >= start_frame), 0].tolist()
    with reading(engine) as connection:
        rows = _read(connection, source.analysis_id, here, start_frame, stop_frame)
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]
    track, frame = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    poses = np.full((len(rows), 1 + 3 * KEYPOINTS), np.nan)
    if with_poses and len(rows):
        _add_poses(engine, source, (start_frame, stop_frame), _place(frame, track), poses)
    keypoints = poses[:, 1:].reshape(-1, KEYPOINTS, 3)
    return MotionChunk(
        track, frame, rows[:, 2], rows[:, 3] > 0, rows[:, 4:], poses[:, 0], keypoints[:, :, :2], keypoints[:, :, 2]
    )


def _read(
    connection: Connection, analysis_id: int, tracks: list[int], start_frame: int, stop_frame: int
) -> NDArray[np.float64]:
    """Read the rows of these tracks, a few pages next to each other for each."""
    driver = connection.connection.driver_connection
    head = f"SELECT {', '.join(_COLUMNS)} FROM motion WHERE analysis_id = "  # noqa: S608 # our names
    of = (start_frame, stop_frame)
    rows: list[tuple[object, ...]] = []
    if isinstance(driver, sqlite3.Connection):
        for track in tracks:
            rows += driver.execute(head + "? AND track = ? AND frame >= ? AND frame < ?", (analysis_id, track, *of))
    elif isinstance(driver, psycopg.Connection):
        statement = head + "%s AND track = ANY(%s) AND frame >= %s AND frame < %s"
        with driver.cursor(binary=True) as cursor:
            rows += cursor.execute(statement.encode(), (analysis_id, tracks, *of))
    else:
        raise TypeError(f"The driver is {type(driver)}, not sqlite3 or psycopg.")
    return np.array(rows, np.float64).reshape(len(rows), len(_COLUMNS))  # None becomes NaN


def _add_poses(
    engine: Engine, source: MotionSource, frames: tuple[int, int], asked: NDArray[np.int64], into: NDArray[np.float64]
) -> None:
    """Write the score and the keypoints of the rows at these places. into: (n, 52)"""
    poses = read_frames(engine, source.video_id, source.model_version_id, *frames)
    wanted = (
        select(pose_tracks.c.frame, pose_tracks.c.person, pose_tracks.c.track)
        .where(pose_tracks.c.analysis_id == source.analysis_id)
        .where(pose_tracks.c.frame >= frames[0], pose_tracks.c.frame < frames[1])
    )
    with reading(engine) as connection:
        tracked = np.array([tuple(row) for row in connection.execute(wanted)], np.int64).reshape(-1, 3)
    of_pose, found = _matches(tracked[:, 0] * MOST_PEOPLE_PER_FRAME + tracked[:, 1], _order_of(poses))
    of_row, seen = _matches(_place(tracked[:, 0], tracked[:, 2]), asked)
    both = found & seen
    rows, sources = of_row[both], of_pose[both]
    into[rows, 0] = poses.scores[sources]
    values = np.concatenate([poses.keypoints, poses.keypoint_scores[:, :, None]], 2)
    into[rows, 1:] = values[sources].reshape(len(sources), -1)


def _order_of(poses: Poses) -> NDArray[np.int64]:
    return np.asarray(poses.frame * MOST_PEOPLE_PER_FRAME + poses.person.astype(np.int64), np.int64)


def _place(frame: NDArray[np.int64], track: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of rows as one number."""
    return frame << 32 | track


def _matches(wanted: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the place of each number among ascending known ones, and whether it is there."""
    at = np.searchsorted(known, wanted)
    inside = at < len(known)
    at[~inside] = 0
    return at, inside & (known[at] == wanted) if len(known) else inside


def processed_frames(engine: Engine, source: MotionSource, start_frame: int, stop_frame: int) -> NDArray[np.int64]:
    """Return the frames of done segments in [start_frame, stop_frame), without those that could not be decoded."""
    mine = (segments.c.video_id == source.video_id) & (segments.c.model_version_id == source.model_version_id)
    inside = (segments.c.start_frame < stop_frame) & (segments.c.stop_frame > start_frame)
    wanted = select(
        segments.c.start_frame, segments.c.stop_frame, segments.c.undecodable, segments.c.undecodable_frames
    )
    found = [np.empty(0, np.int64)]
    with reading(engine) as connection:
        rows = connection.execute(
            wanted.where(mine, inside, segments.c.status == "done").order_by(segments.c.start_frame)
        )
        for row in rows:
            frames = np.arange(max(row.start_frame, start_frame), min(row.stop_frame, stop_frame))
            lost = json.loads(row.undecodable) if row.undecodable_frames else []
            found.append(np.setdiff1d(frames, lost))
    return np.concatenate(found).astype(np.int64)
