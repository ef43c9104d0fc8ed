"""Damaged time stamps are repaired where they are; all others keep their times to the tick."""

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
def test_a_damaged_stamp_is_repaired_where_it_is(stamps: tuple[int | None, ...], at: list[int]) -> None:
    times = repaired(*stamps)
    assert times.ticks.tolist() == [0, 40, 80, 120, 160, 200]
    assert times.repaired.tolist() == at
    assert times.changes == ()


def test_which_of_two_equal_stamps_is_wrong_shows_by_the_rate() -> None:
    assert repaired(*range(0, 400, 40), 400, 400, *range(480, 800, 40)).repaired.tolist() == [11]
    assert repaired(*range(0, 400, 40), 440, 440, *range(480, 800, 40)).repaired.tolist() == [10]


def test_without_any_stamp_the_header_tells_the_rate() -> None:
    assert repaired(None, None, None).ticks.tolist() == [0, 40, 80]
    assert repaired(7, 7, 7).ticks.tolist() == [7, 47, 87]
    assert repaired(7).ticks.tolist() == [7]


def test_a_clock_that_starts_again_goes_on_with_its_own_rate_before_and_after() -> None:
    before, after = np.arange(20) * 3600, np.arange(20) * 9000
    times = repaired(*before, *after, rules=BROADCAST)
    assert np.diff(times.ticks).tolist() == [3600] * 20 + [9000] * 19
    assert len(times.repaired) == 0
    assert [change.frame for change in times.changes] == [20]


def test_a_clock_that_starts_again_twice_is_counted_on_each_time() -> None:
    once = [40 * number for number in range(10)]
    times = repaired(*once, *once, *once)
    assert times.ticks.tolist() == [40 * number for number in range(30)]
    assert [change.frame for change in times.changes] == [10, 20]


@pytest.mark.parametrize("jump", [HOUR + STEP, 55 * HOUR, 50 * 365 * 24 * HOUR])
def test_a_clock_that_is_set_ahead_is_left_out_of_the_times(jump: int) -> None:
    times = repaired(*range(0, 400, 40), *range(400 + jump, 800 + jump, 40))
    assert times.ticks.tolist() == list(range(0, 800, 40))
    assert [(change.frame, change.ticks) for change in times.changes] == [(10, jump)]


def test_a_clock_that_comes_back_goes_on_from_its_old_count() -> None:
    ahead = 5 * HOUR
    times = repaired(*range(0, 400, 40), *range(ahead, ahead + 400, 40), *range(810, 1210, 40))
    assert times.ticks[-10:].tolist() == list(range(810, 1210, 40))
    assert np.diff(times.ticks).max() < 2 * STEP


def test_a_gap_of_some_minutes_is_one() -> None:
    """Screen recordings and calls have no frame while nothing moves."""
    stamps = [0, 40, 80, 30 * 60_000, 30 * 60_000 + 40]
    assert repaired(*stamps).ticks.tolist() == stamps


def test_a_slow_camera_has_no_gaps() -> None:
    stamps = [number * 10 * HOUR for number in range(20)]
    assert repaired(*stamps).ticks.tolist() == stamps
    assert repaired(*stamps).changes == ()


def test_the_clock_of_broadcasting_wraps_around() -> None:
    stamps = (np.arange(100) * 3600 + (1 << 33) - 100_000) % (1 << 33)
    times = repaired(*stamps.tolist(), rules=BROADCAST)
    assert np.diff(times.ticks).tolist() == [3600] * 99
    assert (times.repaired.tolist(), times.changes) == ([], ())


def test_damage_beside_a_wrap_around_stays_there() -> None:
    truth = np.arange(100) * 3600
    stamps: list[int | None] = ((truth + (1 << 33) - 180_000) % (1 << 33)).tolist()
    stamps[20], stamps[49], stamps[50], stamps[70] = 5, None, (1 << 33) - 90_000, 1 << 32
    times = repaired(*stamps, rules=BROADCAST)
    assert (times.ticks - times.ticks[0]).tolist() == truth.tolist()
    assert times.repaired.tolist() == [20, 49, 50, 70]


@dataclass(frozen=True)
class Damaged:
    """A film's true times, what its file says of them, and which frames it lies about."""

    truth: NDArray[np.int64]
    stamps: NDArray[np.int64]
    at: frozenset[int]


@st.composite
def damaged_films(draw: st.DrawFn) -> Damaged:
    """Variable rates; up to one stamp in ten is missing, equal to its neighbour, behind, or far off."""
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


@settings(max_examples=100, deadline=None)
@given(damaged_films())
def test_any_single_damages_leave_all_other_frames_their_time(film: Damaged) -> None:
    times = repair(film.stamps, RULES)
    assert np.all(np.diff(times.ticks) > 0)
    assert times.changes == ()
    # Of two equal stamps at a variable rate nobody can tell which is wrong: the one beside may be taken.
    sound = [number for number in range(len(film.truth)) if not {number, number + 1} & film.at]
    assert (times.ticks[sound] == film.truth[sound]).all()
    assert set(times.repaired.tolist()) <= film.at | {number - 1 for number in film.at}
    assert np.abs(times.ticks - film.truth).max() <= 180
    assert times.ticks[-1] - times.ticks[0] == film.truth[-1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(1 << 40), 1 << 40), st.integers(0, 30)), min_size=1, max_size=80))
def test_any_stamps_at_all_give_ascending_times(stamps: list[int | None]) -> None:
    for rules in (RULES, BROADCAST):
        times = repaired(*stamps, rules=rules)
        assert len(times.ticks) == len(stamps)
        assert np.isfinite(times.ticks).all()
