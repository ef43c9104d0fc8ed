"""The tracks of a video that the views show: of its first recording, if it lies in several. Read only."""

import hashlib

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Engine, func, select

from models.types import Poses
from storage.rows import MOST_PEOPLE_PER_FRAME
from storage.sql.database import reading
from storage.sql.tables import analyses, analysis_versions, pose_tracks, recording_videos, shown_analysis


def _shown(video_id: int, model_version_id: int) -> ColumnElement[bool]:
    """Match the shown analysis of a video, in a join with shown_analysis."""
    first = select(func.min(recording_videos.c.recording_id)).where(recording_videos.c.video_id == video_id)
    mine = (analyses.c.video_id == video_id) & (analyses.c.model_version_id == model_version_id)
    version = analyses.c.analysis_version_id == shown_analysis.c.analysis_version_id
    of_first = analyses.c.recording_id == first.scalar_subquery()
    return mine & version & of_first & (analyses.c.status == "done")


def analysis_identity(engine: Engine, video_id: int, model_version_id: int) -> str | None:
    """Return a name for the tracks of a video: another one for other poses or parameters; None without an analysis."""
    found = (
        select(analysis_versions.c.version_sha256, analyses.c.made_from, analyses.c.continued_by)
        .select_from(analyses.join(shown_analysis, _shown(video_id, model_version_id)))
        .join(analysis_versions, analysis_versions.c.analysis_version_id == analyses.c.analysis_version_id)
    )
    with reading(engine) as connection:
        row = connection.execute(found).first()
    if row is None:
        return None
    rows = hashlib.sha256(f"{row.made_from} {row.continued_by}".encode()).hexdigest()
    return f"{row.version_sha256[:8]}-{rows[:8]}"


def count_tracks(engine: Engine, video_id: int, model_version_id: int) -> int:
    """Count the tracks of a video; 0 without an analysis."""
    mine = select(analyses.c.tracks).select_from(analyses.join(shown_analysis, _shown(video_id, model_version_id)))
    with reading(engine) as connection:
        return connection.execute(mine).scalar() or 0


def tracks_of(engine: Engine, video_id: int, model_version_id: int, poses: Poses) -> NDArray[np.int32]:
    """Return the track of each row, (n,) int32; 0 = none. poses: rows of consecutive frames of the video"""
    mine = select(analyses.c.analysis_id).select_from(analyses.join(shown_analysis, _shown(video_id, model_version_id)))
    with reading(engine) as connection:
        analysis_id = connection.execute(mine).scalar()
    return tracks_in(engine, analysis_id, poses)


def tracks_in(engine: Engine, analysis_id: int | None, poses: Poses) -> NDArray[np.int32]:
    """Return the track of each row in an analysis of its video, as `tracks_of` does. analysis_id: None = no tracks"""
    tracks = np.zeros(len(poses), np.int32)
    if analysis_id is None or not len(poses):
        return tracks
    inside = (pose_tracks.c.frame >= int(poses.frame[0])) & (pose_tracks.c.frame <= int(poses.frame[-1]))
    found = (
        select(pose_tracks.c.frame, pose_tracks.c.person, pose_tracks.c.track)
        .where(pose_tracks.c.analysis_id == analysis_id, inside)
        .order_by(pose_tracks.c.frame, pose_tracks.c.person)
    )
    with reading(engine) as connection:
        rows = np.array([tuple(row) for row in connection.execute(found)], np.int64).reshape(-1, 3)
    known, asked = _place(rows[:, 0], rows[:, 1]), _place(poses.frame, poses.person)
    at = np.searchsorted(asked, known)
    there = (at < len(asked)) & (asked[np.minimum(at, len(asked) - 1)] == known)
    tracks[at[there]] = rows[there, 2]
    return tracks


def _place(frame: NDArray[np.int64], person: NDArray[np.generic]) -> NDArray[np.int64]:
    """Order of rows as one number."""
    return np.asarray(frame * MOST_PEOPLE_PER_FRAME + person.astype(np.int64), np.int64)
