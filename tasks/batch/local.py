"""Local dispatch: process the segments of a batch on this machine, and commit each before the next one starts."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

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

POLL_EVERY_S = 1.0  # for segments that other batches hold


class Fenced(Exception):
    """The lease expired and the segment was given to another worker."""


class Lease:
    """Keeps a claim during its work, by renewals each third of the lease."""

    def __init__(self, night: Night, claim: Claim) -> None:
        self._night, self._claim, self._renewed = night, claim, time.monotonic()

    def keep(self) -> None:
        """Renew the lease when it is due. Cheap enough for every frame. Raises Fenced.

        While the database is unavailable the work goes on: the commit checks the lease again.
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
    runtime = open_runtime(night.folder, night.manifest, spec)
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
    engine, owner, lease_s = night.site.engine, this_owner(), night.site.settings.lease_s
    with OpenVideo(night.archive, night.sandbox, night.site.settings.read_limits, probes) as opened:
        failures = 0  # consecutive
        while claim := night.retry(lambda: _next_claim(night, owner, lease_s)):
            try:
                settled = _run_segment(night, opened, claim, entries[claim.video_id], setup, progress)
            except BaseException:
                with signals_ignored(), suppress(NightjarError):  # the database may be what failed
                    leases.release(engine, claim, None)
                raise
            failures = 0 if settled else failures + 1
            pause(failures)


def _next_claim(night: Night, owner: str, lease_s: float) -> Claim | None:
    """Claim the next segment; while other batches hold the rest, wait for the segments that they release.

    None: nothing is missing, or no batch holds the rest and it cannot be claimed.
    """
    engine, batch_id, said, unheld = night.site.engine, night.batch_id, "", 0
    while (claim := leases.claim(engine, batch_id, owner, lease_s)) is None:
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


def _run_segment(
    night: Night, opened: OpenVideo, claim: Claim, entry: Entry, setup: InferenceSetup, progress: FrameProgress
) -> bool:
    """Run one attempt. Returns False if it failed and the segment will be retried."""
    engine, retry = night.site.engine, night.retry
    what = f"{entry.key} [{claim.segment.start_frame}, {claim.segment.stop_frame})"
    already = progress.done
    try:
        _settle(night, claim, what, lambda: _infer(night, opened, claim, entry, setup, progress))
    except Fenced:
        log.warning("%s was given to another worker, because the lease had expired", what)
    except (VideoError, SandboxError) as error:
        reason = str(error)
        retry(lambda: leases.quarantine_segment(engine, claim, reason))
        log.warning("%s is quarantined: %s", what, reason)
    except RefusedError as error:  # another attempt in this batch would be refused, too
        reason = str(error)
        retry(lambda: leases.quarantine_segment(engine, claim, reason, retry=True))
        log.warning("%s is quarantined until the next run: %s", what, reason)
    except (AttemptError, ObjectError) as error:
        reason = str(error)
        retry(lambda: leases.release(engine, claim, reason))
        log.warning("%s failed and will be retried: %s", what, reason)
        progress.add(already - progress.done, entry.key)
        return False
    progress.add(claim.segment.frames - (progress.done - already), entry.key)
    return True


def _settle(night: Night, claim: Claim, what: str, infer: Callable[[], Result]) -> None:
    """Commit the segment's result, the stored one of an earlier attempt or a new one.

    Each step retries by itself during outages, so that no inference is repeated.
    """
    engine, artifacts = night.site.engine, night.site.artifacts
    found = night.retry(lambda: find(artifacts, night.results, night.manifest, claim.segment))
    if found:
        result, stored = found
    else:
        result = infer()
        stored = night.retry(lambda: _store(night, claim, result))
    rows, report, video = result.rows, result.report, result.video
    if not night.retry(lambda: commit_segment(engine, claim, rows, report, stored.key, stored.sha256, video)):
        log.warning("%s was completed by another worker in the meantime", what)
    elif report.undecodable:
        log.warning("%s: %s frames could not be decoded", what, len(report.undecodable))


def _infer(
    night: Night, opened: OpenVideo, claim: Claim, entry: Entry, setup: InferenceSetup, progress: FrameProgress
) -> Result:
    local = night.retry(lambda: opened.get(entry, claim.segment.video_sha256))
    lease = Lease(night, claim)

    def on_frames(frames: int) -> None:
        lease.keep()
        progress.add(frames, entry.key)

    return infer_segment(local, claim.segment, setup, on_frames)


def _store(night: Night, claim: Claim, result: Result) -> Stored:
    """Store the result's file. It comes before rows and ledger, so that a crash in between loses nothing."""
    return put(night.site.artifacts, result_key(night.manifest.version_id, claim.segment, claim.attempt), result)
