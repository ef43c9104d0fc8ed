"""Reports of a run's progress from a separate thread, which also notices a revocation. No SQL."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from models.types import NightjarError
from storage.objects.artifacts import Artifacts
from storage.objects.places import StoreError
from tasks.fleet.messages import Done, Fault, Status, revoked_key, status_key, write

REPORT_EVERY_S = 2.0
FINAL_REPORT_S = 30.0  # limit for the report of a run's end
EXIT_HUNG = 75  # EX_TEMPFAIL: the exit code of a run whose device hangs


class StatusReporter:
    """Context manager that writes the status of a run to the store, every few seconds or at once by `report_now`."""

    def __init__(self, artifacts: Artifacts, assignment_id: str, worker: str, device: str, hang_s: float) -> None:
        """hang_s: a device without an answer for this long hangs; only the end of the process releases it"""
        self._artifacts, self._assignment_id, self._hang_s = artifacts, assignment_id, hang_s
        self._status = Status(worker=worker, device=device)
        self._written: Status | None = None
        self._done: list[Done] = []
        self._faults: list[Fault] = []
        self._speeds: list[float] = []
        self._progress = self._frames = 0
        self._current: int | None = None
        self._moved = time.monotonic()
        self._expects_answer = True  # of the device, first of all that it opens
        self._fetching = False
        self._wake, self._closed = threading.Event(), False
        self.revoked = False

    def __enter__(self) -> "StatusReporter":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join()
        self._current = None
        ended = {"ended": True, "error": _error_text(error)}
        self._status = self._status.model_copy(update=ended)
        deadline = time.monotonic() + FINAL_REPORT_S
        while not self._write_status() and time.monotonic() < deadline:
            time.sleep(1)

    def add(self, frames: int) -> None:
        """Add to the number of frames done."""
        self._frames += frames
        self.step()

    def step(self) -> None:
        """Record progress."""
        self._progress += 1
        self._moved = time.monotonic()

    def begin(self, piece: int) -> None:
        """Report the piece before its work starts: if the process dies of it, the parent knows the piece."""
        self._current, self._expects_answer = piece, True
        self.step()
        self.report_now()

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Report progress during long work without frames that cannot hang, since the store's client has timeouts."""
        self._fetching = True
        try:
            yield
        finally:
            self.step()
            self._fetching = False

    def done(self, done: Done, frames_per_s: float | None) -> None:
        self._done.append(done)
        self._speeds += [frames_per_s] if frames_per_s else []
        self._pause()

    def failed(self, fault: Fault) -> None:
        self._faults.append(fault)
        self._pause()

    def ready(self, device: str) -> None:
        """Report that this device is open and does the work from now on."""
        self._status = self._status.model_copy(update={"device": device, "ready": True})
        self._expects_answer = self._current is not None
        self.step()
        self.report_now()

    def report_now(self) -> None:
        """Write the status at once, without waiting for the write."""
        self._wake.set()

    def _pause(self) -> None:
        """Expect no answer of the device between two pieces."""
        self._current, self._expects_answer = None, False
        self.step()
        self.report_now()

    def _run(self) -> None:
        look_at = 0.0
        while not self._closed:
            self._wake.wait(REPORT_EVERY_S)
            self._wake.clear()
            if self._fetching:
                self.step()
            self._write_status()
            if time.monotonic() >= look_at:
                self._look_for_revocation()
                look_at = time.monotonic() + REPORT_EVERY_S
            # A slow write of the status is no silence of the device, which may not have been asked anything meanwhile.
            if self._expects_answer and not self._fetching and time.monotonic() - self._moved > self._hang_s:
                self._end_hung_process()

    def _look_for_revocation(self) -> None:
        with suppress(StoreError):
            self.revoked = self.revoked or self._artifacts.exists(revoked_key(self._assignment_id))

    def _write_status(self) -> bool:
        speeds = {"slowest_fps": min(self._speeds), "fastest_fps": max(self._speeds)} if self._speeds else {}
        counts = {"progress": self._progress, "frames": self._frames, "current": self._current}
        changes = {**counts, **speeds, "done": list(self._done), "faults": list(self._faults)}
        status = self._status.model_copy(update=changes)
        if status == self._written:
            return True
        try:
            write(self._artifacts, status_key(self._assignment_id), status)
        except StoreError:
            return False
        self._written = status
        return True

    def _end_hung_process(self) -> None:
        """End the process. The main thread waits inside the device's driver, where no exception reaches it."""
        error = f"{self._status.device} did not answer for {self._hang_s:.0f} s"
        self._status = self._status.model_copy(update={"ended": True, "error": error})
        self._write_status()
        os._exit(EXIT_HUNG)


def _error_text(error: BaseException | None) -> str | None:
    """Describe a run's error. It is SystemExit(1) if the worker was killed, since rich ends processes that way."""
    if error is None or isinstance(error, NightjarError):
        return str(error) if error else None
    return f"{type(error).__name__}: {error}"
