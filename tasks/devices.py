"""The device that a worker works with: one process at a time, and what happens when it is lost. No SQL.

Who falls back to the CPU says so in the log, and the results name the CPU: `runtime.device` is always who did the work.
"""

import fcntl
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

from prefect import get_run_logger

from models.devices import open_runtime
from models.manifest import Manifest
from models.runtime import Runtime, RuntimeFault

ASK_EVERY_S = 0.25


class DeviceLock:
    """Held by one process of this machine. A context manager; the kernel frees it when the process dies, however.

    A stick that a second process opens answers NC_ERROR, and disturbs the first. Locks are by the device's name, under
    `home`: workers of one machine share it.
    """

    def __init__(self, home: Path, device: str) -> None:
        self._path = home / "locks" / f"{hashlib.sha256(device.encode()).hexdigest()[:32]}.lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> "DeviceLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def acquire(self, keep_waiting: Callable[[], bool]) -> bool:
        """Waits for the device: True when it is this process's, False when keep_waiting() says no."""
        self._release()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a")
        while not _locked(self._file):
            if not keep_waiting():
                self._release()
                return False
            time.sleep(ASK_EVERY_S)
        return True

    def _release(self) -> None:
        """The file stays: who removed it would let a third process lock another file of the same name."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class WorkerDevice:
    """The model, open on a device, or by policy on the CPU where that one is lost."""

    runtime: Runtime

    def __init__(
        self, folder: Path, manifest: Manifest, device: str, precision: str, fallback: Literal["cpu", "none"]
    ) -> None:
        """Raises RuntimeFault where the device cannot be opened and there is no fallback, or that fails too."""
        self._folder, self._manifest, self._precision, self._fallback = folder, manifest, precision, fallback
        self._device = device
        try:
            self._open(device)
        except RuntimeFault as fault:
            self.fall_back(fault)

    def fall_back(self, error: RuntimeFault) -> None:
        """Go on with the CPU, where the policy says so and it is not the CPU that failed; raises `error` otherwise."""
        if self._fallback != "cpu" or self._device == "CPU":
            raise error
        get_run_logger().warning("%s. The CPU goes on with the work, as --fallback cpu says", error)
        self._open("CPU")

    def _open(self, device: str) -> None:
        self._device = device
        self.runtime = open_runtime(self._folder, self._manifest, device, self._precision)
