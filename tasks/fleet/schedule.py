"""Decisions about a fleet's runs: frames for each run, lost runs, runs to start. Pure functions.

No ledger, store, Prefect or clock: times are parameters, in seconds of a monotonic clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.runs.run_state import RunState

ASSIGNMENT_S = 30 * 60.0  # of work, at most; a lost run loses at most one segment, not all of this
LEAST_S = 10.0  # of work, if there is that much: another run for the rest would cost as much
GUESSED_FPS = 30.0  # of each worker, if none was measured
START_LIMIT_S = 180.0  # between the start of a run and its first status: a run that died in between reports nothing
SILENCE_LIMIT_S = 30.0  # of a run that waits for segments, or the lease if that is longer
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0  # after runs that ended before they were ready
MOST_REASON_CHARS = 500
UNKNOWN_TO_PREFECT = "Prefect no longer knows its run, which was deleted or lost with Prefect's database"


@dataclass(frozen=True)
class FleetRun:
    """One assignment that has not ended.

    worker: name in its status; None: no status was read yet
    ready: its device is open
    given: it has received segments
    last_progress_s: time of its last progress, or of its start
    renewed_unheard: its lease was renewed without a report since the last renewal
    started_s: time at which Prefect first showed it as started, while it has no status; None otherwise
    """

    assignment_id: str
    worker: str | None = None
    ready: bool = False
    given: bool = False
    last_progress_s: float = 0.0
    renewed_unheard: bool = False
    started_s: float | None = None


@dataclass(frozen=True)
class FreeWork:
    """Number of segments of a batch that no run holds, and of their frames."""

    segments: int = 0
    frames: int = 0

    def less(self, segments: int, frames: int) -> "FreeWork":
        return FreeWork(self.segments - segments, self.frames - frames)


class Lost(NamedTuple):
    """Reason for giving up a run. failed: delay the next start; crash: message for the run's state in Prefect"""

    reason: str
    failed: bool = True
    crash: str | None = None


def share(worker: str, online: Sequence[str], speeds: Mapping[str, float], frames_free: int) -> int:
    """Return the number of frames for a ready worker: guided self-scheduling, weighted by speed.

    Polychronopoulos and Kuck 1987: half of its share of the rest if all workers ended together. A worker that was never
    measured receives one segment, which measures it, so that a wrong guess holds back no more work.

    online: names of the workers; speeds: frames per second by name, of the measured workers
    """
    if worker not in speeds:
        return 1
    speed = speeds[worker]
    together = sum(speed_of(name, speeds) for name in {*online, worker})
    guided = max(frames_free * speed / together / 2, LEAST_S * speed)
    return int(max(1, min(guided, ASSIGNMENT_S * speed)))


def speed_of(worker: str, speeds: Mapping[str, float]) -> float:
    """Return frames per second: measured, else the mean of the measured workers."""
    known = speeds.get(worker)
    if known:
        return known
    return sum(speeds.values()) / len(speeds) if speeds else GUESSED_FPS


def waits_for_segments(run: FleetRun) -> bool:
    """Return True if the run's device is open and it has no segments yet."""
    return run.ready and not run.given


def missed_reports(since_read_s: float, lease_s: float) -> bool:
    """Return True if reports were not read for so long that leases may have ended because of this process itself."""
    return since_read_s > lease_s / 2


def runs_to_renew(runs: Sequence[FleetRun]) -> list[FleetRun]:
    """Return the runs whose leases are renewed once after a gap in reading reports; dead runs expire afterwards."""
    return [run for run in runs if not run.renewed_unheard]


def silence_limit_s(lease_s: float) -> float:
    return max(lease_s, SILENCE_LIMIT_S)


def silent_runs(runs: Sequence[FleetRun], now_s: float, lease_s: float) -> list[FleetRun]:
    """Return runs that wait for segments and stopped reporting. Runs with segments depend on their lease."""
    limit_s = silence_limit_s(lease_s)
    return [run for run in runs if run.worker is not None and not run.given and now_s - run.last_progress_s > limit_s]


def started_since(run: FleetRun, state: RunState | None, now_s: float) -> float | None:
    """Return the time since which the run is started without a report; None if it is not started, or has reported."""
    if state is None or state.over or not state.taken or run.worker is not None:
        return None
    return now_s if run.started_s is None else run.started_s


def check_run(run: FleetRun, state: RunState | None, now_s: float) -> Lost | None:
    """Return the reason to give up a run, by its state in Prefect; None: it continues.

    state: None if Prefect does not know the run. A run that has reported may be alive all the same, for example if the
    server's database was restored from a backup, so only its lease decides.
    """
    if state is None:
        return Lost(UNKNOWN_TO_PREFECT, failed=False) if run.worker is None else None
    if state.over:
        return Lost(f"its run is {state.name}: {state.message}"[:MOST_REASON_CHARS])
    if run.started_s is not None and now_s - run.started_s > START_LIMIT_S:
        return Lost(
            "its run did not start", crash=f"No status within {START_LIMIT_S:.0f} s: the run died with its worker."
        )
    return None


def check_ended_run(error: str | None, undone: int) -> Lost | None:
    """Return the reason to treat an ended run as lost; None: it completed its order.

    A run that left segments without an error is lost, too. Otherwise it would receive the same segments forever.
    """
    if error is None and not undone:
        return None
    return Lost(error or f"it ended and left {undone} segments")


def piece_in_progress(current: int | None, held: Sequence[bool]) -> int | None:
    """Return the index of the piece whose attempt counts as failed when its run is lost; None: no piece.

    It is the current piece, else the first that the run holds.
    held: for each piece, True if the run still holds it
    """
    if current is not None and current < len(held):
        return current if held[current] else None
    return held.index(True) if True in held else None


def runs_to_start(runs: Sequence[FleetRun], online: Sequence[str], segments_free: int, night_s: float) -> int:
    """Return the number of runs to start: one waiting run per worker, while segments are free.

    A waiting run has finished its imports when the worker's device becomes free. At the start of a batch no worker
    receives a second run before each has a first one, since the imports of both would compete.

    night_s: seconds since the batch started
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
    """Return the seconds until the next start, after this many consecutive runs that ended before they were ready."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
