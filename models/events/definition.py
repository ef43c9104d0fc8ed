"""The definition of a rule. Imports nothing heavy."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

EVENTS_VERSION = 1
"""Raised when the code makes other events of the same rows and definitions."""

Severity: TypeAlias = Literal["info", "warning", "critical"]
RowKind: TypeAlias = Literal["people", "frames"]
ANY_ZONE = "*"
UNVERSIONED = ("meaning", "severity")  # change no event


@dataclass(frozen=True, kw_only=True)
class RuleDefinition:
    """A condition over rows, and the intervals of true rows that become events.

    rule: its name; meaning: one sentence for people
    when, score: expressions over the columns of `rows`: see models.events.columns
    rows: `people` = one row per frame per track, `frames` = one row per processed frame
    min_duration_s: from the first true row to the last one
    bridge_gap_s: longest time between two true rows of one event, with other rows in between
    cool_down_s: after an event no other one of the same person and zone begins for so long
    zones, zone_kinds: it holds only there, in each of these zones by itself; `*` = every zone; none = everywhere
    not_zones, not_zone_kinds: it does not hold there
    """

    rule: str
    meaning: str = ""
    when: str
    score: str = "1"
    rows: RowKind = "people"
    min_duration_s: float = 0.0
    bridge_gap_s: float = 0.0
    cool_down_s: float = 0.0
    severity: Severity = "info"
    zones: tuple[str, ...] = field(default=())
    zone_kinds: tuple[str, ...] = field(default=())
    not_zones: tuple[str, ...] = field(default=())
    not_zone_kinds: tuple[str, ...] = field(default=())

    @property
    def in_zones_only(self) -> bool:
        return bool(self.zones or self.zone_kinds)

    def sha256(self) -> str:
        """Hash of all that decides the events: the definition and the version of the code."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in UNVERSIONED}
        decides = json.dumps(fields | {"version": EVENTS_VERSION}, sort_keys=True)
        return hashlib.sha256(decides.encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)
