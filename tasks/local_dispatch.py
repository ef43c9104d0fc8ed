"""Local dispatch: this machine does the batch's segments one by one, each committed before the next is begun."""

import hashlib
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from prefect import get_run_logger, task

from models.runtime import OpenVinoRuntime, Runtime
from models.types import FrameIndex, NightjarError, Segment, Video
from storage import ledger
from storage.archive import Entry
from storage.containers import VideoError
from storage.ledger import Claim
from storage.parquet import Result, ResultError, read_result, write_result
from storage.places import ObjectError
from storage.results import commit_segment
from storage.sandbox import SandboxError
from tasks.inference import infer_segment
from tasks.night import Night
from tasks.owner import this_owner
from tasks.policy import TASK
from tasks.progress import FrameProgress


class Fenced(Exception):
    """The lease ran out and somebody else has the segment now."""


class Lease:
    """Keeps a claim alive while its work goes on; renewed when a third of it has passed."""

    def __init__(self, night: Night, claim: Claim) -> None:
        self._night, self._claim, self._renewed = night, claim, time.monotonic()

    def keep(self) -> None:
        """Cheap enough for every frame. Raises Fenced."""
        lease_s, now = self._night.site.settings.lease_s, time.monotonic()
        if now - self._renewed > lease_s / 3:
            if not ledger.renew(self._night.site.engine, self._claim, lease_s):
                raise Fenced
            self._renewed = now


class OpenVideo:
    """The video that is being worked on, as a local file; changing to another one closes it."""

    def __init__(self, night: Night, entries: dict[int, Entry]) -> None:
        self._night, self._entries = night, entries
        self._file: AbstractContextManager[Path] | None = None
        self._video_id: int | None = None

    def __enter__(self) -> "OpenVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def get(self, claim: Claim) -> tuple[Path, Video, FrameIndex]:
        """Raises VideoError, SandboxError, or ObjectError where the file's bytes are no longer the planned ones."""
        if self._video_id != claim.video_id:
            self._close()
            entry = self._entries[claim.video_id]
            file = self._night.archive.local(entry)
            self._path = file.__enter__()
            self._file = file
            self._video, self._index = self._night.probe(self._path)
            if self._video.sha256 != claim.segment.video_sha256:
                raise ObjectError(f"{entry.key} has other bytes now", "those it was planned by", "run again")
            self._video_id = claim.video_id
        return self._path, self._video, self._index

    def key(self, claim: Claim) -> str:
        return self._entries[claim.video_id].key

    def _close(self) -> None:
        file, self._file, self._video_id = self._file, None, None
        if file is not None:
            file.__exit__(None, None, None)


@task(name="run segments", **TASK)
def run_segments(night: Night, entries: dict[int, Entry], device: str, precision: str) -> None:
    """Claim, infer, store and commit, until nothing of the batch is left to claim.

    entries: video_id -> its file in the archive
    What is at fault in a video ends in the quarantine and the rest goes on. Raises NightjarError when the device, the
    database or the store fails: what was committed stays, the next run goes on from there.
    """
    engine, owner, lease_s = night.site.engine, this_owner(), night.site.settings.lease_s
    runtime = OpenVinoRuntime(night.folder, night.manifest, device, precision)
    frames = ledger.count_segments(engine, night.batch_id).frames_missing
    with OpenVideo(night, entries) as opened, FrameProgress(frames) as progress:
        while claim := ledger.claim(engine, night.batch_id, owner, lease_s):
            try:
                _run_segment(night, opened, claim, runtime, progress)
            except BaseException:
                with suppress(NightjarError):  # the database may be what failed
                    ledger.release(engine, claim, None)
                raise


def _run_segment(night: Night, opened: OpenVideo, claim: Claim, runtime: Runtime, progress: FrameProgress) -> None:
    log, key, engine = get_run_logger(), opened.key(claim), night.site.engine
    what = f"{key} [{claim.segment.start_frame}, {claim.segment.stop_frame})"
    already = progress.done
    try:
        result = _stored_result(night, claim.segment) or _infer(night, opened, claim, runtime, progress)
        if not _store_and_commit(night, claim, result):
            log.warning("%s was done by another one meanwhile", what)
        elif result.report.undecodable:
            log.warning("%s: %s frames could not be decoded", what, len(result.report.undecodable))
    except Fenced:
        log.warning("%s was given to another one: the lease had run out", what)
    except (VideoError, SandboxError) as error:
        ledger.quarantine_segment(engine, claim, str(error))
        log.warning("%s is quarantined: %s", what, error)
    except ObjectError as error:
        ledger.release(engine, claim, str(error))
        log.warning("%s failed: %s", what, error)
    progress.add(claim.segment.frames - (progress.done - already), key)


def _infer(night: Night, opened: OpenVideo, claim: Claim, runtime: Runtime, progress: FrameProgress) -> Result:
    path, video, index = opened.get(claim)
    lease, key = Lease(night, claim), opened.key(claim)

    def on_frame() -> None:
        lease.keep()
        progress.add(1, key)

    cpu_s = night.site.settings.decoder_cpu_s
    return infer_segment(path, video, index, claim.segment, night.manifest, runtime, night.sandbox, cpu_s, on_frame)


def result_key(version_id: str, segment: Segment) -> str:
    """Where a segment's result lies: named by what made it, so that doing it again replaces it by its equal."""
    return f"results/{version_id}/{segment.video_sha256}/{segment.start_frame:08d}-{segment.stop_frame:08d}.parquet"


def _stored_result(night: Night, segment: Segment) -> Result | None:
    """What an earlier run stored and did not come to commit, or a lost database had: it need not be done again."""
    artifacts, version_id = night.site.artifacts, night.manifest.version_id
    key = result_key(version_id, segment)
    if not artifacts.exists(key):
        return None
    with tempfile.TemporaryDirectory(prefix="nightjar-result-") as scratch:
        path = Path(scratch) / "result.parquet"
        artifacts.get_file(key, path)
        try:
            result = read_result(path)
        except ResultError as error:
            get_run_logger().warning("%s is done again: %s", key, error)
            return None
    return result if (result.segment, result.version_sha256) == (segment, version_id) else None


def _store_and_commit(night: Night, claim: Claim, result: Result) -> bool:
    """First the file, then rows and ledger in one transaction: a crash between the two costs nothing."""
    key = result_key(night.manifest.version_id, claim.segment)
    with tempfile.TemporaryDirectory(prefix="nightjar-result-") as scratch:
        path = Path(scratch) / "result.parquet"
        write_result(path, result)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        night.site.artifacts.put_file(key, path)
    return commit_segment(night.site.engine, claim, result.poses, result.report, key, sha256)
