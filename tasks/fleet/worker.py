"""The worker's half of a fleet: be ready, ask for an order, do its pieces, store their results. No SQL.

It holds no database password: what it has done, it says in the artifact store, and the parent takes it from there.
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
from tasks.fleet.status_reporter import Teller
from tasks.model.cache import fetch_model
from tasks.segment.infer import InferenceSetup, infer_segment
from tasks.segment.open_video import OpenVideo, Probes
from tasks.segment.result_files import Stored, put, result_key
from tasks.site.owner import host_name
from tasks.site.scratch import tidy
from tasks.site.settings import Settings
from tasks.site.stores import archive_at, artifact_store, keep_private
from tasks.text.log_lines import keep_log_lines_whole

log = logging.getLogger(__name__)

T = TypeVar("T")

# A run that waits asks for its order at once, and then less and less often, as every request costs money.
ASK_FIRST_S, ASK_AT_LAST_S = 0.25, 3.0
LOOK_EVERY_S = 3.0
ALIVE_EVERY_S = 2.5  # who waits says that it lives: a quarter of the shortest lease
ORDER_LIMIT_S = 180.0  # a parent that was killed is started again within this, or another batch needs the device


class Revoked(NightjarError):
    """The parent has given the rest to another one."""

    def __init__(self) -> None:
        super().__init__(
            "the rest was given to another worker, or the batch was called off: nothing is left to do here"
        )


@dataclass(frozen=True)
class Bench:
    """Resources that one run holds open. settings: of this worker"""

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
    """Do one assignment. Returns one line with its outcome.

    Raises RuntimeFault where the device is lost and the settings name no fallback, Revoked, or NightjarError.
    """
    keep_private(settings)
    keep_log_lines_whole()
    tidy(settings)
    artifacts = artifact_store(settings)
    call = read_call(artifacts, assignment_id)
    if call is None:
        raise NightjarError(
            f"no assignment {assignment_id} in {settings.artifacts_location}, expected one that a batch asked for: "
            "give workers and batch the same NIGHTJAR_ARTIFACTS"
        )
    # The lease is the parent's and may be longer or shorter: by its end somebody else has the segment anyway.
    with Teller(artifacts, assignment_id, worker_name(settings), settings.device, settings.lease_s) as teller:
        with teller.fetching():
            folder, manifest = fetch_model(artifacts, call.version_sha256, settings.model_cache)
        bench = Bench(settings, artifacts, assignment_id, call, folder, manifest)
        with DeviceLock(settings.home.resolve(), settings.device) as lock:
            if not lock.acquire(_still_wanted(bench, teller)):
                return "called off while it waited for the device"
            return _work_with_device(bench, teller)


def _still_wanted(bench: Bench, teller: Teller) -> Callable[[], bool]:
    """Return True to keep waiting; asks the store and reports to the parent at intervals."""
    alive = every(ALIVE_EVERY_S, teller.step)
    wanted = every(LOOK_EVERY_S, lambda: not _called_off(bench))

    def answer() -> bool:
        alive()
        return bool(wanted()) and not teller.revoked

    return answer


def every(seconds: float, ask: Callable[[], T]) -> Callable[[], T]:
    """Return the last answer, renewed every N seconds."""
    asked, last = time.monotonic(), ask()

    def answer() -> T:
        nonlocal asked, last
        if time.monotonic() - asked > seconds:
            asked, last = time.monotonic(), ask()
        return last

    return answer


def _called_off(bench: Bench) -> bool:
    """Return True if the parent released this worker. A revoked lease is noticed by the status reporter."""
    return poll_order(bench.artifacts, bench.assignment_id) is not None


def _work_with_device(bench: Bench, teller: Teller) -> str:
    settings = bench.settings
    spool = Spool(settings.home.resolve() / "spool", bench.artifacts, settings.spool_bytes)
    with teller.fetching():
        spool.send()
    spec = RuntimeSpec(settings.device, bench.call.precision)
    device = WorkerDevice(bench.folder, bench.manifest, spec, settings.fallback)
    teller.ready(device.runtime.device)
    order = _await_order(bench, teller)
    if order is None or not order.pieces:
        return "nothing was left to do"
    archive = archive_at(settings, bench.call.archive)
    with Sandbox(settings.decoder_memory_bytes) as sandbox:
        AssignmentWorker(bench, order, archive, device, sandbox, spool, teller).run()
    return f"{len(order.pieces)} segments by {device.runtime.device}"


def _await_order(bench: Bench, teller: Teller) -> Order | None:
    """Wait for the order; None = the batch is over, or nobody answers."""
    deadline = time.monotonic() + ORDER_LIMIT_S
    alive, wait_s = every(ALIVE_EVERY_S, teller.step), ASK_FIRST_S
    while time.monotonic() < deadline and not teller.revoked:
        alive()
        order = poll_order(bench.artifacts, bench.assignment_id)
        if order is not None:
            return order
        time.sleep(wait_s)
        wait_s = min(1.5 * wait_s, ASK_AT_LAST_S)
    return None


class AssignmentWorker:
    """One order, done piece by piece."""

    def __init__(
        self,
        bench: Bench,
        order: Order,
        archive: Archive,
        device: WorkerDevice,
        sandbox: Sandbox,
        spool: Spool,
        teller: Teller,
    ) -> None:
        self._bench, self._order, self._device = bench, order, device
        self._sandbox, self._spool, self._teller = sandbox, spool, teller
        self._opened = OpenVideo(archive, sandbox, bench.settings.read_limits, Probes())
        self._unsent: list[tuple[int, Stored, float]] = []

    def run(self) -> None:
        """Run the segments. Raises RuntimeFault if the device is lost, Revoked if others have the rest."""
        with self._opened:
            for number, piece in enumerate(self._order.pieces):
                self._stop_if_revoked()
                self._do(number, piece)
        deadline = time.monotonic() + self._bench.settings.lease_s
        while not self._send() and time.monotonic() < deadline:
            self._stop_if_revoked()
            time.sleep(1)
        if self._unsent:
            raise NightjarError(
                f"{len(self._unsent)} results could not be stored, expected all: they wait in the spool, and the next "
                "run on this machine sends them"
            )

    def _stop_if_revoked(self) -> None:
        if self._teller.revoked:
            raise Revoked

    def _do(self, number: int, piece: Piece) -> None:
        self._teller.begin(number)
        try:
            result = self._infer(piece)
            self._keep(number, piece, result)
        except (VideoError, SandboxError) as error:
            self._fail(number, "input", error)
        except (AttemptError, ObjectError) as error:
            self._fail(number, "other", error)

    def _fail(self, number: int, kind: str, error: Exception) -> None:
        log.warning("segment %s failed: %s", number, error)
        self._teller.failed(Fault(piece=number, kind="input" if kind == "input" else "other", reason=str(error)))

    def _infer(self, piece: Piece) -> Result:
        """Infer on the device; if it is lost and the settings allow it, infer again on the CPU."""
        while True:
            try:
                return self._infer_once(piece)
            except RuntimeFault as fault:
                self._device.fall_back(fault)
                self._teller.ready(self._device.runtime.device)

    def _infer_once(self, piece: Piece) -> Result:
        bench, file = self._bench, self._order.files[piece.file]
        with self._teller.fetching():
            local = self._opened.get(file.entry(), file.sha256)

        def on_frames(frames: int) -> None:
            self._teller.add(frames)
            self._stop_if_revoked()

        setup = InferenceSetup(
            bench.manifest, self._device.runtime, self._sandbox, bench.worker, bench.settings.decoder_cpu_s
        )
        return infer_segment(local, self._order.segment(piece), setup, on_frames)

    def _keep(self, number: int, piece: Piece, result: Result) -> None:
        """Into the store, or into the spool until the store is back."""
        key = result_key(self._bench.call.version_sha256, self._order.segment(piece), piece.attempt)
        speed = result.report.frames_done / max(result.report.wall_s, 1e-9)
        if self._send():
            try:
                return self._tell_done(number, put(self._bench.artifacts, key, result), speed)
            except StoreError as error:
                log.warning("the store is away, results wait on this disk: %s", error)
        self._unsent.append((number, self._spool.keep(key, result), speed))
        return None

    def _send(self) -> bool:
        """Send the results in the spool; True if none of this order waits any more."""
        if self._unsent and self._spool.send():
            waiting, self._unsent = self._unsent, []
            for number, stored, speed in waiting:
                self._tell_done(number, stored, speed)
        return not self._unsent

    def _tell_done(self, number: int, stored: Stored, speed: float) -> None:
        self._teller.done(Done(piece=number, key=stored.key, sha256=stored.sha256), speed)
