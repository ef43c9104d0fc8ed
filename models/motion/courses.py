"""Rows of poses laid out track by track, with the rows of gaps that are filled. numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.motion.timeline import Timeline
from models.motion.windows import TICK_S, Pieces
from models.tracking.types import TrackedPoses

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Courses:
    """Rows of tracks, ordered by (track, frame).

    track: (n,) int32; frame: (n,) int64; filled: (n,) bool, no pose in this frame; pieces: their times and pieces
    keypoints: (17, 2, n) float64, x then y, pixels; NaN = not known
    """

    track: NDArray[np.int32]
    frame: NDArray[np.int64]
    filled: NDArray[np.bool_]
    pieces: Pieces
    keypoints: Array


def lay_out(tracked: TrackedPoses, timeline: Timeline, limit_s: float, lowest_score: float) -> Courses:
    """Lay out the rows that belong to a track. A gap of at most limit_s gets a row for each frame of the timeline.

    timeline: contains the frames of all rows; lowest_score: keypoints with a lower one are not known
    Raises ValueError where a track has two rows in one frame.
    """
    poses = tracked.poses
    order = np.lexsort((poses.frame, tracked.track))[np.count_nonzero(tracked.track <= 0) :]
    track, frame = tracked.track[order], poses.frame[order]
    _refuse_doubles(track, frame)
    position = np.searchsorted(timeline.frame, frame)
    joined = (np.diff(track) == 0) & (np.diff(timeline.stretch[position]) == 0)
    joined &= np.diff(timeline.t_s[position]) <= limit_s + TICK_S
    missing = np.append(np.where(joined, np.diff(position) - 1, 0), 0)[: len(order)]
    source = np.repeat(np.arange(len(order)), 1 + missing)
    place = np.arange(len(order)) + np.cumsum(missing) - missing
    offset = np.arange(len(source)) - place[source]
    found = position[source] + offset
    keypoints = np.full((17, 2, len(source)), np.nan)
    keypoints[:, :, place] = _known(poses.keypoints[order], poses.keypoint_scores[order], lowest_score)
    begins = place[np.append(True, ~joined)[: len(order)]]
    return Courses(track[source], timeline.frame[found], offset > 0, _pieces(timeline.t_s[found], begins), keypoints)


def _refuse_doubles(track: NDArray[np.int32], frame: NDArray[np.int64]) -> None:
    double = np.flatnonzero((np.diff(track) == 0) & (np.diff(frame) == 0))
    if len(double):
        row = int(double[0])
        raise ValueError(f"Track {track[row]} has two poses in frame {frame[row]}. Give each pose its own track.")


def _known(keypoints: NDArray[np.float32], scores: NDArray[np.float32], lowest_score: float) -> Array:
    """(17, 2, n), NaN where a keypoint is not found, or its score is too low."""
    unknown = ~np.isfinite(keypoints).all(axis=2) | (scores < lowest_score)
    return np.where(unknown[..., None], np.nan, keypoints.astype(np.float64)).transpose(1, 2, 0)


def _pieces(t_s: Array, begins: NDArray[np.intp]) -> Pieces:
    """Return the pieces that begin at these rows."""
    lengths = np.diff(np.append(begins, len(t_s)))
    first = np.repeat(begins, lengths)
    return Pieces(t_s, first, first + np.repeat(lengths, lengths) - 1)
