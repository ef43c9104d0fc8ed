"""Open a file of an archive as a regular file, and tell a failing disk from a damaged video."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from models.files import sha256_of
from models.types import AttemptError, VideoError

UNFINISHED = "Copy it again, or wait for the end of the copy."
CHANGED = "The file changed while it was read. Let its copy finish: the next batch reads it again."
# Of the disk or share below a file. FFmpeg reports EIO for some damaged files too: only reading shows the cause.
READ_FAULTS = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO})


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BufferedReader, str]]:
    """Open a file. Yields it and a name by which the demuxer opens the same file, whatever its real name.

    A symlink is followed, because archives contain them and its target is only read as a video; a pipe, a device or
    a folder is refused (O_NONBLOCK: a pipe without a writer would block the batch forever). The name refers to the
    descriptor, so that a file swapped in between is not opened, and no name is ever read as a protocol.
    Raises VideoError where it is not a file, AttemptError where it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AttemptError(
            f"The file cannot be opened ({error.strerror}). Check the file and its permissions."
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise VideoError("This is a folder, a pipe or a device, not a file. Remove it from the archive.")
    with os.fdopen(descriptor, "rb") as file:
        yield file, f"file:/proc/self/fd/{descriptor}"


@contextmanager
def confirmed(file: BufferedReader, before: os.stat_result, sha256: str) -> Iterator[None]:
    """Pass a video's error on only if its file can be read and still has these bytes.

    A demuxer reports a failing disk, or a file that is being overwritten, like a damaged video: then AttemptError is
    raised instead. A file of which only the time of change is new is the same file.
    """
    try:
        yield
    except Exception as error:
        doubtful = getattr(error.__cause__ or error, "errno", None) in READ_FAULTS
        if (doubtful or _is_touched(file, before)) and digest(file) != sha256:
            raise AttemptError(CHANGED) from error
        raise
    if _is_touched(file, before) and digest(file) != sha256:
        raise AttemptError(CHANGED)


def _is_touched(file: BufferedReader, before: os.stat_result) -> bool:
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def digest(file: BufferedReader, count: int | None = None) -> str:
    """SHA-256 of the first count bytes, None = of the whole file. Raises AttemptError where the disk fails."""
    with disk_faults():
        file.seek(0)
        return sha256_of(file, count)


@contextmanager
def disk_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AttemptError(f"The file cannot be read ({error.strerror}). Check its disk.") from error


def read_at(file: BufferedReader, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
