"""Agreement and speed: of poses and devices that are known."""

from typing import Any

import numpy as np
import pytest

from models import speed
from models.agreement import mean_agreement
from models.types import FramePoses

RANDOM = np.random.default_rng(6)


def people(count: int) -> FramePoses:
    places = RANDOM.uniform(0, 100, (count, 17, 2)).astype(np.float32)
    return FramePoses(np.ones(count, np.float32), places, np.ones((count, 17), np.float32))


def test_a_model_agrees_with_itself_and_who_is_missed_counts_nothing() -> None:
    frames = [people(2), people(0), people(1)]
    assert mean_agreement(frames, frames) == (pytest.approx(1), 3)
    nobody = [people(0)] * 3
    assert mean_agreement(frames, nobody) == (0.0, 3)
    agreement, count = mean_agreement(nobody, frames)
    assert np.isnan(agreement)
    assert count == 0


def test_the_farther_off_the_less_and_keypoints_not_found_by_the_source_do_not_count() -> None:
    [one] = frames = [people(1)]
    moved = [[one._replace(keypoints=one.keypoints + np.float32(shift))] for shift in (1, 4, 16)]
    agreements = [mean_agreement(frames, other)[0] for other in moved]
    assert agreements == sorted(agreements, reverse=True)
    assert agreements[0] > 0.9
    assert agreements[-1] < 0.5
    holes = one.keypoints.copy()
    holes[0, ::2] = np.nan
    assert mean_agreement([one._replace(keypoints=holes)], frames)[0] == pytest.approx(1)
    assert mean_agreement([one._replace(keypoints=np.full_like(holes, np.nan))], frames)[1] == 0


class Counter:
    """A device on which each inference takes so many seconds of the clock below."""

    device, precision, slots = "none", "f32", 3

    def __init__(self, clock: list[float], takes_s: float) -> None:
        self.clock, self.takes_s, self.running = clock, takes_s, 0

    def start(self, slot: int, tensor: np.ndarray) -> None:
        self.running += 1
        assert self.running <= self.slots

    def wait(self, slot: int) -> dict[str, Any]:
        self.running -= 1
        self.clock[0] += self.takes_s
        return {}


def test_speed_is_what_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    devices = [Counter(clock, 0.01), Counter(clock, 0.0025)]
    assert speed.inferences_per_s(devices, np.zeros((1, 2, 2, 3), np.uint8)) == pytest.approx([100, 400], rel=0.02)
    assert [device.running for device in devices] == [0, 0]
