"""Parameters of an analysis. Imports nothing heavy."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from models.motion.params import MOTION_VERSION, MotionParams
from models.spec import Option
from models.tracking.params import TRACKER_VERSION, TrackParams

P = TypeVar("P", TrackParams, MotionParams)


@dataclass(frozen=True)
class AnalysisParams:
    """Parameters that decide the tracks and the motion of given poses."""

    track: TrackParams = field(default=TrackParams())
    motion: MotionParams = field(default=MotionParams())
    smoothed_keypoints: Annotated[bool, Option("Also store the smoothed keypoints in the table motion.")] = False

    def sha256(self) -> str:
        """Hash of all that decides the rows: the parameters and the versions of the code."""
        decides = f"{self.track.sha256()} {self.motion.sha256()} {self.smoothed_keypoints}"
        return hashlib.sha256(decides.encode()).hexdigest()

    def to_json(self) -> str:
        versions = {"tracker_version": TRACKER_VERSION, "motion_version": MOTION_VERSION}
        return json.dumps(dataclasses.asdict(self) | versions, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "AnalysisParams":
        """Read the parameters of any version. Those that this version does not know are left out."""
        stored = json.loads(text)
        flat = {**stored.get("track", {}), **stored.get("motion", {}), **stored}
        return cls().replaced(flat)

    def replaced(self, changes: Mapping[str, Any]) -> "AnalysisParams":
        """Return these parameters with other values for some, by their names. Raises ValueError beyond the bounds."""
        return AnalysisParams(
            _replaced(self.track, changes),
            _replaced(self.motion, changes),
            changes.get("smoothed_keypoints", self.smoothed_keypoints),
        )


def _replaced(params: P, changes: Mapping[str, Any]) -> P:
    known = {each.name for each in dataclasses.fields(params)}
    return dataclasses.replace(params, **{name: value for name, value in changes.items() if name in known})
