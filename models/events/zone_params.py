"""Parameters of visits and crossings. Standard library only."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

ZONES_VERSION = 1
"""To be raised when the code gives other visits or crossings for the same rows, zones and parameters."""


@dataclass(frozen=True, kw_only=True)
class ZoneParams:
    """Parameters of visits and crossings. All are times or shares of a body, and so do not depend on the frame rate.

    ankle_score: an ankle with a lower score does not tell where a person stands, 0 to 1
    inertia_s: a change of side counts when the person has stayed on the new side for these seconds
    margin: and has been this far from the edge, as a share of the height of the person's box
    standing_s: or has stayed there for these seconds, however near the edge
    lost_s: a person who is not seen for longer has left; shorter losses do not end a visit
    """

    ankle_score: float = 0.3
    inertia_s: float = 0.4
    margin: float = 0.05
    standing_s: float = 5.0
    lost_s: float = 5.0

    def sha256(self) -> str:
        """Hash of all that determines the rows: the fields and the version of the code."""
        determines = {**dataclasses.asdict(self), "version": ZONES_VERSION}
        return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()
