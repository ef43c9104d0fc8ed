"""Generated tracked poses."""

import itertools
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from models.motion.types import MotionRows
from models.tracking.types import TrackedPoses
from models.types import Poses

STANDING = np.array(
    [
        *((0, -80), (3, -83), (-3, -83), (8, -81), (-8, -81)),
        *((20, -60), (-20, -60), (24, -30), (-24, -30), (25, -5), (-25, -5)),
        *((10, -5), (-10, -5), (11, 40), (-11, 40), (12, 82), (-12, 82)),
    ],
    float,
)
"""(17, 2) somebody upright, seen from the front, about 165 pixels high; the middle of the hips is at (0, -5)."""


def tracked(
    frame: NDArray, t_s: NDArray, track: NDArray, keypoints: NDArray, scores: NDArray | float = 0.9
) -> TrackedPoses:
    """Rows in the order of frames; NaN of keypoints are those of the scores, too."""
    order = np.lexsort((track, frame))
    rows = len(order)
    keypoint_scores = np.broadcast_to(np.asarray(scores, float), (rows, 17)).copy()[order]
    points = np.asarray(keypoints, np.float32)[order]
    keypoint_scores[np.isnan(points[..., 0])] = np.nan
    frame = np.asarray(frame, np.int64)[order]
    person = np.arange(rows) - np.searchsorted(frame, frame)
    poses = Poses(
        frame,
        person.astype(np.int16),
        np.asarray(t_s, float)[order],
        np.ones(rows, np.float32),
        points,
        keypoint_scores.astype(np.float32),
    )
    return TrackedPoses(poses, np.asarray(track, np.int32)[order])


def one_track(keypoints: NDArray, t_s: NDArray, frame: NDArray | None = None) -> TrackedPoses:
    """One track with a pose (n, 17, 2) in each frame."""
    frames = np.arange(len(t_s)) if frame is None else frame
    return tracked(frames, t_s, np.ones(len(t_s), int), keypoints)


def random_tracks(rng: np.random.Generator, frames: int, people: int, fps: float = 20.0) -> TrackedPoses:
    """People who wander, whose keypoints and rows are sometimes missing or far off, at uneven times, with pauses."""
    t_s = np.cumsum(rng.uniform(0.4, 1.6, frames) / fps + (rng.random(frames) < 0.03) * rng.uniform(0, 2, frames))
    number = np.cumsum(rng.choice([1, 1, 1, 2, 3], frames))
    seen = rng.random((frames, people)) < rng.uniform(0.5, 1)
    seen[0, 0] = True  # without any row there is no motion
    at, person = np.nonzero(seen)
    walk = np.cumsum(rng.normal(0, 4, (frames, people, 1, 2)), axis=0)
    points = (STANDING + walk + rng.normal(0, 2, (frames, people, 17, 2)))[at, person]
    points += np.where(rng.random((len(at), 17, 1)) < 0.04, rng.normal(0, 200, (len(at), 17, 2)), 0)
    points[rng.random((len(at), 17)) < rng.uniform(0, 0.4)] = np.nan
    tracks = np.where(rng.random(len(at)) < 0.1, 0, person + 1)
    return tracked(number[at], t_s[at], tracks, points, rng.uniform(0, 1, (len(at), 17)))


def cut(rows: TrackedPoses, starts: list[int]) -> list[TrackedPoses]:
    """Chunks that begin with the frames at these positions among all frames."""
    frames = np.unique(rows.poses.frame)
    bounds = [
        0,
        *(
            int(np.searchsorted(rows.poses.frame, frames[start % len(frames)]))
            for start in sorted(starts, key=lambda s: s % len(frames))
        ),
        len(rows.track),
    ]
    return [part(rows, slice(a, b)) for a, b in itertools.pairwise(bounds)]


def part(rows: TrackedPoses, which: slice | NDArray) -> TrackedPoses:
    poses = Poses(*(getattr(rows.poses, field.name)[which] for field in fields(Poses)))
    return TrackedPoses(poses, rows.track[which])


def joined(chunks: list[MotionRows]) -> MotionRows:
    """All rows as one; there must be some."""
    return MotionRows(*(np.concatenate([getattr(each, field.name) for each in chunks]) for field in fields(MotionRows)))
