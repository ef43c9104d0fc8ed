"""How fast a device runs a model, and nothing else: no video, no decoding, no SQL. OpenVINO stays in models/runtime.py.

The requests that the night keeps in flight are kept in flight, on pictures that are in memory before it begins.
"""

from dataclasses import dataclass
from itertools import cycle
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

from models.runtime import Runtime

WARM_UP_S = 0.5
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a picture's start on the device to its outputs here, the wait behind others included."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ModelSpeed:
    """What was measured. inference_cpu_ms: of this process, all its threads, a frame: little where a stick computes"""

    frames: int
    seconds: float
    latency: Latency
    inference_cpu_ms: float

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds


def latency_of(seconds: NDArray[np.float64]) -> Latency:
    """seconds: (n,) of each frame, n > 0"""
    p50, p90, p99 = (1000 * float(value) for value in np.percentile(seconds, PERCENTILES))
    return Latency(p50, p90, p99)


def measure_model(
    runtime: Runtime, height: int, width: int, seconds: float, warm_up_s: float = WARM_UP_S
) -> ModelSpeed:
    """Inference on made-up pictures for so many seconds, after a warm-up; at least one picture a slot.

    Raises RuntimeFault where the device is lost.
    """
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (1, height, width, 3), np.uint8) for _ in range(runtime.slots)]
    _infer(runtime, pictures, min(seconds, warm_up_s))
    cpu_s, begun = process_time(), perf_counter()
    taken_s = _infer(runtime, pictures, seconds)
    ended, cpu_s = perf_counter(), process_time() - cpu_s
    return ModelSpeed(len(taken_s), ended - begun, latency_of(np.array(taken_s)), 1000 * cpu_s / len(taken_s))


def _infer(runtime: Runtime, pictures: list[NDArray[np.uint8]], seconds: float) -> list[float]:
    """Seconds of each picture from its start to its outputs; all that was started is waited for."""
    slots = runtime.slots
    started, taken = [], []
    until = perf_counter() + seconds
    for slot, picture in enumerate(pictures):
        started.append(perf_counter())
        runtime.start(slot, picture)
    for slot in cycle(range(slots)):
        runtime.wait(slot)
        now = perf_counter()
        taken.append(now - started[slot])
        if now >= until:
            break
        started[slot] = now
        runtime.start(slot, pictures[slot])
    for place in range(1, slots):
        behind = (slot + place) % slots
        runtime.wait(behind)
        taken.append(perf_counter() - started[behind])
    return taken
