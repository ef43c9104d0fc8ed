"""Motion of tracks: one row per frame per track. numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MotionRows:
    """The smoothed course of tracks, one row per frame per track, ordered by (frame, track). NaN = not known.

    Pixels are those of the displayed frame: x to the right, y down.

    track: (n,) int32, from 1; frame: (n,) int64; t_s: (n,) float64 seconds
    filled: (n,) bool, the track has no pose in this frame, which lies in a gap that was filled

    The others are (n,) float64:
    centre_x_px, centre_y_px: middle of the hips; of the shoulders where no hip is known; of two, the known one
    box_height_px: from the highest to the lowest known keypoint
    speed_px_per_s: of the centre, in any direction, not below 0
    speed_body_lengths_per_s: the same, divided by the track's body length at that time: see models.motion.kinematics
    vertical_velocity_px_per_s: of the centre, positive downwards, as y is
    trunk_angle_deg: between the vertical and the line from the middle of the hips to that of the shoulders:
        0 = upright, 90 = level, 180 = upside down
    {left,right}_{elbow,shoulder,hip,knee}_angle_deg: between the two limbs that meet at the joint, as seen in the
        picture, 0 to 180; a straight arm or leg has 180 at its elbow or knee, a hanging arm 0 at its shoulder

    keypoints: (n, 17, 2) float64, smoothed, x then y, pixels
    """

    track: NDArray[np.int32]
    frame: NDArray[np.int64]
    t_s: NDArray[np.float64]
    filled: NDArray[np.bool_]
    centre_x_px: NDArray[np.float64]
    centre_y_px: NDArray[np.float64]
    box_height_px: NDArray[np.float64]
    speed_px_per_s: NDArray[np.float64]
    speed_body_lengths_per_s: NDArray[np.float64]
    vertical_velocity_px_per_s: NDArray[np.float64]
    trunk_angle_deg: NDArray[np.float64]
    left_elbow_angle_deg: NDArray[np.float64]
    right_elbow_angle_deg: NDArray[np.float64]
    left_shoulder_angle_deg: NDArray[np.float64]
    right_shoulder_angle_deg: NDArray[np.float64]
    left_hip_angle_deg: NDArray[np.float64]
    right_hip_angle_deg: NDArray[np.float64]
    left_knee_angle_deg: NDArray[np.float64]
    right_knee_angle_deg: NDArray[np.float64]
    keypoints: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.track)
