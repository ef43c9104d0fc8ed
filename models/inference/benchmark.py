"""Speed of a model on a device, and nothing else: no video, no decoding, no SQL. OpenVINO stays in runtime.py.

The requests that the night keeps in flight are kept in flight, on pictures that are in memory before it begins.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

from models.inference.runtime import Runtime

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
    """Figures of one measurement.

    inference_cpu_ms: of this process, all its threads, per frame: little where a stick computes
    """

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
    """Inference on made-up pictures for so many seconds, after a warm-up (0: none); at least one picture a slot.

    Raises RuntimeFault where the device is lost.
    """
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (1, height, width, 3), np.uint8) for _ in range(runtime.slots)]
    if warm_up_s:
        _infer(runtime, pictures, min(seconds, warm_up_s))
    cpu_s, begun = process_time(), perf_counter()
    taken_s = _infer(runtime, pictures, seconds)
    ended, cpu_s = perf_counter(), process_time() - cpu_s
    return ModelSpeed(len(taken_s), ended - begun, latency_of(np.array(taken_s)), 1000 * cpu_s / len(taken_s))


def _infer(runtime: Runtime, pictures: list[NDArray[np.uint8]], seconds: float) -> list[float]:
    """Seconds of each picture from its start to its outputs.

    A thread a slot: each is filled again as soon as it is empty, whichever that is, so that a core or a stick that is
    slower than the others does not hold them up.
    """
    until, one_at_a_time = perf_counter() + seconds, Lock()

    def keep_busy(slot: int) -> list[float]:
        taken: list[float] = []
        ended = 0.0
        while ended < until:
            started = perf_counter()
            with one_at_a_time:
                runtime.start(slot, pictures[slot])
            runtime.wait(slot)
            ended = perf_counter()
            taken.append(ended - started)
        return taken

    with ThreadPoolExecutor(runtime.slots) as threads:
        return [one for taken in threads.map(keep_busy, range(runtime.slots)) for one in taken]
