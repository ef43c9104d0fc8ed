"""Local dispatch: process the segments of a batch on this machine, and commit each while the next one is inferred."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Literal, TypeVar

from prefect import task

from models.inference.devices import open_runtime
from models.inference.spec import RuntimeSpec
from models.types import AttemptError, NightjarError, VideoError
from storage.ledger import batches, leases
from storage.ledger.commit import commit_segment
from storage.ledger.leases import Claim
from storage.objects.archive import Entry
from storage.objects.places import ObjectError, RefusedError
from storage.parquet import Result
from storage.sandbox.parent import SandboxError
from storage.sql.database import DatabaseAwayError
from tasks.batch.night import Night, NightKey, open_night
from tasks.runs.cancelling import signals_ignored
from tasks.runs.policy import TASK
from tasks.runs.progress_artifact import frames_in_prefect
from tasks.segment.infer import InferenceSetup, infer_segment
from tasks.segment.open_video import OpenVideo, Probes
from tasks.segment.result_files import Stored, find, put, result_key
from tasks.site.owner import host_name, this_owner
from tasks.text.progress import FrameProgress
from tasks.text.wording import count
from tasks.waiting.attempts import pause

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_EVERY_S = 1.0  # for segments that other batches hold


class Fenced(Exception):
    """The lease expired and the segment was given to another worker."""


class Lease:
    """Keeps a claim during its work, by renewals each third of the lease."""

    def __init__(self, night: Night, claim: Claim) -> None:
        self._night, self._claim, self._renewed = night, claim, time.monotonic()

    def keep(self) -> None:
        """Renew the lease when it is due. Cheap enough for every frame. Raises Fenced.

        While the database is unavailable the work continues: the commit checks the lease again.
        """
        lease_s, now = self._night.site.settings.lease_s, time.monotonic()
        if now - self._renewed > lease_s / 3:
            self._renewed = now
            with suppress(DatabaseAwayError):
                if not leases.renew(self._night.site.engine, self._claim, lease_s):
                    raise Fenced


@task(name="run segments", **TASK)
def run_segments_task(key: NightKey, entries: Mapping[int, Entry], probes: Probes, runtime: RuntimeSpec) -> None:
    """Process the segments of this batch on this machine. Raises as run_segments does."""
    with open_night(key) as night:
        setup = set_up(night, runtime)
        frames = night.retry(lambda: batches.count_segments(night.site.engine, night.batch_id)).frames_missing
        with frames_in_prefect(frames) as progress:
            run_segments(night, entries, probes, setup, progress)


def set_up(night: Night, spec: RuntimeSpec) -> InferenceSetup:
    """Open the batch's model on a device of this machine. Raises RuntimeFault."""
    settings = night.site.settings
    runtime = open_runtime(night.folder, night.manifest, spec, settings.inference_niceness)
    worker = settings.worker_name or host_name()
    return InferenceSetup(night.manifest, runtime, night.sandbox, worker, settings.decoder_cpu_s)


def run_segments(
    night: Night, entries: Mapping[int, Entry], probes: Probes, setup: InferenceSetup, progress: FrameProgress
) -> None:
    """Claim, infer, store and commit segments until none of the batch is left.

    entries: video_id -> its file in the archive
    probes: properties of files that need not be probed again
    A fault of the video quarantines its segment. Any other fault, such as a decoder killed by the kernel, is a failed
    attempt. Unavailable databases and stores are waited for. Raises NightjarError when the device, the database or the
    store fails: committed segments are kept, and the next run resumes.
    """
    with OpenVideo(night.archive, night.sandbox, night.site.settings.read_limits, probes) as opened:
        SegmentLoop(night, entries, opened, setup, progress).run()


Outcome = Literal["found", "over", "failed"]
"""Of a part of an attempt: its result is there, the segment needs no more work, or it will be tried again."""


class Stopped(NightjarError):
    """The run ends, so that a step is not repeated any more."""


class Attempt:
    """One attempt at a segment. reported: number of its frames that the progress shows"""

    def __init__(self, claim: Claim, entry: Entry) -> None:
        self.claim, self.entry, self.reported = claim, entry, 0
        self.what = f"{entry.key} [{claim.segment.start_frame}, {claim.segment.stop_frame})"


class SegmentLoop:
    """Works on the segments of a batch in turn. While one is inferred, the one before is stored and committed.

    At most two segments are held: the next one is claimed before the previous one is settled, in another thread. All
    other work is done in the caller's thread.
    """

    def __init__(
        self,
        night: Night,
        entries: Mapping[int, Entry],
        opened: OpenVideo,
        setup: InferenceSetup,
        progress: FrameProgress,
    ) -> None:
        self._night, self._entries, self._opened, self._setup, self._progress = night, entries, opened, setup, progress
        self._owner = this_owner()
        self._held: dict[int, Claim] = {}  # by segment_id: neither settled nor given back
        self._failures = 0  # consecutive
        self._settling: tuple[Attempt, Future[Outcome]] | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Work until nothing is left. Raises as run_segments does, with no segment held."""
        with ThreadPoolExecutor(1, "nightjar-settle") as settler:
            try:
                claim = self._next_claim()
                while claim:
                    claim = self._work_on(claim, settler)
            except BaseException:
                with signals_ignored():
                    self._stopped.set()
                    settler.shutdown()  # the step that is being done is finished: its result may be the last one
                    self._give_back()
                raise

    def _work_on(self, claim: Claim, settler: ThreadPoolExecutor) -> Claim | None:
        """Infer a segment. Returns the next one, during which this one is settled."""
        attempt = Attempt(claim, self._entries[claim.video_id])
        found: list[tuple[Result, Stored | None]] = []
        outcome = self._guarded(attempt, lambda: found.append(self._find_or_infer(attempt)))
        failed_before = self._failed_before()
        if outcome != "found":
            self._note(attempt, outcome)
            return self._next_claim()
        # Claimed first, so that it does not wait for the other thread's transaction.
        following = None if failed_before else self._night.retry(self._claim)
        settle = partial(self._guarded, attempt, partial(self._settle, attempt, *found[0]))
        # In this thread's context, in which log lines belong to the Prefect run.
        self._settling = attempt, settler.submit(contextvars.copy_context().run, settle)
        return following or self._next_claim()

    def _next_claim(self) -> Claim | None:
        """Claim the next segment when the one before is settled and no other batch holds what is left."""
        self._failed_before()
        pause(self._failures)
        return self._night.retry(lambda: _wait_for_claim(self._night, self._claim))

    def _claim(self) -> Claim | None:
        night = self._night
        claim = leases.claim(night.site.engine, night.batch_id, self._owner, night.site.settings.lease_s)
        if claim:
            self._held[claim.segment_id] = claim
        return claim

    def _failed_before(self) -> bool:
        """Wait until the segment before is settled. Returns True where that failed."""
        if self._settling is None:
            return False
        (attempt, settled), self._settling = self._settling, None
        outcome = settled.result()
        self._note(attempt, outcome)
        return outcome == "failed"

    def _note(self, attempt: Attempt, outcome: Outcome) -> None:
        """Count the end of an attempt. All frames of a failed one will be worked on again."""
        failed = outcome == "failed"
        self._failures = self._failures + 1 if failed else 0
        self._progress.add((0 if failed else attempt.claim.segment.frames) - attempt.reported, attempt.entry.key)

    def _guarded(self, attempt: Attempt, work: Callable[[], None]) -> Outcome:
        """Do a part of an attempt, and record in the ledger what its faults mean for the segment."""
        claim, what = attempt.claim, attempt.what
        try:
            work()
            return "found"
        except Fenced:
            self._held.pop(claim.segment_id, None)
            log.warning("%s was given to another worker, because the lease had expired", what)
        except (VideoError, SandboxError) as error:
            self._quarantine(claim, str(error), retry=False)
            log.warning("%s is quarantined: %s", what, error)
        except RefusedError as error:  # another attempt in this batch would be refused, too
            self._quarantine(claim, str(error), retry=True)
            log.warning("%s is quarantined until the next run: %s", what, error)
        except (AttemptError, ObjectError) as error:
            self._release(claim, str(error))
            log.warning("%s failed and will be retried: %s", what, error)
            return "failed"
        return "over"

    def _find_or_infer(self, attempt: Attempt) -> tuple[Result, Stored | None]:
        """Return the stored result of an earlier attempt, or a new one that is not stored yet."""
        night, segment = self._night, attempt.claim.segment
        found = night.retry(lambda: find(night.site.artifacts, night.results, night.manifest, segment))
        if found:
            return found
        local = night.retry(lambda: self._opened.get(attempt.entry, segment.video_sha256))
        lease = Lease(night, attempt.claim)

        def on_frames(frames: int) -> None:
            lease.keep()
            attempt.reported += frames
            self._progress.add(frames, attempt.entry.key)

        return infer_segment(local, segment, self._setup, on_frames), None

    def _settle(self, attempt: Attempt, result: Result, stored: Stored | None) -> None:
        """Store and commit a result. Each step retries by itself during outages, so that no inference is repeated."""
        night, claim = self._night, attempt.claim
        # The file comes before rows and ledger, so that a crash in between loses nothing.
        key = result_key(night.manifest.version_id, claim.segment, claim.attempt)
        kept = stored or self._retry(lambda: put(night.site.artifacts, key, result))
        rows, report = result.rows, result.report
        engine = night.site.engine
        committed = self._retry(
            lambda: commit_segment(engine, claim, rows, report, kept.key, kept.sha256, result.video)
        )
        self._held.pop(claim.segment_id, None)
        if not committed:
            log.warning("%s was completed by another worker in the meantime", attempt.what)
        elif report.undecodable:
            log.warning("%s: %s frames could not be decoded", attempt.what, len(report.undecodable))

    def _quarantine(self, claim: Claim, reason: str, *, retry: bool) -> None:
        self._retry(lambda: leases.quarantine_segment(self._night.site.engine, claim, reason, retry=retry))
        self._held.pop(claim.segment_id, None)

    def _release(self, claim: Claim, reason: str | None) -> None:
        self._retry(lambda: leases.release(self._night.site.engine, claim, reason))
        self._held.pop(claim.segment_id, None)

    def _retry(self, step: Callable[[], T]) -> T:
        """Repeat a step during outages until the run ends."""

        def unless_stopped() -> T:
            try:
                return step()
            except Exception as error:
                if self._stopped.is_set():
                    raise Stopped(str(error)) from error
                raise

        return self._night.retry(unless_stopped)

    def _give_back(self) -> None:
        """Release what is held, as far as the database is there: it may be what failed."""
        for claim in list(self._held.values()):
            with suppress(NightjarError):
                self._release(claim, None)


def _wait_for_claim(night: Night, claim_one: Callable[[], Claim | None]) -> Claim | None:
    """Claim the next segment; while other batches hold the rest, wait for the segments that they release.

    None: nothing is missing, or no batch holds the rest and it cannot be claimed.
    """
    engine, batch_id, said, unheld = night.site.engine, night.batch_id, "", 0
    while (claim := claim_one()) is None:
        if not batches.count_segments(engine, batch_id).missing:
            return None
        held = leases.holders(engine, batch_id)
        unheld = 0 if held else unheld + 1
        if unheld > 1:  # once may be the moment between a release and the next poll
            return None
        text = ", ".join(f"{count(number, 'segment')} of batch {batch} ({whose})" for whose, batch, number in held)
        if text and text != said:
            log.info("Waiting for %s, to process what they leave unfinished", text)
            said = text
        time.sleep(POLL_EVERY_S)
    return claim
