"""Worker side of a fleet: open the device, wait for an order, process its pieces, store the results. No SQL.

It has no database password: it reports in the artifact store, where the parent reads its results.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models.inference.runtime import RuntimeFault
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest
from models.types import AttemptError, NightjarError, VideoError
from storage.objects.archive import Archive
from storage.objects.artifacts import Artifacts
from storage.objects.places import ObjectError, StoreError
from storage.parquet import Result
from storage.sandbox.parent import Sandbox, SandboxError
from tasks.fleet.device import WorkerDevice
from tasks.fleet.device_lock import DeviceLock
from tasks.fleet.messages import Call, Done, Fault, Order, Piece, poll_order, read_call
from tasks.fleet.spool import Spool
from tasks.fleet.status_reporter import StatusReporter
from tasks.model.cache import fetch_model
from tasks.segment.infer import InferenceSetup, infer_segment
from tasks.segment.open_video import OpenVideo, Probes
from tasks.segment.result_files import Stored, put, result_key
from tasks.site.owner import host_name
from tasks.site.scratch import clean_up
from tasks.site.settings import Settings
from tasks.site.stores import archive_at, artifact_store, keep_private
from tasks.text.log_lines import keep_log_lines_whole

log = logging.getLogger(__name__)

T = TypeVar("T")

# A waiting run polls for its order often at first, then less often, as every request costs money.
POLL_FIRST_S, POLL_LAST_S = 0.25, 3.0
CHECK_EVERY_S = 3.0
HEARTBEAT_S = 2.5  # of a waiting run: a quarter of the shortest lease
ORDER_LIMIT_S = 180.0  # time for a killed parent to restart, before another batch may have the device


class Revoked(NightjarError):
    """The parent has given the remaining segments to another worker."""

    def __init__(self) -> None:
        super().__init__(
            "The remaining segments were given to another worker, or the batch was stopped. Start another batch if "
            "segments are missing."
        )


@dataclass(frozen=True)
class RunContext:
    """Resources that one run holds open. settings: settings of this worker"""

    settings: Settings
    artifacts: Artifacts
    assignment_id: str
    call: Call
    folder: Path
    manifest: Manifest

    @property
    def worker(self) -> str:
        return worker_name(self.settings)


def worker_name(settings: Settings) -> str:
    return settings.worker_name or f"{host_name()}/{settings.device}"


def work_on(assignment_id: str, settings: Settings) -> str:
    """Process one assignment. Returns one line with its outcome.

    Raises RuntimeFault if the device is lost and the settings allow no fallback, Revoked, or NightjarError.
    """
    keep_private(settings)
    keep_log_lines_whole()
    clean_up(settings)
    artifacts = artifact_store(settings)
    call = read_call(artifacts, assignment_id)
    if call is None:
        raise NightjarError(
            f"There is no assignment {assignment_id} in {settings.artifacts_location}. Set NIGHTJAR_ARTIFACTS to the "
            "same store for the workers and the batch."
        )
    # The parent's lease may differ. When it ends, another worker receives the segment anyway.
    with StatusReporter(artifacts, assignment_id, worker_name(settings), settings.device, settings.lease_s) as reporter:
        with reporter.fetching():
            folder, manifest = fetch_model(artifacts, call.version_sha256, settings.model_cache)
        context = RunContext(settings, artifacts, assignment_id, call, folder, manifest)
        with DeviceLock(settings.home.resolve(), settings.device) as lock:
            if not lock.acquire(_keep_waiting(context, reporter)):
                return "stopped while it waited for the device"
            return _work_with_device(context, reporter)


def _keep_waiting(context: RunContext, reporter: StatusReporter) -> Callable[[], bool]:
    """Return a function that tells if waiting makes sense, and reports to the parent at intervals."""
    alive = every(HEARTBEAT_S, reporter.step)
    wanted = every(CHECK_EVERY_S, lambda: not _is_dismissed(context))

    def answer() -> bool:
        alive()
        return bool(wanted()) and not reporter.revoked

    return answer


def every(seconds: float, ask: Callable[[], T]) -> Callable[[], T]:
    """Wrap a function so that it is called every N seconds at most, and its last answer is returned otherwise."""
    asked, last = time.monotonic(), ask()

    def answer() -> T:
        nonlocal asked, last
        if time.monotonic() - asked > seconds:
            asked, last = time.monotonic(), ask()
        return last

    return answer


def _is_dismissed(context: RunContext) -> bool:
    """Return True if the parent released this worker. The status reporter notices a revoked lease."""
    return poll_order(context.artifacts, context.assignment_id) is not None


def _work_with_device(context: RunContext, reporter: StatusReporter) -> str:
    settings = context.settings
    spool = Spool(settings.home.resolve() / "spool", context.artifacts, settings.spool_bytes)
    with reporter.fetching():
        spool.send()
    spec = RuntimeSpec(settings.device, context.call.precision)
    niceness = settings.inference_niceness
    device = WorkerDevice(context.folder, context.manifest, spec, settings.fallback, niceness)
    reporter.ready(device.runtime.device)
    order = _await_order(context, reporter)
    if order is None or not order.pieces:
        return "nothing was left to do"
    archive = archive_at(settings, context.call.archive)
    with Sandbox(settings.decoder_memory_bytes) as sandbox:
        AssignmentWorker(context, order, archive, device, sandbox, spool, reporter).run()
    return f"{len(order.pieces)} segments by {device.runtime.device}"


def _await_order(context: RunContext, reporter: StatusReporter) -> Order | None:
    """Wait for the order; None = the batch is over, or there is no answer."""
    deadline = time.monotonic() + ORDER_LIMIT_S
    alive, wait_s = every(HEARTBEAT_S, reporter.step), POLL_FIRST_S
    while time.monotonic() < deadline and not reporter.revoked:
        alive()
        order = poll_order(context.artifacts, context.assignment_id)
        if order is not None:
            return order
        time.sleep(wait_s)
        wait_s = min(1.5 * wait_s, POLL_LAST_S)
    return None


class AssignmentWorker:
    """Processes one order, piece by piece."""

    def __init__(
        self,
        context: RunContext,
        order: Order,
        archive: Archive,
        device: WorkerDevice,
        sandbox: Sandbox,
        spool: Spool,
        reporter: StatusReporter,
    ) -> None:
        self._context, self._order, self._device = context, order, device
        self._sandbox, self._spool, self._reporter = sandbox, spool, reporter
        self._opened = OpenVideo(archive, sandbox, context.settings.read_limits, Probes())
        self._unsent: list[tuple[int, Stored, float]] = []

    def run(self) -> None:
        """Run the segments. Raises RuntimeFault if the device is lost, Revoked if others have the rest."""
        with self._opened:
            for number, piece in enumerate(self._order.pieces):
                self._raise_if_revoked()
                self._do(number, piece)
        deadline = time.monotonic() + self._context.settings.lease_s
        while not self._send() and time.monotonic() < deadline:
            self._raise_if_revoked()
            time.sleep(1)
        if self._unsent:
            raise NightjarError(
                f"{len(self._unsent)} results could not be uploaded and are kept in the spool. Check the artifact "
                "store. The next run on this machine uploads them."
            )

    def _raise_if_revoked(self) -> None:
        if self._reporter.revoked:
            raise Revoked

    def _do(self, number: int, piece: Piece) -> None:
        self._reporter.begin(number)
        try:
            result = self._infer(piece)
            self._keep(number, piece, result)
        except (VideoError, SandboxError) as error:
            self._fail(number, "input", error)
        except (AttemptError, ObjectError) as error:
            self._fail(number, "other", error)

    def _fail(self, number: int, kind: str, error: Exception) -> None:
        log.warning("Segment %s failed: %s", number, error)
        self._reporter.failed(Fault(piece=number, kind="input" if kind == "input" else "other", reason=str(error)))

    def _infer(self, piece: Piece) -> Result:
        """Infer on the device; if it is lost and the settings allow it, infer again on the CPU."""
        while True:
            try:
                return self._infer_once(piece)
            except RuntimeFault as fault:
                self._device.fall_back(fault)
                self._reporter.ready(self._device.runtime.device)

    def _infer_once(self, piece: Piece) -> Result:
        context, file = self._context, self._order.files[piece.file]
        with self._reporter.fetching():
            local = self._opened.get(file.entry(), file.sha256)

        def on_frames(frames: int) -> None:
            self._reporter.add(frames)
            self._raise_if_revoked()

        setup = InferenceSetup(
            context.manifest, self._device.runtime, self._sandbox, context.worker, context.settings.decoder_cpu_s
        )
        return infer_segment(local, self._order.segment(piece), setup, on_frames)

    def _keep(self, number: int, piece: Piece, result: Result) -> None:
        """Store the result, or spool it while the store is unavailable."""
        key = result_key(self._context.call.version_sha256, self._order.segment(piece), piece.attempt)
        speed = result.report.frames_done / max(result.report.wall_s, 1e-9)
        if self._send():
            try:
                return self._report_done(number, put(self._context.artifacts, key, result), speed)
            except StoreError as error:
                log.warning("The store is unavailable. Results are kept on this disk until it is back: %s", error)
        self._unsent.append((number, self._spool.keep(key, result), speed))
        return None

    def _send(self) -> bool:
        """Upload the results in the spool; True if none of this order is left there."""
        if self._unsent and self._spool.send():
            waiting, self._unsent = self._unsent, []
            for number, stored, speed in waiting:
                self._report_done(number, stored, speed)
        return not self._unsent

    def _report_done(self, number: int, stored: Stored, speed: float) -> None:
        self._reporter.done(Done(piece=number, key=stored.key, sha256=stored.sha256), speed)
