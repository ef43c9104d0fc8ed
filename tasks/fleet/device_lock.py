"""Lock of a device among the processes of this machine.

Standard library only, since `nightjar worker` checks it, too.
"""

import fcntl
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from storage.private import make_folder

POLL_EVERY_S = 0.25


class DeviceLock:
    """Context manager for the exclusive use of a device. The kernel releases the lock when its process ends.

    A stick that is opened twice fails with NC_ERROR and disturbs the first process. The lock is named after the device
    and lies under `home`, which the workers of a machine share.
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
        """Wait for the device. Returns True once this process has it, False when keep_waiting() returns False."""
        self._release()
        make_folder(self._path.parent)
        self._file = self._path.open("a")
        while not _locked(self._file):
            if not keep_waiting():
                self._release()
                return False
            time.sleep(POLL_EVERY_S)
        return True

    def _release(self) -> None:
        """Unlock the file without removing it: otherwise a third process could lock a new file of the same name."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def is_held(home: Path, device: str) -> bool:
    """Return True if a process of this machine has the device."""
    with DeviceLock(home, device) as lock:
        return not lock.acquire(lambda: False)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
