"""Fleet dispatch: give the segments of a batch to runs on the edge pool, and load their results into SQL.

The ledger is the truth, the store transports messages, and Prefect only starts processes. Prefect's state of a run is
trusted when the run has ended, never when it has started. A run receives segments when it reports that its device is
open, so a run that does not start holds none. The state of this process can be restored from ledger and store: after a
kill, the next batch adopts the work in progress.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from prefect import task
from prefect.runtime import flow_run

from models.inference.spec import RuntimeSpec
from models.types import NightjarError, Segment
from storage.ledger import assignments, batches, leases
from storage.ledger.assignments import Assignment
from storage.ledger.commit import load_result
from storage.ledger.leases import Claim
from storage.ledger.speeds import measured_speeds
from storage.objects.archive import Entry
from storage.objects.places import ObjectError, StoreError
from storage.sql.database import DataRefusedError
from tasks.batch.night import Night, NightKey, open_night
from tasks.fleet import messages, schedule
from tasks.fleet.messages import Call, Done, Fault, File, Order, OrderError, Piece, Status
from tasks.fleet.schedule import FleetRun, FreeWork, Lost
from tasks.runs.cancelling import BatchCancelled, signals_ignored
from tasks.runs.edge_runs import OUTAGES, EdgeRuns, NotDeployedError, RequestedAction
from tasks.runs.policy import TASK
from tasks.runs.progress_artifact import frames_in_prefect
from tasks.segment.result_files import Stored, find, load, result_prefix, segments_with_results
from tasks.text.progress import FrameProgress
from tasks.waiting.retry import AWAY, OutageRetry, is_away

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_S = 0.5
POLL_PREFECT_S = 3.0
COUNT_S = 2.0


@dataclass
class Member:
    """State of one assignment that has not ended.

    order: None until it is written
    claims: one per piece of the order; None once it was loaded, quarantined or released
    loaded, faults: number of the status's results and faults that were processed
    renewed: time of the last renewal of the lease
    last_progress, renewed_unheard, started: as in FleetRun
    stamp: stamp of the newest processed status; None: there was none
    """

    assignment: Assignment
    order: Order | None = None
    claims: list[Claim | None] = field(default_factory=list)
    status: Status | None = None
    loaded: int = 0
    faults: int = 0
    frames: int = 0
    renewed: float = 0.0
    last_progress: float = field(default_factory=time.monotonic)
    renewed_unheard: bool = False
    started: float | None = None
    stamp: str | None = None

    @property
    def run(self) -> FleetRun:
        """Return the facts that the scheduling decisions depend on."""
        status = self.status
        return FleetRun(
            assignment_id=self.assignment.assignment_id,
            worker=status.worker if status else None,
            ready=status is not None and status.ready,
            given=self.order is not None,
            last_progress_s=self.last_progress,
            renewed_unheard=self.renewed_unheard,
            started_s=self.started,
        )

    @property
    def worker(self) -> str:
        """Return the name of its worker, for log lines."""
        return self.status.worker if self.status else "a worker"

    @property
    def granted_frames(self) -> int:
        """Return the number of frames in its order, the most that it can report."""
        return sum(piece.stop_frame - piece.start_frame for piece in self.order.pieces) if self.order else 0

    @property
    def undone(self) -> int:
        """Return the number of segments in its order that it still holds."""
        return sum(claim is not None for claim in self.claims) if self.order else 0

    @property
    def segment_in_progress(self) -> Claim | None:
        """Return the segment whose attempt counts as failed when the run is lost."""
        current = self.status.current if self.status else None
        at = schedule.piece_in_progress(current, [claim is not None for claim in self.claims])
        return None if at is None else self.claims[at]


@task(name="run fleet", **TASK)
def run_fleet_task(key: NightKey, entries: Mapping[int, Entry], runtime: RuntimeSpec) -> None:
    """Process the segments of this batch on the edge pool. Raises as run_fleet does."""
    with open_night(key) as night:
        frames = night.retry(lambda: batches.count_segments(night.site.engine, night.batch_id)).frames_missing
        with frames_in_prefect(frames) as progress, EdgeRuns() as runs:
            run_id = flow_run.get_id()
            requested_action = partial(runs.requested_action, str(run_id)) if run_id else no_request
            run_fleet(night, entries, runtime, runs, progress, requested_action)


def no_request() -> RequestedAction:
    return "continue"


def run_fleet(
    night: Night,
    entries: Mapping[int, Entry],
    runtime: RuntimeSpec,
    runs: EdgeRuns,
    progress: FrameProgress,
    requested_action: Callable[[], RequestedAction] = no_request,
) -> None:
    """Assign the segments of a batch to the edge pool until none is missing.

    entries: video_id -> its file in the archive
    runtime: precision of the workers; each has its own device
    requested_action: returns the action that a user requested for this batch
    Raises NightjarError if database, store or Prefect were unavailable for longer than the settings allow, if the
    deployment is missing, or if the batch was cancelled.
    """
    fleet = night.retry(lambda: Fleet(night, entries, runtime, runs, progress, requested_action))
    try:
        fleet.run()
    except BaseException:
        with signals_ignored():
            fleet.cancel_all("the batch was stopped")
        raise
    fleet.dismiss_all("nothing was left to do")


class Fleet:
    """The parent's side of one batch."""

    def __init__(
        self,
        night: Night,
        entries: Mapping[int, Entry],
        runtime: RuntimeSpec,
        runs: EdgeRuns,
        progress: FrameProgress,
        requested_action: Callable[[], RequestedAction] = no_request,
    ) -> None:
        self._night, self._entries, self._runtime = night, entries, runtime
        self._runs, self._progress, self._requested_action = runs, progress, requested_action
        self._engine, self._artifacts = night.site.engine, night.site.artifacts
        self._lease_s = night.site.settings.lease_s
        self._members: dict[str, Member] = {}
        self._workers: list[str] = []
        self._free = FreeWork()
        self._paused = False
        # A deployment that existed may come back, for example when Prefect's database is restored.
        self._also_temporary: tuple[type[NotDeployedError], ...] = ()
        self._failures = 0
        self._next_start = 0.0
        self._begun = self._statuses_read = time.monotonic()
        self._due: dict[str, float] = {}
        self._speeds = {
            speed.worker: speed.frames_per_s for speed in measured_speeds(self._engine, night.model_version_id)
        }

    def run(self) -> None:
        """Run until no segment of the batch is missing."""
        self._retrying(self._adopt)
        while not self._retrying(self._tick):
            time.sleep(TICK_S)

    def _retrying(self, step: Callable[[], T]) -> T:
        """Repeat the step during outages and return its result. Database and store have answered before."""
        return OutageRetry(self._night.site.settings.outage_s, self._is_temporary)(step)

    def _is_temporary(self, error: Exception) -> bool:
        also = (*AWAY, *OUTAGES, *self._also_temporary)
        return isinstance(error, also) and not isinstance(error, DataRefusedError)

    def _tick(self) -> bool:
        """Process everything that is due. Returns True when no segment is missing."""
        self._read_statuses()
        if self._is_due("count", COUNT_S):
            self._give_up_silent_runs()
            if not batches.count_segments(self._engine, self._night.batch_id).missing:
                return True
            self._free = FreeWork(*leases.count_free(self._engine, self._night.batch_id))
        if self._is_due("prefect", POLL_PREFECT_S):
            self._poll_prefect()
        return False

    def _give_up_silent_runs(self) -> None:
        """Give up runs with an expired lease and silent waiting runs, unless this process missed their reports."""
        since_read_s, self._statuses_read = time.monotonic() - self._statuses_read, time.monotonic()
        if schedule.missed_reports(since_read_s, self._lease_s):
            self._renew_all_once()
        for assignment in assignments.lapsed(self._engine, self._night.batch_id):
            self._give_up(assignment.assignment_id, Lost("no progress until its lease ended"))
        limit_s = schedule.silence_limit_s(self._lease_s)
        for run in schedule.silent_runs(self._fleet_runs(), time.monotonic(), self._lease_s):
            self._give_up(run.assignment_id, Lost(f"no report for {limit_s:.0f} s while it waited for segments"))

    def _renew_all_once(self) -> None:
        """Renew each lease once. A run must report before its lease is renewed again."""
        for run in schedule.runs_to_renew(self._fleet_runs()):
            assignments.renew(self._engine, run.assignment_id, self._lease_s)
            member = self._members[run.assignment_id]
            member.last_progress, member.renewed_unheard = time.monotonic(), True

    def _fleet_runs(self) -> list[FleetRun]:
        return [member.run for member in self._members.values()]

    def cancel_all(self, reason: str) -> None:
        """Release the workers and free their segments, as far as database and store answer."""
        for member in list(self._members.values()):
            with suppress(NightjarError, *OUTAGES):
                self._dismiss(member, reason)

    def dismiss_all(self, reason: str) -> None:
        """Release all workers at the end of the batch, and close all of its assignments."""
        for member in list(self._members.values()):
            self._retrying(partial(self._dismiss, member, reason))
        for forgotten in self._retrying(self._open_assignments):
            self._retrying(partial(assignments.end, self._engine, forgotten.assignment_id, "dismissed", reason))

    def _open_assignments(self) -> list[Assignment]:
        return assignments.open_assignments(self._engine, self._night.batch_id)

    # Reports of workers

    def _read_statuses(self) -> None:
        """Read the changed statuses, found by one listing, and serve the waiting runs.

        The listing comes first, so that a status that changes while it is read is read again.
        """
        stamps = messages.status_stamps(self._artifacts, self._members) if self._members else {}
        for assignment_id, member in list(self._members.items()):
            if stamps.get(assignment_id) != member.stamp:
                self._handle(member, self._read_status)
                member.stamp = stamps.get(assignment_id)
            else:
                self._handle(member, self._serve)

    def _handle(self, member: Member, look: Callable[[Member], None]) -> None:
        """Process a member. An unusable report ends that member only."""
        try:
            look(member)
        except Exception as error:
            if is_away(error) or isinstance(error, OUTAGES):
                raise
            reason = f"its report cannot be used: {str(error) or type(error).__name__}"
            self._give_up(member.assignment.assignment_id, Lost(reason))

    def _read_status(self, member: Member) -> None:
        """Process a worker's status. It is kept only after it was processed, so an interrupted step is repeated."""
        assignment_id = member.assignment.assignment_id
        try:
            status = messages.read_status(self._artifacts, assignment_id)
        except OrderError as error:
            return self._give_up(assignment_id, Lost(str(error)))
        if status is None:
            return None
        moved = member.status is None or status.progress != member.status.progress
        if moved:
            member.last_progress, member.renewed_unheard = time.monotonic(), False
        if member.order is not None:
            self._process_status(member, status)
            if moved and time.monotonic() - member.renewed > self._lease_s / 4:
                assignments.renew(self._engine, assignment_id, self._lease_s)
                member.renewed = time.monotonic()
        member.status = status
        return self._process_end(member, status) if status.ended else self._serve(member)

    def _serve(self, member: Member) -> None:
        """Give segments to a run that is ready and waiting."""
        if member.status is not None and schedule.waits_for_segments(member.run) and not self._paused:
            self._give(member, member.status)

    def _give(self, member: Member, status: Status) -> None:
        """Give a ready run segments, by the speed of its worker. If none is free, the run keeps waiting."""
        if not member.claims and self._free.segments:
            frames = schedule.share(status.worker, self._workers, self._speeds, self._free.frames)
            claims = assignments.grant(
                self._engine, member.assignment, status.worker, status.device, frames, self._lease_s
            )
            member.claims, member.renewed = list(claims), time.monotonic()
            self._free = self._free.less(len(claims), sum(claim.segment.frames for claim in claims))
        if member.claims:
            self._failures = 0
            self._send_order(member)

    def _send_order(self, member: Member) -> None:
        """Write the order. It is kept only once it is written, so that an outage repeats the step."""
        self._load_stored_results(member)
        left = [claim for claim in member.claims if claim is not None]
        order = self._order(left)
        messages.write(self._artifacts, messages.order_key(member.assignment.assignment_id), order)
        member.order, member.claims = order, list(left)

    def _order(self, claims: list[Claim]) -> Order:
        files: dict[str, int] = {}
        listed: list[File] = []
        pieces: list[Piece] = []
        for claim in claims:
            sha256 = claim.segment.video_sha256
            if sha256 not in files:
                files[sha256] = len(listed)
                entry = self._entries[claim.video_id]
                listed.append(File(key=entry.key, size_bytes=entry.size_bytes, etag=entry.etag, sha256=sha256))
            start, stop = claim.segment.start_frame, claim.segment.stop_frame
            pieces.append(Piece(file=files[sha256], start_frame=start, stop_frame=stop, attempt=claim.attempt))
        return Order(files=listed, pieces=pieces)

    def _load_stored_results(self, member: Member) -> None:
        """Load results that are in the store from an earlier attempt or an earlier database."""
        version = self._night.manifest.version_id
        videos = {claim.segment.video_sha256 for claim in member.claims if claim}
        there = set().union(*(segments_with_results(self._artifacts, version, video) for video in videos))
        for number, claim in enumerate(member.claims):
            if claim is None or result_prefix(version, claim.segment) not in there:
                continue
            found = find(self._artifacts, self._night.results, self._night.manifest, claim.segment)
            if found and load_result(self._engine, found[0], *found[1]):
                member.claims[number] = None
                self._progress.add(claim.segment.frames)

    def _process_status(self, member: Member, status: Status) -> None:
        """Load new results into SQL and new faults into the ledger."""
        while member.loaded < len(status.done):
            self._load(member, status.done[member.loaded])
            member.loaded += 1
        while member.faults < len(status.faults):
            self._record_fault(member, status.faults[member.faults])
            member.faults += 1
        frames = min(status.frames, member.granted_frames)
        if frames > member.frames:
            self._progress.add(frames - member.frames, status.worker)
            member.frames = frames

    def _load(self, member: Member, done: Done) -> None:
        claim = member.claims[done.piece] if done.piece < len(member.claims) else None
        if claim is None:
            return
        try:
            stored = Stored(done.key, done.sha256)
            result = load(self._artifacts, self._night.results, stored, self._night.manifest, claim.segment)
            if not load_result(self._engine, result, done.key, done.sha256):
                log.warning("%s was completed by another worker in the meantime", _name(claim.segment))
            speed = result.report.frames_done / max(result.report.wall_s, 1e-9)
            self._speeds[result.report.worker] = speed
        except Exception as error:
            if is_away(error):
                raise
            reason = f"{member.worker}'s result cannot be used: {str(error) or type(error).__name__}"
            leases.release(self._engine, claim, reason)
            log.warning("%s will be repeated: %s", _name(claim.segment), reason)
        member.claims[done.piece] = None

    def _record_fault(self, member: Member, fault: Fault) -> None:
        claim = member.claims[fault.piece] if fault.piece < len(member.claims) else None
        if claim is None:
            return
        reason = f"{fault.reason} (reported by {member.worker})"
        if fault.kind == "input":
            leases.quarantine_segment(self._engine, claim, reason)
        else:
            leases.release(self._engine, claim, reason)
        member.claims[fault.piece] = None

    def _process_end(self, member: Member, status: Status) -> None:
        assignment_id = member.assignment.assignment_id
        lost = schedule.check_ended_run(status.error, member.undone)
        if lost:
            return self._give_up(assignment_id, lost)
        assignments.end(self._engine, assignment_id, "done")
        del self._members[assignment_id]
        return None

    # Runs in Prefect

    def _poll_prefect(self) -> None:
        """Read requests, workers and states of runs, and start runs for free segments."""
        requested_action = self._requested_action()
        if requested_action == "stop":
            raise BatchCancelled("The batch was cancelled in Prefect. What was done is kept. Run it again to continue.")
        paused = requested_action == "pause"
        if paused != self._paused:
            log.info("Paused: no more segments are assigned" if paused else "Resumed")
            self._paused = paused
        self._workers = self._runs.workers()
        self._also_temporary = (NotDeployedError,)
        self._check_states()
        if not self._workers:
            self._warn(
                "workers", "No worker of the pool edge is online. Run 'nightjar worker --pool edge' on a machine."
            )
        if not self._paused:
            self._start_runs()

    def _check_states(self) -> None:
        """Give up runs that have ended in Prefect or are unknown to it."""
        by_run = {m.assignment.flow_run_id: m for m in self._members.values() if m.assignment.flow_run_id}
        states = self._runs.states([run for run in by_run if run])
        for run_id, member in by_run.items():
            state = states.get(run_id or "")
            if state is None or state.over:
                self._handle(member, self._read_status)  # its last status may not have been read yet
            member.started = schedule.started_since(member.run, state, time.monotonic())
            lost = schedule.check_run(member.run, state, time.monotonic())
            if lost and member.assignment.assignment_id in self._members:
                if lost.crash and run_id:
                    self._runs.crash(run_id, lost.crash)
                self._give_up(member.assignment.assignment_id, lost)

    def _start_runs(self) -> None:
        """Start one waiting run per worker while segments are free. It imports everything before it has a device."""
        for member in self._members.values():
            if member.assignment.flow_run_id is None:
                self._start(member)
        begun = time.monotonic()
        night_s = begun - self._begun
        for _ in range(schedule.runs_to_start(self._fleet_runs(), self._workers, self._free.segments, night_s)):
            # A busy server takes seconds per run, in which no status is read.
            if time.monotonic() < self._next_start or time.monotonic() - begun > POLL_PREFECT_S:
                return
            assignment = assignments.create(self._engine, self._night.batch_id)
            self._members[assignment.assignment_id] = Member(assignment)
            self._start(self._members[assignment.assignment_id])

    def _start(self, member: Member) -> None:
        """Start the member's run in Prefect. A repeated request returns the same run."""
        assignment_id = member.assignment.assignment_id
        version = self._night.manifest.version_id
        call = Call(version_sha256=version, archive=self._night.location, precision=self._runtime.precision)
        messages.write(self._artifacts, messages.call_key(assignment_id), call)
        run_id = self._runs.start(assignment_id, self._night.batch_id)
        assignments.set_flow_run(self._engine, assignment_id, run_id)
        member.assignment = replace(member.assignment, flow_run_id=run_id)

    def _give_up(self, assignment_id: str, lost: Lost) -> None:
        """Free the segments of a lost run, and tell it to stop in case it is alive."""
        member = self._members.get(assignment_id)
        assignments.end(
            self._engine, assignment_id, "lost", lost.reason, member.segment_in_progress if member else None
        )
        self._members.pop(assignment_id, None)
        log.warning("%s was lost: %s", member.worker if member and member.status else "A run", lost.reason)
        if lost.failed and member and member.order is None:
            # For example, a worker without its device would fail runs as fast as they start.
            self._next_start = time.monotonic() + schedule.pause_s(self._failures)
            self._failures += 1
        with suppress(StoreError):
            self._artifacts.put_bytes(messages.revoked_key(assignment_id), lost.reason.encode())

    def _dismiss(self, member: Member, reason: str) -> None:
        """Release a worker. Only the ledger's entry matters; the rest lets the run stop earlier."""
        assignment_id = member.assignment.assignment_id
        assignments.end(self._engine, assignment_id, "dismissed", reason)
        self._artifacts.put_bytes(messages.revoked_key(assignment_id), reason.encode())
        if member.order is None:
            messages.write(self._artifacts, messages.order_key(assignment_id), Order())
        if member.assignment.flow_run_id and member.status is None:
            self._runs.cancel(member.assignment.flow_run_id)
        del self._members[assignment_id]

    def _adopt(self) -> None:
        """Adopt the work in progress of a killed batch."""
        if assignments.adopt(self._engine, self._night.batch_id):
            log.info("Adopted the runs of a batch that ended early")
        for assignment in self._open_assignments():
            member = Member(assignment)
            self._members[assignment.assignment_id] = member
            if assignment.status == "working":
                self._restore(member)

    def _restore(self, member: Member) -> None:
        assignment_id = member.assignment.assignment_id
        claims = assignments.claims(self._engine, assignment_id)
        try:
            member.order = messages.read_order(self._artifacts, assignment_id)
        except (OrderError, ObjectError) as error:
            return self._give_up(assignment_id, Lost(str(error)))
        assignments.renew(self._engine, assignment_id, self._lease_s)
        if member.order is None:  # the batch was killed before it wrote the order, for which the run still waits
            member.claims = [claim for claim in claims if claim.video_id in self._entries]
            return self._send_order(member)
        held = {claim.segment: claim for claim in claims}
        member.claims = [held.get(member.order.segment(piece)) for piece in member.order.pieces]
        return None

    # Helpers

    def _is_due(self, what: str, every_s: float) -> bool:
        if time.monotonic() < self._due.get(what, 0.0):
            return False
        self._due[what] = time.monotonic() + every_s
        return True

    def _warn(self, what: str, text: str) -> None:
        """Log the text, at most once a minute for each subject."""
        if self._is_due(f"say {what}", 60.0):
            log.warning(text)


def _name(segment: Segment) -> str:
    return f"{segment.video_sha256[:12]}… [{segment.start_frame}, {segment.stop_frame})"
