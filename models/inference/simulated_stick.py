"""A simulated Neural Compute Stick with the speed, the throttling and the faults in its name. No stick, no frames.

    SIMULATED:ms=33.3,throttle=2x@500,vanish@900,hang@100,garbage@50,id=3,gone=/path

    ms=M            milliseconds per frame; the only required part
    throttle=Fx@N   from frame N on a frame takes F times as long; repeatable, 1x cools down
    garbage@N       frame N returns NaN; repeatable
    hang@N          frame N and all later ones are never answered
    vanish@N        frame N, all later ones and every later opening fail
    gone=PATH       vanished while this file exists: a test unplugs the stick for all processes
    id=NAME         identifies the stick: two with the same name are the same stick

Frames are counted from 0 over the device's life in this process, however often it is opened. Its outputs are the CPU's
in f32, bit for bit, so that rows can be compared. Only the time is a stick's.
"""

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.inference.runtime import OpenVinoRuntime, RuntimeFault, lost, refuse_unfit
from models.manifest import Manifest

PREFIX = "SIMULATED"
SLOTS = 4  # like a real one
EXAMPLE = "SIMULATED:ms=33.3,throttle=2x@500,vanish@900,hang@100,garbage@50,id=3,gone=/path"
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(
    rf"ms=(?P<ms>{_NUMBER})"
    rf"|throttle=(?P<factor>{_NUMBER})x@(?P<throttle>\d+)"
    r"|garbage@(?P<garbage>\d+)|hang@(?P<hang>\d+)|vanish@(?P<vanish>\d+)"
    r"|gone=(?P<gone>/.+)|id=(?P<id>[A-Za-z0-9_.-]+)"
)
_MANY_TIMES = {"throttle", "garbage"}

# Number of frames that each device has started in this process: its only state when it is opened again.
_begun: Counter[str] = Counter()


@dataclass(frozen=True)
class Schedule:
    """Faults and throttling of the stick, by frame. throttle: (first frame, factor), ascending by frame"""

    ms: float
    throttle: tuple[tuple[int, float], ...] = ()
    garbage: frozenset[int] = frozenset()
    hang: int | None = None
    vanish: int | None = None
    gone: Path | None = None

    def seconds(self, frame: int) -> float:
        factors = [factor for first, factor in self.throttle if first <= frame]
        return self.ms / 1000 * (factors[-1] if factors else 1.0)

    def hangs(self, frame: int) -> bool:
        return self.hang is not None and frame >= self.hang

    def vanished(self, frame: int) -> bool:
        return (self.vanish is not None and frame >= self.vanish) or (self.gone is not None and self.gone.exists())


def parse(device: str) -> Schedule:
    """Parse a device's name. Raises RuntimeFault that names an invalid part."""
    text = device.removeprefix(f"{PREFIX}:")
    if text == device:
        raise _misspelt(device, "no milliseconds per frame")
    found = [_parse_part(part, device) for part in text.split(",")]
    for kind, times in Counter(kind for kind, _ in found).items():
        if times > 1 and kind not in _MANY_TIMES:
            raise _misspelt(device, f"{kind} twice")
    given = dict(found)
    throttle = tuple(sorted(value for kind, value in found if kind == "throttle"))
    if not given.get("ms") or not all(factor for _, factor in throttle):
        raise _misspelt(device, "no milliseconds per frame")
    garbage = frozenset(value for kind, value in found if kind == "garbage")
    return Schedule(given["ms"], throttle, garbage, given.get("hang"), given.get("vanish"), given.get("gone"))


def _parse_part(part: str, device: str) -> tuple[str, Any]:
    found = _PART.fullmatch(part)
    if found is None:
        raise _misspelt(device, repr(part))
    kind = str(found.lastgroup)
    if kind == "throttle":
        return kind, (int(found[kind]), float(found["factor"]))
    return kind, {"ms": float, "id": str, "gone": Path}.get(kind, int)(found[kind])


def _misspelt(device: str, found: str) -> RuntimeFault:
    return RuntimeFault(f"{device!r} does not describe a simulated stick: it has {found}. Write it like {EXAMPLE}.")


class SimulatedStick:
    """A Runtime whose requests wait in the device's queue. Each is due when it and all earlier ones would be done.

    Due times follow without a gap while the queue is not empty, however late this process wakes up.
    """

    precision = "f32"
    slots = SLOTS
    at_once = 1

    def __init__(self, folder: Path, manifest: Manifest, device: str) -> None:
        """Open the stick. Raises RuntimeFault where its name is invalid, it has vanished, or the model does not fit."""
        self._schedule, self._name = parse(device), device
        refuse_unfit(manifest, device)
        if self._schedule.vanished(_begun[device] - 1):
            raise RuntimeFault(f"The device {device} has vanished. Plug it in, or choose another --device.")
        self._cpu = OpenVinoRuntime(folder, manifest, slots=SLOTS)
        self.device = f"{device} (simulated by {self._cpu.device})"
        self._free_at = 0.0
        self._due = [(0, 0.0)] * SLOTS  # of each slot: the frame in it, and when it is done

    def start(self, slot: int, tensor: NDArray[np.uint8]) -> None:
        frame = _begun[self._name]
        _begun[self._name] += 1
        self._free_at = max(self._free_at, time.monotonic()) + self._schedule.seconds(frame)
        self._due[slot] = frame, self._free_at
        self._cpu.start(slot, tensor)

    def wait(self, slot: int) -> dict[str, NDArray[np.float32]]:
        frame, due = self._due[slot]
        if self._schedule.hangs(frame):
            threading.Event().wait()
        time.sleep(max(0.0, due - time.monotonic()))
        outputs = self._cpu.wait(slot)
        if self._schedule.vanished(frame):
            raise lost(self.device, "vanished")
        if frame in self._schedule.garbage:
            return {name: np.full_like(output, np.nan) for name, output in outputs.items()}
        return outputs
