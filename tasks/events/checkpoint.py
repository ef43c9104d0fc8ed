"""The state between the runs of a recording's videos: small, as JSON, and checked when it is read."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from models.events.definition import EVENTS_VERSION
from models.types import Visit

MOST_BYTES = 16 << 20


class CheckpointError(ValueError):
    """A state that cannot be continued: the recording's events have to be made again from its first video on."""


@dataclass(frozen=True)
class Checkpoint:
    """The state before a frame of the recording.

    t_s: time of the frame before; rules: name -> state of its intervals; zones: state of the watcher, None = no zones
    visits: those that have ended, and may be asked for by rows after the frame
    """

    frame: int = 0
    t_s: float = 0.0
    rules: dict[str, bytes] = field(default_factory=dict)
    zones: bytes | None = None
    visits: tuple[Visit, ...] = ()

    def to_bytes(self) -> bytes:
        rules = {name: base64.b64encode(state).decode() for name, state in sorted(self.rules.items())}
        zones = None if self.zones is None else base64.b64encode(self.zones).decode()
        content = {"version": EVENTS_VERSION, "frame": self.frame, "t_s": self.t_s, "rules": rules, "zones": zones}
        return json.dumps(content | {"visits": self.visits}).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Checkpoint":
        """Read a checkpoint. Raises CheckpointError for a damaged one, or one of another version."""
        if len(stored) > MOST_BYTES:
            raise CheckpointError(f"The checkpoint has {len(stored):,} bytes.")
        try:
            return cls._read(json.loads(stored))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError("The checkpoint of the events is damaged.") from error

    @classmethod
    def _read(cls, content: Any) -> "Checkpoint":
        if content["version"] != EVENTS_VERSION:
            raise ValueError("The checkpoint is of another version. Make the events again.")
        rules = {str(name): base64.b64decode(state, validate=True) for name, state in content["rules"].items()}
        zones = None if content["zones"] is None else base64.b64decode(content["zones"], validate=True)
        visits = tuple(_visit(*values) for values in content["visits"])
        return cls(int(content["frame"]), float(content["t_s"]), rules, zones, visits)


def _visit(zone: int, track: int, entered_frame: int, last_frame: int, entered_s: float, left_s: float) -> Visit:
    return Visit(int(zone), int(track), int(entered_frame), int(last_frame), float(entered_s), float(left_s))
