"""Decisions about a fleet's runs: how many frames each gets, which are lost, how many start. Values in, values out.

No ledger, no store, no Prefect and no clock: times are seconds of one clock that only goes forward, and are handed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.runs.run_state import RunState

ASSIGNMENT_S = 30 * 60.0  # of work, at most: what a lost run loses is bounded by its segments, not by this
LEAST_S = 10.0  # of work, where there is so much: the run that would do the rest costs as much itself
GUESSED_FPS = 30.0  # of a worker that was never measured, where none was
START_LIMIT_S = 180.0  # from a worker's taking a run to its first status: a run that died in between reports nothing
SILENCE_LIMIT_S = 30.0  # of a run that waits for segments, or the lease where that is longer
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0  # after runs that ended without ever being ready
MOST_REASON_CHARS = 500
FORGOTTEN = "Prefect no longer knows its run (deleted, or its database was reset): another one is started"


@dataclass(frozen=True)
class FleetRun:
    """One assignment that has not ended.

    worker: name in its status; None: no status was read yet
    ready: its device is open
    given: it has segments
    heard_s: time of its last progress; without any, of its start
    spared: its lease was renewed although nothing was heard since the last renewal
    taken_s: time at which Prefect first had it with a worker while there was no status; None: it is not so
    """

    assignment_id: str
    worker: str | None = None
    ready: bool = False
    given: bool = False
    heard_s: float = 0.0
    spared: bool = False
    taken_s: float | None = None


@dataclass(frozen=True)
class FreeWork:
    """Segments of a batch that nobody holds, and the number of their frames."""

    segments: int = 0
    frames: int = 0

    def less(self, segments: int, frames: int) -> "FreeWork":
        return FreeWork(self.segments - segments, self.frames - frames)


class Lost(NamedTuple):
    """Reason for giving up a run. failed: the next start waits for a while; crash: message for Prefect's own state"""

    reason: str
    failed: bool = True
    crash: str | None = None


def share(worker: str, online: Sequence[str], speeds: Mapping[str, float], frames_free: int) -> int:
    """Return the number of frames for a worker that asks: guided self-scheduling, weighted by speed.

    Polychronopoulos and Kuck 1987: half of what it would do of the rest if all workers ended together. A worker that
    was never measured gets one segment, which measures it: what it would hold of a guess, others could do meanwhile.

    online: names of the workers; speeds: frames per second by name, of those that were measured
    """
    if worker not in speeds:
        return 1
    speed = speeds[worker]
    together = sum(speed_of(name, speeds) for name in {*online, worker})
    guided = max(frames_free * speed / together / 2, LEAST_S * speed)
    return int(max(1, min(guided, ASSIGNMENT_S * speed)))


def speed_of(worker: str, speeds: Mapping[str, float]) -> float:
    """Frames per second: measured, else the mean of all that were."""
    known = speeds.get(worker)
    if known:
        return known
    return sum(speeds.values()) / len(speeds) if speeds else GUESSED_FPS


def waits_for_segments(run: FleetRun) -> bool:
    """Return True if the run's device is open and it has no segments yet."""
    return run.ready and not run.given


def was_deaf(unheard_s: float, lease_s: float) -> bool:
    """Return True if reports were last read so long ago that leases may have ended by this process's own fault."""
    return unheard_s > lease_s / 2


def runs_to_spare(runs: Sequence[FleetRun]) -> list[FleetRun]:
    """Return the runs whose leases are renewed once after a gap in reading reports; dead runs expire afterwards."""
    return [run for run in runs if not run.spared]


def silence_limit_s(lease_s: float) -> float:
    return max(lease_s, SILENCE_LIMIT_S)


def silent_runs(runs: Sequence[FleetRun], now_s: float, lease_s: float) -> list[FleetRun]:
    """Return the runs that reported, wait for segments and fell silent. Runs with segments depend on their lease."""
    limit_s = silence_limit_s(lease_s)
    return [run for run in runs if run.worker is not None and not run.given and now_s - run.heard_s > limit_s]


def taken_since(run: FleetRun, state: RunState | None, now_s: float) -> float | None:
    """Time since when the run is with a worker and has not reported; None where it is not, or has."""
    if state is None or state.over or not state.taken or run.worker is not None:
        return None
    return now_s if run.taken_s is None else run.taken_s


def verdict(run: FleetRun, state: RunState | None, now_s: float) -> Lost | None:
    """Judge a run by its state in Prefect; None: it goes on.

    state: None where Prefect does not know the run. One that has reported lives in spite of that, and its lease
    decides: the server's database was restored from an older one, perhaps.
    """
    if state is None:
        return Lost(FORGOTTEN, failed=False) if run.worker is None else None
    if state.over:
        return Lost(f"its run is {state.name}: {state.message}"[:MOST_REASON_CHARS])
    if run.taken_s is not None and now_s - run.taken_s > START_LIMIT_S:
        return Lost("its run never began", crash=f"no status in {START_LIMIT_S:.0f} s: it died with its worker")
    return None


def verdict_at_end(error: str | None, undone: int) -> Lost | None:
    """Judge a run that says it has ended; None: it did all that it was given.

    A run that leaves segments undone without an error is lost, too: it would be given the same ones for ever.
    """
    if error is None and not undone:
        return None
    return Lost(error or f"it ended with {undone} segments undone")


def piece_at_fault(current: int | None, held: Sequence[bool]) -> int | None:
    """Index of the piece that counts as tried when its run is lost: the current one, else the first that it holds.

    held: for each piece whether the run still holds it; None: no piece is at fault
    """
    if current is not None and current < len(held):
        return current if held[current] else None
    return held.index(True) if True in held else None


def runs_to_start(runs: Sequence[FleetRun], online: Sequence[str], segments_free: int, night_s: float) -> int:
    """Return the number of runs to start: one waiting run per worker, while segments are free.

    Its imports are then done when the worker's device gets free. In the beginning of a night no worker gets a second
    run before each has a first: the imports of both would compete.

    night_s: seconds since the night began
    """
    waiting = [run for run in runs if not run.given]
    room = min(len(online), segments_free) - len(waiting)
    at_work = {run.worker for run in runs if run.given and run.worker is not None}
    idle = set(online) - at_work
    if idle and night_s <= START_LIMIT_S:
        first = sum(run.worker not in at_work for run in waiting)
        room = min(room, len(idle) - first)
    return max(0, room)


def pause_s(failures: int) -> float:
    """Seconds until the next start after so many runs in a row that ended without ever being ready."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
