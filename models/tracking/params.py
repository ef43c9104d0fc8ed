"""Parameters of tracking. Light: commands load it for their options."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from models.spec import Option, check_numbers

TRACKER_VERSION = 3
"""To be raised when the code gives other tracks for the same rows and parameters."""


@dataclass(frozen=True, kw_only=True)
class TrackParams:
    """Parameters of tracking. A body length is the longer side of the box around a person.

    Raises ValueError where a value is outside its bounds.
    """

    start_score: Annotated[
        float, Option("A track needs one sighting with at least this score, 0 to 1; others continue it.", ge=0, le=1)
    ] = 0.3
    unsure_s: Annotated[
        float, Option("A track without such a sighting lasts at least this many seconds.", ge=0, le=3600)
    ] = 1.0
    min_rows: Annotated[int, Option("A track has at least so many sightings.", ge=1, le=1000)] = 3
    max_speed: Annotated[float, Option("Nobody moves faster, in body lengths per second.", ge=0.01, le=100)] = 2.5
    position_noise: Annotated[float, Option("Error of a sighting's position, in body lengths.", ge=0, le=1)] = 0.15
    velocity_s: Annotated[
        float, Option("Seconds of the sightings from which a velocity is estimated.", ge=0.01, le=60)
    ] = 1.5
    short_gap_s: Annotated[
        float, Option("Sightings at most this many seconds apart are linked frame by frame.", ge=0, le=60)
    ] = 0.5
    max_gap_s: Annotated[
        float,
        Option("Longest time out of sight, in seconds, after which a person keeps the number.", ge=0, le=3600),
    ] = 3.0
    look_ahead_s: Annotated[
        float, Option("A decision considers this many seconds of the following frames.", ge=0, le=60)
    ] = 1.0
    min_affinity: Annotated[
        float, Option("Sightings that are less similar, 0 to 1, are not of the same person.", ge=0, le=1)
    ] = 0.2

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.max_gap_s < self.short_gap_s:
            raise ValueError(
                f"max_gap_s is {self.max_gap_s}, less than short_gap_s, {self.short_gap_s}. Give at least as much."
            )

    def sha256(self) -> str:
        """Hash of all that determines the tracks of given rows: these parameters and TRACKER_VERSION."""
        told = {**dataclasses.asdict(self), "tracker_version": TRACKER_VERSION}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
