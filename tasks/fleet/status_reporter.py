"""A run tells how far it is, from a thread of its own, and hears when the rest was given to another one. No SQL."""

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

TELL_EVERY_S = 2.0
LAST_WORD_S = 30.0  # how long a run that ends tries to say so
HANGS = 75  # EX_TEMPFAIL: the exit code of a run whose device hangs


class Teller:
    """Context manager around the work. Its status is in the store some seconds later, or at once by `now`."""

    def __init__(self, artifacts: Artifacts, assignment_id: str, worker: str, device: str, hang_s: float) -> None:
        """hang_s: a device that owes an answer for so long hangs, and only the end of the process frees it"""
        self._artifacts, self._assignment_id, self._hang_s = artifacts, assignment_id, hang_s
        self._status = Status(worker=worker, device=device)
        self._told: Status | None = None
        self._done: list[Done] = []
        self._faults: list[Fault] = []
        self._speeds: list[float] = []
        self._progress = self._frames = 0
        self._current: int | None = None
        self._moved = time.monotonic()
        self._owed = True  # by the device: an answer. First of all, that it is there
        self._fetching = False
        self._wake, self._closed = threading.Event(), False
        self.revoked = False

    def __enter__(self) -> "Teller":
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
        ended = {"ended": True, "error": _in_words(error)}
        self._status = self._status.model_copy(update=ended)
        deadline = time.monotonic() + LAST_WORD_S
        while not self._tell() and time.monotonic() < deadline:
            time.sleep(1)

    def add(self, frames: int) -> None:
        """Add to the number of frames done."""
        self._frames += frames
        self.step()

    def step(self) -> None:
        """Something went on."""
        self._progress += 1
        self._moved = time.monotonic()

    def begin(self, piece: int) -> None:
        """Said before the work: if the process dies of it, the parent knows of what."""
        self._current, self._owed = piece, True
        self.step()
        self.now()

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Allow work that takes long without a frame, and cannot hang: the store's client gives up by itself."""
        self._fetching = True
        try:
            yield
        finally:
            self._fetching = False
            self.step()

    def done(self, done: Done, frames_per_s: float | None) -> None:
        self._done.append(done)
        self._speeds += [frames_per_s] if frames_per_s else []
        self._pause()

    def failed(self, fault: Fault) -> None:
        self._faults.append(fault)
        self._pause()

    def ready(self, device: str) -> None:
        """Record that this device is open and does the work from now on."""
        self._status = self._status.model_copy(update={"device": device, "ready": True})
        self._owed = self._current is not None
        self.step()
        self.now()

    def now(self) -> None:
        """Tell at once; does not wait for it."""
        self._wake.set()

    def _pause(self) -> None:
        """Between two pieces nothing is owed by the device."""
        self._current, self._owed = None, False
        self.step()
        self.now()

    def _run(self) -> None:
        look_at = 0.0
        while not self._closed:
            self._wake.wait(TELL_EVERY_S)
            self._wake.clear()
            if self._fetching:
                self.step()
            self._tell()
            if time.monotonic() >= look_at:
                self._look_for_revocation()
                look_at = time.monotonic() + TELL_EVERY_S
            if self._owed and time.monotonic() - self._moved > self._hang_s:
                self._give_up()

    def _look_for_revocation(self) -> None:
        with suppress(StoreError):
            self.revoked = self.revoked or self._artifacts.exists(revoked_key(self._assignment_id))

    def _tell(self) -> bool:
        speeds = {"slowest_fps": min(self._speeds), "fastest_fps": max(self._speeds)} if self._speeds else {}
        counts = {"progress": self._progress, "frames": self._frames, "current": self._current}
        told = {**counts, **speeds, "done": list(self._done), "faults": list(self._faults)}
        status = self._status.model_copy(update=told)
        if status == self._told:
            return True
        try:
            write(self._artifacts, status_key(self._assignment_id), status)
        except StoreError:
            return False
        self._told = status
        return True

    def _give_up(self) -> None:
        """End the process: the main thread waits inside the device's driver, where no exception reaches it."""
        error = f"{self._status.device} gave no answer for {self._hang_s:.0f} s"
        self._status = self._status.model_copy(update={"ended": True, "error": error})
        self._tell()
        os._exit(HANGS)


def _in_words(error: BaseException | None) -> str | None:
    """Describe a run's error. It is SystemExit(1) if the worker was killed: rich ends a process without a terminal."""
    if error is None or isinstance(error, NightjarError):
        return str(error) if error else None
    return f"{type(error).__name__}: {error}"
