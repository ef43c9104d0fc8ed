"""Fleet dispatch: the batch's segments to runs on the edge pool, and their results into SQL as they appear.

The ledger is the truth, the store is the wire, and Prefect only starts processes: what it says of a run is believed
where it ends a run, and never where it begins one. A run is given segments when it says that its device is open, so a
run that is stuck on its way holds nothing. Everything that this process knows can be had again from ledger and store:
killed, it is followed by another batch, which adopts what is under way.
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
from storage.ledger import assignments, batches
from storage.ledger import leases as ledger
from storage.ledger.assignments import Assignment
from storage.ledger.commit import load_result
from storage.ledger.leases import Claim
from storage.ledger.speeds import measured_speeds
from storage.objects.archive import Entry
from storage.objects.places import ObjectError, StoreError
from storage.sql.database import DataRefusedError
from tasks.batch.night import Night, NightKey, open_night
from tasks.fleet import messages as orders
from tasks.fleet import schedule
from tasks.fleet.messages import Call, Done, Fault, File, Order, OrderError, Piece, Status
from tasks.fleet.schedule import FleetRun, FreeWork, Lost
from tasks.runs.cancelling import CalledOff, undisturbed
from tasks.runs.edge_runs import OUTAGES, EdgeRuns, NotDeployedError, Wish
from tasks.runs.policy import TASK
from tasks.runs.progress_artifact import frames_in_prefect
from tasks.segment.result_files import Stored, find, load, result_prefix, segments_with_results
from tasks.text.progress import FrameProgress
from tasks.waiting.patience import AWAY, Patience, is_away

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_S = 0.5
ASK_PREFECT_S = 3.0
COUNT_S = 2.0


@dataclass
class Member:
    """One assignment that has not ended, as the parent holds it.

    order: None until it is written
    claims: per piece of the order; None where that was loaded, quarantined or given back
    loaded, faults: how many of the status's were taken
    renewed: time of the last lease
    heard, spared, taken: heard_s, spared and taken_s of a FleetRun
    stamp: of the newest status that was dealt with; None: there was none
    """

    assignment: Assignment
    order: Order | None = None
    claims: list[Claim | None] = field(default_factory=list)
    status: Status | None = None
    loaded: int = 0
    faults: int = 0
    frames: int = 0
    renewed: float = 0.0
    heard: float = field(default_factory=time.monotonic)
    spared: bool = False
    taken: float | None = None
    stamp: str | None = None

    @property
    def run(self) -> FleetRun:
        """Facts that the scheduling decisions depend on."""
        status = self.status
        return FleetRun(
            assignment_id=self.assignment.assignment_id,
            worker=status.worker if status else None,
            ready=status is not None and status.ready,
            given=self.order is not None,
            heard_s=self.heard,
            spared=self.spared,
            taken_s=self.taken,
        )

    @property
    def worker(self) -> str:
        """Name of its worker for a log line."""
        return self.status.worker if self.status else "a worker"

    @property
    def granted_frames(self) -> int:
        """Frames in its order; a worker cannot have seen more."""
        return sum(piece.stop_frame - piece.start_frame for piece in self.order.pieces) if self.order else 0

    @property
    def undone(self) -> int:
        """Number of segments in its order that it still holds."""
        return sum(claim is not None for claim in self.claims) if self.order else 0

    @property
    def culprit(self) -> Claim | None:
        """Segment that counts as tried when the run is lost."""
        current = self.status.current if self.status else None
        at = schedule.piece_at_fault(current, [claim is not None for claim in self.claims])
        return None if at is None else self.claims[at]


@task(name="run fleet", **TASK)
def run_fleet_task(key: NightKey, entries: Mapping[int, Entry], runtime: RuntimeSpec) -> None:
    """Have the edge pool do the segments of this batch. Raises as run_fleet does."""
    with open_night(key) as night:
        frames = night.patience(lambda: batches.count_segments(night.site.engine, night.batch_id)).frames_missing
        with frames_in_prefect(frames) as progress, EdgeRuns() as runs:
            me = flow_run.get_id()
            wish = partial(runs.wish, str(me)) if me else go_on
            run_fleet(night, entries, runtime, runs, progress, wish)


def go_on() -> Wish:
    return "go on"


def run_fleet(
    night: Night,
    entries: Mapping[int, Entry],
    runtime: RuntimeSpec,
    runs: EdgeRuns,
    progress: FrameProgress,
    wish: Callable[[], Wish] = go_on,
) -> None:
    """Hand out the batch's segments to the edge pool until none is missing.

    entries: video_id -> its file in the archive
    runtime: precision of the workers; each has a device of its own
    wish: action that a person requested for this batch
    Raises NightjarError when database, store or Prefect were away for longer than the settings say, when the deployment
    is missing, or when somebody has cancelled the batch.
    """
    fleet = night.patience(lambda: Fleet(night, entries, runtime, runs, progress, wish))
    try:
        fleet.run()
    except BaseException:
        with undisturbed():
            fleet.call_off("the batch was called off")
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
        wish: Callable[[], Wish] = go_on,
    ) -> None:
        self._night, self._entries, self._runtime = night, entries, runtime
        self._runs, self._progress, self._wish = runs, progress, wish
        self._engine, self._artifacts = night.site.engine, night.site.artifacts
        self._lease_s = night.site.settings.lease_s
        self._members: dict[str, Member] = {}
        self._workers: list[str] = []
        self._free = FreeWork()
        self._paused = False
        # A deployment that was there may come back: Prefect's database is being restored, perhaps.
        self._also_away: tuple[type[NotDeployedError], ...] = ()
        self._failures = 0
        self._next_start = 0.0
        self._begun = self._listened = time.monotonic()
        self._due: dict[str, float] = {}
        self._speeds = {
            speed.worker: speed.frames_per_s for speed in measured_speeds(self._engine, night.model_version_id)
        }

    def run(self) -> None:
        """Until no segment of the batch is missing."""
        self._patiently(self._adopt)
        while not self._patiently(self._tick):
            time.sleep(TICK_S)

    def _patiently(self, step: Callable[[], T]) -> T:
        """Return the step's result. Database and store have answered before, so outages are waited for."""
        return Patience(self._night.site.settings.outage_s, self._passes)(step)

    def _passes(self, error: Exception) -> bool:
        also = (*AWAY, *OUTAGES, *self._also_away)
        return isinstance(error, also) and not isinstance(error, DataRefusedError)

    def _tick(self) -> bool:
        """One look at everything; True when nothing is missing any more."""
        self._hear_all()
        if self._is_due("count", COUNT_S):
            self._lose_the_silent()
            if not batches.count_segments(self._engine, self._night.batch_id).missing:
                return True
            self._free = FreeWork(*ledger.count_free(self._engine, self._night.batch_id))
        if self._is_due("prefect", ASK_PREFECT_S):
            self._ask_prefect()
        return False

    def _lose_the_silent(self) -> None:
        """Lose runs whose lease ended, and those that wait in silence, unless this process could not hear them."""
        unheard_s, self._listened = time.monotonic() - self._listened, time.monotonic()
        if schedule.was_deaf(unheard_s, self._lease_s):
            self._spare_all()
        for assignment in assignments.lapsed(self._engine, self._night.batch_id):
            self._lose(assignment.assignment_id, Lost("silent past its lease"))
        limit_s = schedule.silence_limit_s(self._lease_s)
        for run in schedule.silent_runs(self._seen(), time.monotonic(), self._lease_s):
            self._lose(run.assignment_id, Lost(f"silent for {limit_s:.0f} s while it waited for segments"))

    def _spare_all(self) -> None:
        """Renew each lease once more; until a run reports, not again."""
        for run in schedule.runs_to_spare(self._seen()):
            assignments.renew(self._engine, run.assignment_id, self._lease_s)
            member = self._members[run.assignment_id]
            member.heard, member.spared = time.monotonic(), True

    def _seen(self) -> list[FleetRun]:
        return [member.run for member in self._members.values()]

    def call_off(self, reason: str) -> None:
        """Release the workers and free their segments, as far as database and store answer now."""
        for member in list(self._members.values()):
            with suppress(NightjarError, *OUTAGES):
                self._dismiss(member, reason)

    def dismiss_all(self, reason: str) -> None:
        """Release all workers at the end of the batch and leave nothing of it open."""
        for member in list(self._members.values()):
            self._patiently(partial(self._dismiss, member, reason))
        for forgotten in self._patiently(self._open_assignments):
            self._patiently(partial(assignments.end, self._engine, forgotten.assignment_id, "dismissed", reason))

    def _open_assignments(self) -> list[Assignment]:
        return assignments.open_assignments(self._engine, self._night.batch_id)

    # What workers say

    def _hear_all(self) -> None:
        """Read the statuses that are new, by one listing, and serve the runs that wait.

        The listing comes first: a status that changes while it is read is read again.
        """
        stamps = orders.status_stamps(self._artifacts, self._members) if self._members else {}
        for assignment_id, member in list(self._members.items()):
            if stamps.get(assignment_id) != member.stamp:
                self._hear(member, self._look_at)
                member.stamp = stamps.get(assignment_id)
            else:
                self._hear(member, self._serve)

    def _hear(self, member: Member, look: Callable[[Member], None]) -> None:
        """Look at the member; whatever it says, the worst that comes of it is its own end."""
        try:
            look(member)
        except Exception as error:
            if is_away(error) or isinstance(error, OUTAGES):
                raise
            reason = f"its words cannot be used: {str(error) or type(error).__name__}"
            self._lose(member.assignment.assignment_id, Lost(reason))

    def _look_at(self, member: Member) -> None:
        """Handle a worker's status. It is remembered once all of it is handled, so an interrupted step is repeated."""
        assignment_id = member.assignment.assignment_id
        try:
            status = orders.read_status(self._artifacts, assignment_id)
        except OrderError as error:
            return self._lose(assignment_id, Lost(str(error)))
        if status is None:
            return None
        moved = member.status is None or status.progress != member.status.progress
        if moved:
            member.heard, member.spared = time.monotonic(), False
        if member.order is not None:
            self._take(member, status)
            if moved and time.monotonic() - member.renewed > self._lease_s / 4:
                assignments.renew(self._engine, assignment_id, self._lease_s)
                member.renewed = time.monotonic()
        member.status = status
        return self._ended(member, status) if status.ended else self._serve(member)

    def _serve(self, member: Member) -> None:
        """Give segments to a run that is ready and waits."""
        if member.status is not None and schedule.waits_for_segments(member.run) and not self._paused:
            self._give(member, member.status)

    def _give(self, member: Member, status: Status) -> None:
        """Segments for a run that is ready, by how fast its worker is; where none is free, it goes on waiting."""
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
        """Remembered when it is written: what an outage interrupts is done again."""
        self._load_what_is_there(member)
        left = [claim for claim in member.claims if claim is not None]
        order = self._order(left)
        orders.write(self._artifacts, orders.order_key(member.assignment.assignment_id), order)
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

    def _load_what_is_there(self, member: Member) -> None:
        """Results of an earlier attempt, or of before the database was lost: they need not be made again."""
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

    def _take(self, member: Member, status: Status) -> None:
        """Load new results into SQL and new faults into the ledger."""
        while member.loaded < len(status.done):
            self._load(member, status.done[member.loaded])
            member.loaded += 1
        while member.faults < len(status.faults):
            self._blame(member, status.faults[member.faults])
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
                log.warning("%s was done by another one meanwhile", _name(claim.segment))
            speed = result.report.frames_done / max(result.report.wall_s, 1e-9)
            self._speeds[result.report.worker] = speed
        except Exception as error:
            if is_away(error):
                raise
            reason = f"{member.worker}'s result cannot be used: {str(error) or type(error).__name__}"
            ledger.release(self._engine, claim, reason)
            log.warning("%s is done again: %s", _name(claim.segment), reason)
        member.claims[done.piece] = None

    def _blame(self, member: Member, fault: Fault) -> None:
        claim = member.claims[fault.piece] if fault.piece < len(member.claims) else None
        if claim is None:
            return
        reason = f"{fault.reason} (reported by {member.worker})"
        if fault.kind == "input":
            ledger.quarantine_segment(self._engine, claim, reason)
        else:
            ledger.release(self._engine, claim, reason)
        member.claims[fault.piece] = None

    def _ended(self, member: Member, status: Status) -> None:
        assignment_id = member.assignment.assignment_id
        lost = schedule.verdict_at_end(status.error, member.undone)
        if lost:
            return self._lose(assignment_id, lost)
        assignments.end(self._engine, assignment_id, "done")
        del self._members[assignment_id]
        return None

    # What happens to runs

    def _ask_prefect(self) -> None:
        """States of the runs, workers, and new runs for what is free."""
        wish = self._wish()
        if wish == "stop":
            raise CalledOff("the batch was cancelled in Prefect: what is done stays, run it again to go on")
        paused = wish == "pause"
        if paused != self._paused:
            log.info("paused: nothing is handed out" if paused else "resumed")
            self._paused = paused
        self._workers = self._runs.workers()
        self._also_away = (NotDeployedError,)
        self._see_states()
        if not self._workers:
            self._say("workers", "no worker of the pool edge is online: start one by 'nightjar worker --pool edge'")
        if not self._paused:
            self._start_runs()

    def _see_states(self) -> None:
        """Give up runs that have ended in Prefect, or that it no longer knows."""
        by_run = {m.assignment.flow_run_id: m for m in self._members.values() if m.assignment.flow_run_id}
        states = self._runs.states([run for run in by_run if run])
        for run_id, member in by_run.items():
            state = states.get(run_id or "")
            if state is None or state.over:
                self._hear(member, self._look_at)  # its last status may be newer than the last look
            member.taken = schedule.taken_since(member.run, state, time.monotonic())
            lost = schedule.verdict(member.run, state, time.monotonic())
            if lost and member.assignment.assignment_id in self._members:
                if lost.crash and run_id:
                    self._runs.crash(run_id, lost.crash)
                self._lose(member.assignment.assignment_id, lost)

    def _start_runs(self) -> None:
        """One that waits for each worker, while segments are free: when it has its device, everything is imported."""
        for member in self._members.values():
            if member.assignment.flow_run_id is None:
                self._start(member)
        begun = time.monotonic()
        night_s = begun - self._begun
        for _ in range(schedule.runs_to_start(self._seen(), self._workers, self._free.segments, night_s)):
            # A busy server takes seconds a run, and who waits for it is deaf to the workers.
            if time.monotonic() < self._next_start or time.monotonic() - begun > ASK_PREFECT_S:
                return
            assignment = assignments.create(self._engine, self._night.batch_id)
            self._members[assignment.assignment_id] = Member(assignment)
            self._start(self._members[assignment.assignment_id])

    def _start(self, member: Member) -> None:
        """Asks Prefect for its run; after an outage, or by another parent, again, which is the same run."""
        assignment_id = member.assignment.assignment_id
        version = self._night.manifest.version_id
        call = Call(version_sha256=version, archive=self._night.location, precision=self._runtime.precision)
        orders.write(self._artifacts, orders.call_key(assignment_id), call)
        run_id = self._runs.start(assignment_id, self._night.batch_id)
        assignments.set_flow_run(self._engine, assignment_id, run_id)
        member.assignment = replace(member.assignment, flow_run_id=run_id)

    def _lose(self, assignment_id: str, lost: Lost) -> None:
        """Free what the run held, and let it know, should it live."""
        member = self._members.get(assignment_id)
        assignments.end(self._engine, assignment_id, "lost", lost.reason, member.culprit if member else None)
        self._members.pop(assignment_id, None)
        log.warning("%s was lost: %s", member.worker if member and member.status else "a run", lost.reason)
        if lost.failed and member and member.order is None:
            # A worker without its device, say, would eat runs as fast as they are made.
            self._next_start = time.monotonic() + schedule.pause_s(self._failures)
            self._failures += 1
        with suppress(StoreError):
            self._artifacts.put_bytes(orders.revoked_key(assignment_id), lost.reason.encode())

    def _dismiss(self, member: Member, reason: str) -> None:
        """Release a worker, in the ledger first: the rest only saves the run some seconds."""
        assignment_id = member.assignment.assignment_id
        assignments.end(self._engine, assignment_id, "dismissed", reason)
        self._artifacts.put_bytes(orders.revoked_key(assignment_id), reason.encode())
        if member.order is None:
            orders.write(self._artifacts, orders.order_key(assignment_id), Order())
        if member.assignment.flow_run_id and member.status is None:
            self._runs.cancel(member.assignment.flow_run_id)
        del self._members[assignment_id]

    def _adopt(self) -> None:
        """Adopt the work that a killed batch had under way."""
        if assignments.adopt(self._engine, self._night.batch_id):
            log.info("the runs of a batch that ended early go on under this one")
        for assignment in self._open_assignments():
            member = Member(assignment)
            self._members[assignment.assignment_id] = member
            if assignment.status == "working":
                self._remember(member)

    def _remember(self, member: Member) -> None:
        assignment_id = member.assignment.assignment_id
        claims = assignments.claims(self._engine, assignment_id)
        try:
            member.order = orders.read_order(self._artifacts, assignment_id)
        except (OrderError, ObjectError) as error:
            return self._lose(assignment_id, Lost(str(error)))
        assignments.renew(self._engine, assignment_id, self._lease_s)
        if member.order is None:  # killed between the ledger's entry and the order, for which the run still waits
            member.claims = [claim for claim in claims if claim.video_id in self._entries]
            return self._send_order(member)
        held = {claim.segment: claim for claim in claims}
        member.claims = [held.get(member.order.segment(piece)) for piece in member.order.pieces]
        return None

    # Small things

    def _is_due(self, what: str, every_s: float) -> bool:
        if time.monotonic() < self._due.get(what, 0.0):
            return False
        self._due[what] = time.monotonic() + every_s
        return True

    def _say(self, what: str, text: str) -> None:
        """Log the text, at most once a minute for each subject."""
        if self._is_due(f"say {what}", 60.0):
            log.warning(text)


def _name(segment: Segment) -> str:
    return f"{segment.video_sha256[:12]}… [{segment.start_frame}, {segment.stop_frame})"
