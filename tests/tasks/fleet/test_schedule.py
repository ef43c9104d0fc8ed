"""Decisions about a fleet's runs as pure functions: no ledger, no store, no server, no clock."""

import heapq
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.fleet import schedule
from tasks.fleet.schedule import (
    ASSIGNMENT_S,
    LEAST_S,
    LONGEST_PAUSE_S,
    SILENCE_LIMIT_S,
    START_LIMIT_S,
    UNKNOWN_TO_PREFECT,
    FleetRun,
    FreeWork,
    Lost,
)
from tasks.runs.run_state import RunState

NAMES = ["pi-1", "pi-2", "pi-3", "pi-4"]
FPS = st.floats(0.1, 2000)
SPEEDS = st.dictionaries(st.sampled_from(NAMES), FPS, min_size=1)
FRAMES = st.integers(0, 10_000_000)
LEASE_S = 120.0
WAITS = FleetRun("waits", worker="pi-1", ready=True)
WORKS = FleetRun("works", worker="pi-1", ready=True, given=True)
SCHEDULED = RunState("Scheduled", over=False, taken=False, message="")
TAKEN = RunState("Pending", over=False, taken=True, message="")
CRASHED = RunState("Crashed", over=True, taken=False, message="killed")


# Shares


@pytest.mark.parametrize(
    ("speed", "frames_free", "share"), [(1, 100, 50), (1, 16, 10), (4, 100, 50), (4, 60, 40), (1, 1_000_000, 1800)]
)
def test_a_share_is_half_of_the_rest_but_at_least_ten_seconds(speed: float, frames_free: int, share: int) -> None:
    """At least ten seconds of the worker's time, at most half an hour; one worker is online."""
    assert schedule.share("pi-1", ["pi-1"], {"pi-1": speed}, frames_free) == share


@given(SPEEDS, FRAMES)
def test_an_unmeasured_worker_gets_one_segment(speeds: dict[str, float], frames: int) -> None:
    assert schedule.share("new", [*speeds, "new"], speeds, frames) == 1


@given(SPEEDS, FRAMES, FPS)
def test_a_faster_worker_gets_no_less(speeds: dict[str, float], frames: int, speed: float) -> None:
    slower, faster = sorted((speed, speeds.get("pi-1", 1.0)))
    shares = [schedule.share("pi-1", NAMES, {**speeds, "pi-1": fps}, frames) for fps in (slower, faster)]
    assert shares[0] <= shares[1]


@given(SPEEDS, FRAMES, FRAMES)
def test_more_free_frames_make_no_share_smaller(speeds: dict[str, float], some: int, more: int) -> None:
    for worker in speeds:
        first, second = (schedule.share(worker, NAMES, speeds, frames) for frames in sorted((some, more)))
        assert first <= second


@given(SPEEDS, FRAMES)
def test_all_shares_together_leave_half_for_the_next_round(speeds: dict[str, float], frames: int) -> None:
    """Shares above the minimum; a smaller share is raised to ten seconds of work."""
    shares = {worker: schedule.share(worker, list(speeds), speeds, frames) for worker in speeds}
    assert sum(frames for worker, frames in shares.items() if frames > LEAST_S * speeds[worker] + 1) <= frames / 2
    assert all(1 <= frames <= max(1, ASSIGNMENT_S * speeds[worker]) for worker, frames in shares.items())


def night(speeds: dict[str, float], frames: int, segment: int) -> tuple[list[int], dict[str, float]]:
    """Simulate a night in which every worker asks as soon as it is idle, and receives whole segments.

    Returns the frames of each order, and the time at which each worker ended.
    """
    free, orders, ended = frames, [], dict.fromkeys(speeds, 0.0)
    asking = [(0.0, worker) for worker in speeds]
    while free:
        now_s, worker = heapq.heappop(asking)
        wanted = schedule.share(worker, list(speeds), speeds, free)
        given = min(free, -(-wanted // segment) * segment)
        orders.append(given)
        free -= given
        ended[worker] = now_s + given / speeds[worker]
        heapq.heappush(asking, (ended[worker], worker))
    return orders, ended


@given(
    st.dictionaries(st.sampled_from(NAMES), st.floats(1, 2000), min_size=1),
    st.integers(0, 2_000_000),
    st.integers(1, 1800),
)
def test_a_night_assigns_every_frame_and_its_workers_end_together(
    speeds: dict[str, float], frames: int, segment: int
) -> None:
    """No worker ends later than all together would, apart from a last run's minimum work and a segment."""
    orders, ended = night(speeds, frames, segment)
    assert sum(orders) == frames
    together_s = frames / sum(speeds.values())
    slack_s = LEAST_S + (segment + 1) / min(speeds.values())
    assert max(ended.values()) <= together_s + slack_s + 1e-6


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(1, 2000), min_size=1), st.integers(1, 10_000_000))
def test_a_night_takes_few_runs(speeds: dict[str, float], frames: int) -> None:
    """Each run costs seconds: their number grows with the logarithm of the work, or with its half hours."""
    orders, _ = night(speeds, frames, segment=1)
    halving = len(speeds) * (2 + 2 * frames.bit_length())
    assert len(orders) <= halving + frames / (ASSIGNMENT_S * sum(speeds.values())) * 2 * len(speeds)


@given(SPEEDS)
def test_an_unknown_speed_is_the_mean(speeds: dict[str, float]) -> None:
    assert min(speeds.values()) * 0.999 <= schedule.speed_of("new", speeds) <= max(speeds.values()) * 1.001
    assert schedule.speed_of("new", {}) == schedule.GUESSED_FPS


def test_assigned_frames_are_no_longer_free() -> None:
    assert FreeWork(5, 100).less(2, 40) == FreeWork(3, 60)


# Runs to start


@given(st.lists(st.sampled_from(NAMES), unique=True), st.integers(0, 10), st.lists(st.booleans(), max_size=8))
def test_waiting_runs_are_limited_by_workers_and_segments(online: list[str], segments: int, given_: list[bool]) -> None:
    runs = [FleetRun(str(number), worker=NAMES[number % 4], given=given) for number, given in enumerate(given_)]
    started = schedule.runs_to_start(runs, online, segments, START_LIMIT_S + 1)
    waiting = sum(not run.given for run in runs) + started
    assert started == 0 or waiting == min(len(online), segments)
    assert schedule.runs_to_start(runs, online, segments, 0.0) <= started


def test_no_second_run_starts_before_each_worker_has_a_first_one() -> None:
    """A run that never starts delays nothing for long."""
    online, first, second = NAMES[:2], FleetRun("1", worker="pi-1", given=True), FleetRun("2")
    assert schedule.runs_to_start([], online, 5, 0) == 2
    assert schedule.runs_to_start([first, second], online, 3, 0) == 0
    assert schedule.runs_to_start([first, second], online, 3, START_LIMIT_S + 1) == 1
    both = [first, replace(second, worker="pi-2", given=True)]
    assert schedule.runs_to_start(both, online, 3, 0) == 2


def test_a_worker_with_two_runs_counts_once() -> None:
    runs = [FleetRun("1", worker="pi-1", given=True), FleetRun("2", worker="pi-1")]
    assert schedule.runs_to_start(runs, NAMES[:2], 3, 0) == 1


@given(st.integers(0, 10**9))
def test_pauses_grow_up_to_a_minute(failures: int) -> None:
    """For any number of failures of a worker without its device."""
    assert schedule.pause_s(0) == 2.0
    assert schedule.pause_s(failures) <= schedule.pause_s(failures + 1) <= LONGEST_PAUSE_S


# Silence


@given(st.floats(0, 1e6), st.floats(10, 3600))
def test_a_waiting_run_is_silent_after_its_lease(now_s: float, lease_s: float) -> None:
    runs = [WAITS, WORKS, FleetRun("no status yet")]
    silent = schedule.silent_runs(runs, now_s, lease_s)
    assert silent == ([WAITS] if now_s > max(lease_s, SILENCE_LIMIT_S) else [])


def test_a_lease_is_renewed_once_after_the_parent_stalled() -> None:
    """Dead runs lapse eventually."""
    assert schedule.missed_reports(LEASE_S / 2 + 0.1, LEASE_S)
    assert not schedule.missed_reports(LEASE_S / 2, LEASE_S)
    assert schedule.runs_to_renew([WORKS, replace(WAITS, renewed_unheard=True)]) == [WORKS]


# States of runs in Prefect, and their ends


def test_segments_go_to_runs_with_an_open_device_and_no_segments() -> None:
    assert schedule.waits_for_segments(WAITS)
    assert not schedule.waits_for_segments(WORKS)
    assert not schedule.waits_for_segments(FleetRun("no device yet", worker="pi-1"))


@pytest.mark.parametrize("state", [SCHEDULED, TAKEN])
@pytest.mark.parametrize("run", [FleetRun("new"), WAITS, WORKS])
def test_a_run_that_has_not_ended_continues(run: FleetRun, state: RunState) -> None:
    assert schedule.check_run(run, state, 1e6) is None


@pytest.mark.parametrize("run", [FleetRun("new"), WAITS, WORKS])
def test_a_run_that_has_ended_in_prefect_is_lost(run: FleetRun) -> None:
    assert schedule.check_run(run, CRASHED, 0.0) == Lost("its run is Crashed: killed")
    long = schedule.check_run(run, CRASHED._replace(message="x" * 9999), 0.0)
    assert long is not None
    assert len(long.reason) == 500


def test_a_run_that_prefect_lost_is_replaced_unless_it_reports() -> None:
    assert schedule.check_run(FleetRun("new"), None, 0.0) == Lost(UNKNOWN_TO_PREFECT, failed=False)
    assert schedule.check_run(WAITS, None, 0.0) is None
    assert schedule.check_run(WORKS, None, 0.0) is None


def test_a_run_that_was_taken_and_never_reported_is_crashed() -> None:
    run, since = FleetRun("new"), 100.0
    for now_s in (since, since + START_LIMIT_S):
        run = replace(run, started_s=schedule.started_since(run, TAKEN, now_s))
        assert run.started_s == since
        assert schedule.check_run(run, TAKEN, now_s) is None
    lost = schedule.check_run(run, TAKEN, since + START_LIMIT_S + 1)
    assert lost is not None
    assert (lost.reason, lost.crash is not None) == ("its run did not start", True)


@pytest.mark.parametrize("state", [None, SCHEDULED, CRASHED])
def test_the_time_since_it_was_taken_ends_with_the_worker(state: RunState | None) -> None:
    assert schedule.started_since(FleetRun("new", started_s=5.0), state, 9.0) is None
    assert schedule.started_since(WAITS, TAKEN, 9.0) is None


@pytest.mark.parametrize(
    ("error", "undone", "lost"),
    [
        (None, 0, None),
        ("no device", 0, Lost("no device")),
        ("no device", 3, Lost("no device")),
        (None, 3, Lost("it ended and left 3 segments")),
    ],
)
def test_a_run_that_ends_is_complete_or_lost(error: str | None, undone: int, lost: Lost | None) -> None:
    assert schedule.check_ended_run(error, undone) == lost


@given(st.none() | st.integers(0, 9), st.lists(st.booleans(), max_size=8))
def test_the_current_segment_of_a_lost_run_is_at_fault(current: int | None, held: list[bool]) -> None:
    """The run's current segment, otherwise the first; a worker may name one that does not exist."""
    at = schedule.piece_in_progress(current, held)
    if at is not None:
        assert held[at]
    if current is not None and current < len(held):
        assert at == (current if held[current] else None)
    else:
        assert (at is None) == (True not in held)
