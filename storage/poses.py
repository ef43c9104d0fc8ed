"""A row of poses as SQL and Parquet both have it: column names, Poses <-> columns, and the checks. No SQL, no files."""

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES, KEYPOINTS, Poses, Segment

KEYPOINT_COLUMNS = tuple(f"{name}_{part}" for name in KEYPOINT_NAMES for part in ("x", "y", "score"))
POSE_COLUMNS = ("frame", "person", "t_s", "score", *KEYPOINT_COLUMNS)


def keypoint_matrix(poses: Poses) -> NDArray[np.float32]:
    """(n, 51) float32 in the order of KEYPOINT_COLUMNS; NaN = not found."""
    both = np.concatenate([poses.keypoints, poses.keypoint_scores[:, :, None]], axis=2)
    return both.reshape(len(poses), len(KEYPOINT_COLUMNS))


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
    if unordered.any() or poses.person.min() < 0:
        row = int(unordered.argmax())
        raise ValueError(
            f"poses unsorted, duplicated or with a negative person near row {row} (frame {poses.frame[row]}), "
            "expected ascending (frame, person)"
        )
    if not (np.isfinite(poses.t_s).all() and np.isfinite(poses.scores).all()):
        raise ValueError("poses with a time or score that is not a number, expected finite ones")
    if np.isinf(poses.keypoints).any() or np.isinf(poses.keypoint_scores).any():
        raise ValueError("keypoints at infinity, expected finite numbers, or NaN for a keypoint not found")


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
