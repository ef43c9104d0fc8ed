"""Rows of tracks and of motion in the form of SQL, made of poses that are stored already. No SQL, no files."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES

# A row: one person in one frame, and the track that this person belongs to.
POSE_TRACKS = np.dtype([("frame", "i4"), ("person", "i2"), ("track", "i4")])
# A row: one track. box_*: medians in pixels; NaN where no keypoint was found
TRACKS = np.dtype(
    [
        ("track", "i4"),
        ("first_frame", "i4"),
        ("last_frame", "i4"),
        ("first_s", "f8"),
        ("last_s", "f8"),
        ("frames", "i4"),
        ("mean_score", "f4"),
        ("box_left", "f4"),
        ("box_top", "f4"),
        ("box_width", "f4"),
        ("box_height", "f4"),
    ]
)
# A row: one track in one frame, before its values. filled: nobody was found there, and the values are interpolated
MOTION_HEAD = np.dtype([("track", "i4"), ("frame", "i4"), ("t_s", "f8"), ("filled", "?")])
MOTION_VALUES = (
    "centre_x_px",
    "centre_y_px",
    "box_height_px",
    "speed_px_per_s",
    "speed_body_lengths_per_s",
    "vertical_velocity_px_per_s",
    "trunk_angle_deg",
    "left_elbow_angle_deg",
    "right_elbow_angle_deg",
    "left_shoulder_angle_deg",
    "right_shoulder_angle_deg",
    "left_hip_angle_deg",
    "right_hip_angle_deg",
    "left_knee_angle_deg",
    "right_knee_angle_deg",
)
SMOOTHED_COLUMNS = tuple(f"{name}_{axis}" for name in KEYPOINT_NAMES for axis in ("x", "y"))


class MotionRecords(NamedTuple):
    """Rows of motion.

    head: (n,) MOTION_HEAD
    values: (n, 15) float32 in the order of MOTION_VALUES; NaN = not known
    keypoints: (n, 34) float32 in the order of SMOOTHED_COLUMNS, NaN = not known; None = not stored
    """

    head: NDArray[np.void]
    values: NDArray[np.float32]
    keypoints: NDArray[np.float32] | None
