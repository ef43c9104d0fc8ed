"""Names of the columns and functions of conditions. docs/site.md explains them, and a test compares the two."""

from models.events.definition import RowKind
from models.types import KEYPOINT_NAMES

# Of motion, as storage.track_rows.MOTION_VALUES: a test compares them.
MOTION = (
    *("centre_x_px", "centre_y_px", "box_height_px", "speed_px_per_s", "speed_body_lengths_per_s"),
    *("vertical_velocity_px_per_s", "trunk_angle_deg"),
    *(f"{side}_{joint}_angle_deg" for joint in ("elbow", "shoulder", "hip", "knee") for side in ("left", "right")),
)
KEYPOINT_VALUES = tuple(f"{name}_{value}" for name in KEYPOINT_NAMES for value in ("x", "y", "score"))
# Made of the keypoints that were found in the frame.
OF_KEYPOINTS = ("shoulder_y", "hip_y", "box_left", "box_top", "box_width", "box_height")
CLOCK = ("frame", "t_s", "people", "local_hour")
COLUMNS: dict[RowKind, tuple[str, ...]] = {
    "people": (
        *CLOCK,
        *("track", "seen", "filled", "score", "body_length_px", "picture_width_px", "picture_height_px"),
        *MOTION,
        *OF_KEYPOINTS,
        *KEYPOINT_VALUES,
    ),
    "frames": CLOCK,
}

# Functions of DuckDB that cannot fail on numbers, with the fewest and the most arguments.
PLAIN_FUNCTIONS = {
    **dict.fromkeys(("abs", "round", "floor", "ceil", "sqrt", "sin", "cos", "degrees", "radians"), (1, 1)),
    **dict.fromkeys(("atan2", "nullif"), (2, 2)),
    **dict.fromkeys(("greatest", "least", "coalesce"), (2, 20)),
}
# Functions over the earlier rows of the same track, with the number of arguments; the last one is in seconds.
LOOKING_BACK = {
    **dict.fromkeys(("lowest", "highest", "median", "earlier", "share", "seconds_since"), 2),
    "known_s": 1,
}
MOST_LOOK_BACK_S = 120.0
ZONE_FUNCTIONS = ("in_zone", "in_zone_kind")
