"""Damaged timestamps are repaired locally; all others keep their times to the tick."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from storage.video.time_stamps import NO_TIME, ClockRules, Times, repair

STEP = 40
RULES = ClockRules(wrap=0, longest_gap=3600_000, step=STEP)
BROADCAST = ClockRules(wrap=1 << 33, longest_gap=900_000, step=3600)
HOUR = 3600_000


def repaired(*stamps: int | None, rules: ClockRules = RULES) -> Times:
    times = repair(np.array([NO_TIME if stamp is None else stamp for stamp in stamps], np.int64), rules)
    assert np.all(np.diff(times.ticks) > 0)
    return times


@pytest.mark.parametrize(
    ("stamps", "at"),
    [
        ((0, 40, 80, 80, 160, 200), [3]),
        ((0, 40, 120, 120, 160, 200), [2]),
        ((0, 40, None, 120, 160, 200), [2]),
        ((None, None, 80, 120, 160, 200), [0, 1]),
        ((0, 40, 80, 120, None, None), [4, 5]),
        ((0, 40, 80, 5000, 160, 200), [3]),
        ((0, 40, 80, 120, 160, 5 * HOUR), [5]),
        ((5000, 40, 80, 120, 160, 200), [0]),
        ((0, -9000, 80, 30, None, 200), [1, 3, 4]),
        ((0, 40, 0, 40, 160, 200), [2, 3]),
    ],
)
def test_a_damaged_timestamp_is_repaired_locally(stamps: tuple[int | None, ...], at: list[int]) -> None:
    times = repaired(*stamps)
    assert times.ticks.tolist() == [0, 40, 80, 120, 160, 200]
    assert times.repaired.tolist() == at
    assert times.changes == ()


def test_the_rate_decides_which_of_two_equal_timestamps_is_wrong() -> None:
    assert repaired(*range(0, 400, 40), 400, 400, *range(480, 800, 40)).repaired.tolist() == [11]
    assert repaired(*range(0, 400, 40), 440, 440, *range(480, 800, 40)).repaired.tolist() == [10]


def test_without_timestamps_the_header_gives_the_rate() -> None:
    assert repaired(None, None, None).ticks.tolist() == [0, 40, 80]
    assert repaired(7, 7, 7).ticks.tolist() == [7, 47, 87]
    assert repaired(7).ticks.tolist() == [7]


def test_a_restarted_clock_keeps_its_rate() -> None:
    before, after = np.arange(20) * 3600, np.arange(20) * 9000
    times = repaired(*before, *after, rules=BROADCAST)
    assert np.diff(times.ticks).tolist() == [3600] * 20 + [9000] * 19
    assert len(times.repaired) == 0
    assert [change.frame for change in times.changes] == [20]


def test_a_clock_restarted_twice_continues_each_time() -> None:
    once = [40 * number for number in range(10)]
    times = repaired(*once, *once, *once)
    assert times.ticks.tolist() == [40 * number for number in range(30)]
    assert [change.frame for change in times.changes] == [10, 20]


@pytest.mark.parametrize("jump", [HOUR + STEP, 55 * HOUR, 50 * 365 * 24 * HOUR])
def test_a_clock_set_ahead_does_not_change_the_times(jump: int) -> None:
    times = repaired(*range(0, 400, 40), *range(400 + jump, 800 + jump, 40))
    assert times.ticks.tolist() == list(range(0, 800, 40))
    assert [(change.frame, change.ticks) for change in times.changes] == [(10, jump)]


def test_a_clock_that_returns_continues_its_old_count() -> None:
    ahead = 5 * HOUR
    times = repaired(*range(0, 400, 40), *range(ahead, ahead + 400, 40), *range(810, 1210, 40))
    assert times.ticks[-10:].tolist() == list(range(810, 1210, 40))
    assert np.diff(times.ticks).max() < 2 * STEP


def test_a_gap_of_some_minutes_is_kept() -> None:
    """Screen recordings and calls have no frames while nothing moves."""
    stamps = [0, 40, 80, 30 * 60_000, 30 * 60_000 + 40]
    assert repaired(*stamps).ticks.tolist() == stamps


def test_long_steps_of_a_slow_camera_are_no_gaps() -> None:
    stamps = [number * 10 * HOUR for number in range(20)]
    assert repaired(*stamps).ticks.tolist() == stamps
    assert repaired(*stamps).changes == ()


def test_the_mpeg_clock_wraps_around() -> None:
    stamps = (np.arange(100) * 3600 + (1 << 33) - 100_000) % (1 << 33)
    times = repaired(*stamps.tolist(), rules=BROADCAST)
    assert np.diff(times.ticks).tolist() == [3600] * 99
    assert (times.repaired.tolist(), times.changes) == ([], ())


def test_a_fault_next_to_a_wrap_around_stays_local() -> None:
    truth = np.arange(100) * 3600
    stamps: list[int | None] = ((truth + (1 << 33) - 180_000) % (1 << 33)).tolist()
    stamps[20], stamps[49], stamps[50], stamps[70] = 5, None, (1 << 33) - 90_000, 1 << 32
    times = repaired(*stamps, rules=BROADCAST)
    assert (times.ticks - times.ticks[0]).tolist() == truth.tolist()
    assert times.repaired.tolist() == [20, 49, 50, 70]


@dataclass(frozen=True)
class Damaged:
    """A film's true times, the timestamps of its file, and the frames with wrong ones."""

    truth: NDArray[np.int64]
    stamps: NDArray[np.int64]
    at: frozenset[int]


@st.composite
def damaged_films(draw: st.DrawFn) -> Damaged:
    """Variable rates; up to one timestamp in ten is missing, equal to its neighbour, behind, or far off."""
    steps = draw(st.lists(st.integers(25, 60), min_size=30, max_size=150))
    truth = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    count = len(truth)
    at = draw(st.sets(st.integers(2, count - 3), min_size=1, max_size=count // 10))
    at = {number for number in at if number - 1 not in at}
    stamps = truth.copy()
    for number in at:
        kind = draw(st.sampled_from(["missing", "equal", "back", "behind", "ahead", "far ahead"]))
        stamps[number] = {
            "missing": NO_TIME,
            "equal": truth[number - 1],
            "back": truth[number - 2] - draw(st.integers(0, 500)),
            "behind": -draw(st.integers(1, 100 * HOUR)),
            "ahead": truth[number + 2] + draw(st.integers(0, 10_000)),
            "far ahead": draw(st.integers(2 * HOUR, 1000 * HOUR)),
        }[kind]
    return Damaged(truth, stamps, frozenset(at))


@settings(max_examples=100)
@given(damaged_films())
def test_single_faults_leave_all_other_times_unchanged(film: Damaged) -> None:
    times = repair(film.stamps, RULES)
    assert np.all(np.diff(times.ticks) > 0)
    assert times.changes == ()
    # Which of two equal timestamps is wrong is unknown at a variable rate: the other one may be chosen.
    sound = [number for number in range(len(film.truth)) if not {number, number + 1} & film.at]
    assert (times.ticks[sound] == film.truth[sound]).all()
    assert set(times.repaired.tolist()) <= film.at | {number - 1 for number in film.at}
    assert np.abs(times.ticks - film.truth).max() <= 180
    assert times.ticks[-1] - times.ticks[0] == film.truth[-1]


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.integers(-(1 << 40), 1 << 40), st.integers(0, 30)), min_size=1, max_size=80))
def test_any_timestamps_give_ascending_times(stamps: list[int | None]) -> None:
    for rules in (RULES, BROADCAST):
        times = repaired(*stamps, rules=rules)
        assert len(times.ticks) == len(stamps)
        assert np.isfinite(times.ticks).all()
