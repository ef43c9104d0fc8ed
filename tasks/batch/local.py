"""Local dispatch: this machine does the batch's segments one by one, each committed before the next is begun."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from prefect import task

from models.inference.devices import open_runtime
from models.inference.spec import RuntimeSpec
from models.types import AttemptError, NightjarError, VideoError
from storage.ledger import batches
from storage.ledger import leases as ledger
from storage.ledger.commit import commit_segment
from storage.ledger.leases import Claim
from storage.objects.archive import Entry
from storage.objects.places import ObjectError, RefusedError
from storage.parquet import Result
from storage.sandbox.parent import SandboxError
from storage.sql.database import DatabaseAwayError
from tasks.batch.night import Night, NightKey, open_night
from tasks.runs.cancelling import undisturbed
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

LOOK_EVERY_S = 1.0  # at segments that others hold


class Fenced(Exception):
    """The lease ran out and somebody else has the segment now."""


class Lease:
    """Keeps a claim alive while its work goes on; renewed when a third of it has passed."""

    def __init__(self, night: Night, claim: Claim) -> None:
        self._night, self._claim, self._renewed = night, claim, time.monotonic()

    def keep(self) -> None:
        """Cheap enough for every frame. Raises Fenced.

        Where the database is away, work goes on: the commit asks it whether the segment is still ours.
        """
        lease_s, now = self._night.site.settings.lease_s, time.monotonic()
        if now - self._renewed > lease_s / 3:
            self._renewed = now
            with suppress(DatabaseAwayError):
                if not ledger.renew(self._night.site.engine, self._claim, lease_s):
                    raise Fenced


@task(name="run segments", **TASK)
def run_segments_task(key: NightKey, entries: Mapping[int, Entry], probes: Probes, runtime: RuntimeSpec) -> None:
    """Do the segments of this batch here. Raises as run_segments does."""
    with open_night(key) as night:
        setup = set_up(night, runtime)
        frames = night.patience(lambda: batches.count_segments(night.site.engine, night.batch_id)).frames_missing
        with frames_in_prefect(frames) as progress:
            run_segments(night, entries, probes, setup, progress)


def set_up(night: Night, spec: RuntimeSpec) -> InferenceSetup:
    """Open the night's model on a device of this machine. Raises RuntimeFault."""
    settings = night.site.settings
    runtime = open_runtime(night.folder, night.manifest, spec)
    worker = settings.worker_name or host_name()
    return InferenceSetup(night.manifest, runtime, night.sandbox, worker, settings.decoder_cpu_s)


def run_segments(
    night: Night, entries: Mapping[int, Entry], probes: Probes, setup: InferenceSetup, progress: FrameProgress
) -> None:
    """Claim, infer, store and commit, until nothing of the batch is left to claim.

    entries: video_id -> its file in the archive
    probes: of files that need not be probed again
    A video's own fault puts its segment into the quarantine. A fault that says nothing of the video, such as a decoder
    killed by the kernel, is a failed attempt. A database or a store that is away is waited for. Raises NightjarError
    when the device, the database or the store fails: what was committed stays, the next run resumes.
    """
    engine, owner, lease_s = night.site.engine, this_owner(), night.site.settings.lease_s
    with OpenVideo(night.archive, night.sandbox, night.site.settings.read_limits, probes) as opened:
        failures = 0  # in a row
        while claim := night.patience(lambda: _next_claim(night, owner, lease_s)):
            try:
                settled = _run_segment(night, opened, claim, entries[claim.video_id], setup, progress)
            except BaseException:
                with undisturbed(), suppress(NightjarError):  # the database may be what failed
                    ledger.release(engine, claim, None)
                raise
            failures = 0 if settled else failures + 1
            pause(failures)


def _next_claim(night: Night, owner: str, lease_s: float) -> Claim | None:
    """Claim the next segment; while other batches hold the rest, wait for the segments that they release.

    None: nothing is missing, or nobody holds the rest and it cannot be claimed either.
    """
    engine, batch_id, said, unheld = night.site.engine, night.batch_id, "", 0
    while (claim := ledger.claim(engine, batch_id, owner, lease_s)) is None:
        if not batches.count_segments(engine, batch_id).missing:
            return None
        held = ledger.holders(engine, batch_id)
        unheld = 0 if held else unheld + 1
        if unheld > 1:  # once is a moment between a release and the next look
            return None
        text = ", ".join(f"{count(number, 'segment')} of batch {batch} ({whose})" for whose, batch, number in held)
        if text and text != said:
            log.info("waiting for %s, to take over what is not finished", text)
            said = text
        time.sleep(LOOK_EVERY_S)
    return claim


def _run_segment(
    night: Night, opened: OpenVideo, claim: Claim, entry: Entry, setup: InferenceSetup, progress: FrameProgress
) -> bool:
    """Run one attempt. Returns False if it failed and the segment is to be tried again."""
    engine, patience = night.site.engine, night.patience
    what = f"{entry.key} [{claim.segment.start_frame}, {claim.segment.stop_frame})"
    already = progress.done
    try:
        _settle(night, claim, what, lambda: _infer(night, opened, claim, entry, setup, progress))
    except Fenced:
        log.warning("%s was given to another one: the lease had run out", what)
    except (VideoError, SandboxError) as error:
        reason = str(error)
        patience(lambda: ledger.quarantine_segment(engine, claim, reason))
        log.warning("%s is quarantined: %s", what, reason)
    except RefusedError as error:  # not tonight: another attempt would be refused as well
        reason = str(error)
        patience(lambda: ledger.quarantine_segment(engine, claim, reason, retry=True))
        log.warning("%s is quarantined until the next run: %s", what, reason)
    except (AttemptError, ObjectError) as error:
        reason = str(error)
        patience(lambda: ledger.release(engine, claim, reason))
        log.warning("%s failed and will be tried again: %s", what, reason)
        progress.add(already - progress.done, entry.key)
        return False
    progress.add(claim.segment.frames - (progress.done - already), entry.key)
    return True


def _settle(night: Night, claim: Claim, what: str, infer: Callable[[], Result]) -> None:
    """Commit the segment's result, the stored one of an earlier attempt or a new one.

    Each step waits by itself for what is away, so that no inference is done twice.
    """
    engine, artifacts = night.site.engine, night.site.artifacts
    found = night.patience(lambda: find(artifacts, night.results, night.manifest, claim.segment))
    if found:
        result, stored = found
    else:
        result = infer()
        stored = night.patience(lambda: _store(night, claim, result))
    rows, report, video = result.rows, result.report, result.video
    if not night.patience(lambda: commit_segment(engine, claim, rows, report, stored.key, stored.sha256, video)):
        log.warning("%s was done by another one meanwhile", what)
    elif report.undecodable:
        log.warning("%s: %s frames could not be decoded", what, len(report.undecodable))


def _infer(
    night: Night, opened: OpenVideo, claim: Claim, entry: Entry, setup: InferenceSetup, progress: FrameProgress
) -> Result:
    local = night.patience(lambda: opened.get(entry, claim.segment.video_sha256))
    lease = Lease(night, claim)

    def on_frames(frames: int) -> None:
        lease.keep()
        progress.add(frames, entry.key)

    return infer_segment(local, claim.segment, setup, on_frames)


def _store(night: Night, claim: Claim, result: Result) -> Stored:
    """First the file, then rows and ledger in one transaction: a crash between the two costs nothing."""
    return put(night.site.artifacts, result_key(night.manifest.version_id, claim.segment, claim.attempt), result)
