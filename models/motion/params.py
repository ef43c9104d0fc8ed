"""Parameters of motion. Light: commands load it for their options."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from models.spec import Option, check_numbers

MOTION_VERSION = 1
"""Raised when the code computes other rows from the same poses and parameters."""


@dataclass(frozen=True, kw_only=True)
class MotionParams:
    """Parameters that decide the rows of motion, part of the analysis version.

    Windows are centred and have finite lengths, so that a track of a day is never held whole.
    Raises ValueError where a value is out of its bounds.
    """

    lowest_keypoint_score: Annotated[
        float, Option("Keypoints with a lower score count as not found, 0 to 1.", ge=0, le=1)
    ] = 0.3
    fill_gap_s: Annotated[
        float,
        Option("Longest gap to fill of a track or keypoint, seconds between two known places.", ge=0, le=10),
    ] = 0.5
    outlier_window_s: Annotated[
        float, Option("Seconds around a keypoint; it is compared with their median. 0 = keep outliers.", ge=0, le=5)
    ] = 0.2
    outlier_deviations: Annotated[
        float,
        Option("Distance of outliers from that median, in standard deviations (Hampel's filter).", ge=1, le=100),
    ] = 3.0
    smoothing_window_s: Annotated[
        float, Option("Seconds of the parabola that is fitted around each time. 0 = do not smooth.", ge=0, le=5)
    ] = 0.35
    body_window_s: Annotated[
        float, Option("Seconds of the median that is the body length, the unit of relative speed.", ge=0, le=20)
    ] = 2.0

    def __post_init__(self) -> None:
        check_numbers(self)

    def sha256(self) -> str:
        """Hash of all that decides the rows: the fields and the version of the code."""
        decides = {**dataclasses.asdict(self), "version": MOTION_VERSION}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
