"""Speed of a model on a device, alone or compared with another model: no video, no decoding, no SQL, no OpenVINO.

As many requests are in flight as in a batch, on pictures that are already in memory.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from time import perf_counter, process_time

import numpy as np
import psutil
from numpy.typing import NDArray

from models.inference.runtime import Runtime

WARM_UP_S = 0.5
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a picture's start on the device to its outputs here, including the wait behind others."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ModelSpeed:
    """Figures of one measurement.

    inference_cpu_ms: of this process with all its threads, per frame; small if a stick computes
    """

    frames: int
    seconds: float
    latency: Latency
    inference_cpu_ms: float

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds


def latency_of(seconds: NDArray[np.float64]) -> Latency:
    """Summarise latencies. seconds: (n,) of each frame, n > 0"""
    p50, p90, p99 = (1000 * float(value) for value in np.percentile(seconds, PERCENTILES))
    return Latency(p50, p90, p99)


def measure_model(
    runtime: Runtime, height: int, width: int, seconds: float, warm_up_s: float = WARM_UP_S
) -> ModelSpeed:
    """Measure inference on generated pictures for some seconds after a warm-up (0: none); at least one per slot.

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
    """Infer pictures. Returns the seconds of each one from its start to its outputs.

    One thread per slot: each refills its slot as soon as it is empty, so that a slow core or stick does not delay the
    others.
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


ROUNDS = 3
ROUND_S = 0.5
PAIRS = 11
PAIR_ROUND_S = 0.2
MAX_SPREAD = 0.25  # middle half of the pairs' ratios, in parts of the median: beyond it no ratio is reported
MAX_OTHER_LOAD = 0.1  # share of the machine's CPUs that other processes may use meanwhile


@dataclass(frozen=True)
class SpeedRatio:
    """Speed of one model divided by another's, from rounds in pairs.

    ratio: median of the pairs; low, high: their quartiles; pairs: their number
    first_per_s, second_per_s: inferences per second, medians of the rounds
    other_load: share of the machine's CPUs that other processes used meanwhile, 0 to 1
    """

    ratio: float
    low: float
    high: float
    pairs: int
    first_per_s: float
    second_per_s: float
    other_load: float

    @property
    def doubt(self) -> str:
        """Reason for which the ratio must not be reported; empty where it may be."""
        if self.other_load > MAX_OTHER_LOAD:
            return f"other processes used {self.other_load:.0%} of this machine while it was measured"
        if self.high - self.low > MAX_SPREAD * self.ratio:
            return f"half of the {self.pairs} pairs of rounds are outside {self.low:.2f} to {self.high:.2f}"
        return ""

    def describe(self, first: str, second: str) -> str:
        """Describe the ratio and its spread in a sentence, or the reason why there is none."""
        if self.doubt:
            return (
                f"The speeds of {second} and {first} cannot be compared: {self.doubt}. "
                "Measure again on a machine that does nothing else."
            )
        return (
            f"{second} is {self.ratio:.2f} times as fast as {first} on the same device (median of {self.pairs} pairs "
            f"of rounds, half of them {self.low:.2f} to {self.high:.2f})."
        )


def compare_speeds(first: Runtime, second: Runtime, tensor: NDArray[np.uint8]) -> SpeedRatio:
    """Measure the second model's speed divided by the first's; tensor: (1, height, width, 3) uint8 RGB.

    In pairs of consecutive rounds, every other pair in the reverse order, so that other work of the machine affects
    both alike. The load of other processes only decides whether the ratio is doubtful. Raises RuntimeFault.
    """
    for runtime in (first, second):
        _round(runtime, tensor, PAIR_ROUND_S)  # the first inferences allocate
    rounds = []
    load = OtherLoad()
    for number in range(PAIRS):
        order = (first, second) if number % 2 == 0 else (second, first)
        speeds = [_round(runtime, tensor, PAIR_ROUND_S) for runtime in order]
        rounds.append(speeds if number % 2 == 0 else speeds[::-1])
    ratios = [fast / slow for slow, fast in rounds]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    slow, fast = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
    return SpeedRatio(ratio, low, high, PAIRS, slow, fast, load.share())


class OtherLoad:
    """CPU time that others had since the object was made: other processes, and on a virtual machine its neighbours."""

    def __init__(self) -> None:
        self._begun = self._times()

    @staticmethod
    def _times() -> tuple[float, float, float]:
        """Seconds of all CPUs together, of these not idle, and of this process."""
        all_cpus, own = psutil.cpu_times(), psutil.Process().cpu_times()
        guests = getattr(all_cpus, "guest", 0.0) + getattr(
            all_cpus, "guest_nice", 0.0
        )  # already included in user and nice
        total = sum(all_cpus) - guests
        return total, total - all_cpus.idle - getattr(all_cpus, "iowait", 0.0), own.user + own.system

    def share(self) -> float:
        """0 to 1, of all CPUs."""
        total, busy, own = (now - then for now, then in zip(self._times(), self._begun, strict=True))
        return max(0.0, busy - own) / total if total > 0 else 0.0


def inferences_per_s(runtime: Runtime, tensor: NDArray[np.uint8]) -> float:
    """Measure the best of ROUNDS rounds with all requests in flight; tensor: (1, height, width, 3) uint8 RGB.

    Raises RuntimeFault.
    """
    return max(_round(runtime, tensor, ROUND_S) for _ in range(ROUNDS))


def _round(runtime: Runtime, tensor: NDArray[np.uint8], seconds: float) -> float:
    for slot in range(runtime.slots):
        runtime.start(slot, tensor)
    begun, done = time.perf_counter(), 0
    while (took_s := time.perf_counter() - begun) < seconds or not done:
        runtime.wait(done % runtime.slots)
        runtime.start(done % runtime.slots, tensor)
        done += 1
    for slot in range(runtime.slots):
        runtime.wait(slot)
    return done / took_s
