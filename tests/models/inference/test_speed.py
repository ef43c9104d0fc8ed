"""Speed and its ratio, for known devices and for machines with other load."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from models.inference import benchmark
from models.inference.benchmark import SpeedRatio, compare_speeds, inferences_per_s

TENSOR = np.zeros((1, 2, 2, 3), np.uint8)


class Device:
    """A device on which each inference takes this many seconds of the clock, times a factor that varies in time."""

    device, precision, slots, at_once = "none", "f32", 3, 1

    def __init__(self, clock: list[float], takes_s: float, slowed: Callable[[float], float]) -> None:
        self.clock, self.takes_s, self.slowed, self.running = clock, takes_s, slowed, 0

    def start(self, slot: int, tensor: np.ndarray) -> None:
        self.running += 1
        assert self.running <= self.slots

    def wait(self, slot: int) -> dict[str, Any]:
        self.running -= 1
        self.clock[0] += self.takes_s * self.slowed(self.clock[0])
        return {}


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Any]]]:
    """Two devices on one clock, the second 2.2 times as fast; an idle machine."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(benchmark.OtherLoad, "share", lambda _: 0.0)
    made: list[Device] = []

    def make(slowed: Callable[[float], float] = lambda _: 1.0) -> list[Any]:
        made.extend(Device(clock, takes_s, slowed) for takes_s in (0.0022, 0.001))
        return made

    yield make
    assert [device.running for device in made] == [0, 0]


def test_speed_follows_the_clock(devices: Callable[..., list[Any]]) -> None:
    slow, fast = devices()
    assert inferences_per_s(slow, TENSOR) == pytest.approx(1 / 0.0022, rel=0.02)
    assert inferences_per_s(fast, TENSOR) == pytest.approx(1000, rel=0.02)


def bursts(now: float) -> float:
    """Another process takes three quarters of the machine in one of five seconds."""
    return 4.0 if now % 5 < 1 else 1.0


def drift(now: float) -> float:
    """The device gets warm and twice as slow."""
    return 1 + now / 5


@pytest.mark.parametrize("slowed", [lambda _: 1.0, bursts, drift])
def test_the_ratio_is_robust_against_other_load(
    devices: Callable[..., list[Any]], slowed: Callable[[float], float]
) -> None:
    """The best of three rounds gave 6.5 where the true ratio is 2.2."""
    first, second = devices(slowed)
    found = compare_speeds(first, second, TENSOR)
    assert found.ratio == pytest.approx(2.2, rel=0.03)
    assert found.low <= found.ratio <= found.high
    assert found.doubt == ""
    assert "times as fast as a on the same device" in found.describe("a", "b")
    assert f"median of {found.pairs} pairs" in found.describe("a", "b")


def test_an_unstable_speed_gives_no_figure(devices: Callable[..., list[Any]]) -> None:
    first, second = devices(lambda now: 4.0 if int(now / 0.2) % 3 else 1.0)
    found = compare_speeds(first, second, TENSOR)
    assert "pairs of rounds are outside" in found.doubt
    assert "cannot be compared" in found.describe("a", "b")
    assert "times as fast" not in found.describe("a", "b")


def test_a_busy_machine_gives_no_figure_and_says_why() -> None:
    busy = SpeedRatio(2.2, 2.1, 2.3, 11, 100, 220, other_load=0.35)
    said = busy.describe("posenet", "posenet-int8")
    assert "other processes used 35% of this machine" in said
    assert "2.2" not in said
    assert SpeedRatio(2.2, 2.1, 2.3, 11, 100, 220, other_load=0.02).doubt == ""


def test_the_load_counts_other_processes_only() -> None:
    """This process's own work does not count, another one's does."""
    load = benchmark.OtherLoad()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            deadline = time.process_time() + 0.5
            while time.process_time() < deadline:
                pass
        finally:
            other.kill()
    all_cpus = psutil.cpu_count() or 1
    assert load.share() > 0.3 / all_cpus / 2
    assert 0 <= load.share() <= 1
