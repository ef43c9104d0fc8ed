"""How many frames a second a device infers. Reads no picture and decodes nothing."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.runtime import Runtime

ROUNDS = 3
ROUND_S = 0.5


def inferences_per_s(runtimes: Sequence[Runtime], tensor: NDArray[np.uint8]) -> list[float]:
    """Of each, with all its requests in flight: the best of ROUNDS rounds, in turns, so that what else the machine does
    hits all alike. tensor: (1, height, width, 3) uint8 RGB. Raises RuntimeFault."""
    best = [0.0] * len(runtimes)
    for _ in range(ROUNDS):
        for number, runtime in enumerate(runtimes):
            best[number] = max(best[number], _round(runtime, tensor))
    return best


def _round(runtime: Runtime, tensor: NDArray[np.uint8]) -> float:
    for slot in range(runtime.slots):
        runtime.start(slot, tensor)
    begun, done = time.perf_counter(), 0
    while (took_s := time.perf_counter() - begun) < ROUND_S or not done:
        runtime.wait(done % runtime.slots)
        runtime.start(done % runtime.slots, tensor)
        done += 1
    for slot in range(runtime.slots):
        runtime.wait(slot)
    return done / took_s
