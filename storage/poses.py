"""A row of poses as SQL and Parquet both have it: column names, Poses <-> columns, and the checks. No SQL, no files.

And what SQL has of them by the second.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES, KEYPOINTS, Poses, Segment

KEYPOINT_COLUMNS = tuple(f"{name}_{part}" for name in KEYPOINT_NAMES for part in ("x", "y", "score"))
MOST_PEOPLE_PER_FRAME = 256
MOST_SCORE = 1.001  # a sum of seventeen rounded scores, divided by seventeen
MOST_COORDINATE = float(1 << 20)  # pixels: models may see a keypoint outside of the frame
MOST_SECONDS = 366 * 86400.0
# The types are SQL's. A row: one person in one frame, before its keypoints.
POSE_HEAD = np.dtype([("frame", "i4"), ("person", "i2"), ("t_s", "f8"), ("score", "f4")])
POSE_COLUMNS = (*(POSE_HEAD.names or ()), *KEYPOINT_COLUMNS)
# A row: one second of a segment in which somebody was seen. frame: the first such one
POSE_SECONDS = np.dtype(
    [
        ("frame", "i4"),
        ("second", "i4"),
        ("first_s", "f8"),
        ("last_s", "f8"),
        ("frames_seen", "i4"),
        ("most_people", "i2"),
    ]
)


def keypoint_matrix(poses: Poses) -> NDArray[np.float32]:
    """(n, 51) float32 in the order of KEYPOINT_COLUMNS; NaN = not found."""
    both = np.concatenate([poses.keypoints, poses.keypoint_scores[:, :, None]], axis=2)
    matrix: NDArray[np.float32] = both.reshape(len(poses), len(KEYPOINT_COLUMNS))
    return matrix


def poses_from_columns(
    frame: NDArray[np.int64],
    person: NDArray[np.int16],
    t_s: NDArray[np.float64],
    scores: NDArray[np.float32],
    matrix: NDArray[np.float32],
) -> Poses:
    """The inverse of `keypoint_matrix`. matrix: (n, 51) float32."""
    parts = matrix.reshape(len(frame), KEYPOINTS, 3)
    keypoints, keypoint_scores = np.ascontiguousarray(parts[:, :, :2]), np.ascontiguousarray(parts[:, :, 2])
    return Poses(frame, person, t_s, scores, keypoints, keypoint_scores)


def pose_heads(poses: Poses) -> NDArray[np.void]:
    """(n,) POSE_HEAD."""
    heads = np.empty(len(poses), POSE_HEAD)
    heads["frame"], heads["person"], heads["t_s"], heads["score"] = poses.frame, poses.person, poses.t_s, poses.scores
    return heads


def pose_seconds(poses: Poses) -> NDArray[np.void]:
    """(seconds,) POSE_SECONDS: frames with somebody in them, by the second that they begin in."""
    first = np.flatnonzero(np.diff(poses.frame, prepend=-1))  # the first row of each frame
    frame, t_s, people = poses.frame[first], poses.t_s[first], poses.person[np.append(first, len(poses))[1:] - 1] + 1
    second = np.floor(t_s)
    begin = np.flatnonzero(np.diff(second, prepend=-np.inf))
    end = np.append(begin, len(frame))[1:] - 1
    rows = np.empty(len(begin), POSE_SECONDS)
    if len(rows):  # reduceat wants something
        rows["frame"], rows["second"], rows["frames_seen"] = frame[begin], second[begin], end - begin + 1
        rows["first_s"], rows["last_s"] = t_s[begin], t_s[end]
        rows["most_people"] = np.maximum.reduceat(people, begin)
    return rows


def check_poses(poses: Poses, segment: Segment) -> None:
    """Raises ValueError unless these are rows of that segment: shapes, frame range, order, finite numbers or NaN."""
    _check_shapes(poses)
    if len(poses) == 0:
        return
    outside = (poses.frame < segment.start_frame) | (poses.frame >= segment.stop_frame)
    if outside.any():
        raise ValueError(
            f"poses of frame {poses.frame[outside][0]}, expected frames of "
            f"[{segment.start_frame}, {segment.stop_frame}): give each segment its own poses"
        )
    step = np.diff(poses.frame)
    unordered = (step < 0) | ((step == 0) & (np.diff(poses.person.astype(np.int64)) <= 0))
    if unordered.any() or poses.person.min() < 0 or poses.person.max() >= MOST_PEOPLE_PER_FRAME:
        row = int(unordered.argmax())
        raise ValueError(
            f"poses unsorted, duplicated or with an impossible person near row {row} (frame {poses.frame[row]}), "
            f"expected ascending (frame, person), and persons from 0 to {MOST_PEOPLE_PER_FRAME - 1}"
        )
    check_times(poses.frame, poses.t_s)
    if not _within(poses.scores, 0, MOST_SCORE):
        raise ValueError("poses with another score than expected: 0 to 1")
    found = ~np.isnan(poses.keypoint_scores)
    if not _within(poses.keypoint_scores[found], 0, MOST_SCORE):
        raise ValueError("keypoints with a score outside 0 to 1, expected NaN for a keypoint not found")
    places = poses.keypoints[~np.isnan(poses.keypoints)]
    if not _within(places, -MOST_COORDINATE, MOST_COORDINATE):
        raise ValueError("keypoints far outside of any frame, expected NaN for a keypoint not found")


def check_times(frame: NDArray[np.int64], t_s: NDArray[np.float64]) -> None:
    """Raise ValueError unless the times are seconds of a file, one per frame, that never go back.

    frame: (n,) ascending, with repetitions; t_s: (n,) seconds
    """
    if not _within(t_s, 0, MOST_SECONDS):
        raise ValueError(f"times that are not seconds, expected 0 to {MOST_SECONDS:g}")
    if (np.diff(t_s) < 0).any() or (np.diff(t_s)[np.diff(frame) == 0] != 0).any():
        raise ValueError("times that go back or differ within a frame, expected ascending ones")


def _within(values: NDArray[Any], least: float, most: float) -> bool:
    """True if all values are numbers within the bounds; NaN is none."""
    return bool(((values >= least) & (values <= most)).all())


def _check_shapes(poses: Poses) -> None:
    n = len(poses.frame)
    expected = {
        "frame": ((n,), np.int64),
        "person": ((n,), np.int16),
        "t_s": ((n,), np.float64),
        "scores": ((n,), np.float32),
        "keypoints": ((n, KEYPOINTS, 2), np.float32),
        "keypoint_scores": ((n, KEYPOINTS), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        found = getattr(poses, name)
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"poses.{name} is {found.dtype}{found.shape}, expected {np.dtype(dtype)}{shape}")
