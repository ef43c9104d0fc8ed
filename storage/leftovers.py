"""Temporary files and folders, locked by their owner so that those of killed processes can be removed.

The kernel drops a process's locks, however it ends. A name contains the machine's, as a lock on a shared disk may be
visible to that machine only.
"""

import fcntl
import hashlib
import os
import platform
import secrets
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

TEMPORARY = ".nightjar-tmp-"
SILENT_S = 86400.0  # since the last write of another machine, whose locks may not be visible here


def temporary_name(before: str = TEMPORARY) -> str:
    """Return a new name that contains this machine's."""
    return f"{before}{_machine()}-{secrets.token_hex(8)}"


def _machine() -> str:
    return hashlib.sha256(f"{platform.node()} {uuid.getnode()}".encode()).hexdigest()[:8]


@contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[Path, BufferedRandom]]:
    """Open a new, locked file in the folder. It is removed after an error, and at the end unless it was renamed."""
    path, descriptor = _make_held(lambda: folder / temporary_name(), _new_file)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(parent: Path, before: str = TEMPORARY, after: str = "") -> Iterator[Path]:
    """Make a new, locked folder. It is removed at the end with its contents, unless it was renamed."""
    path, held = _make_held(lambda: parent / f"{temporary_name(before)}{after}", _new_folder)
    try:
        yield path
    finally:
        os.close(held)
        shutil.rmtree(path, ignore_errors=True)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _new_folder(path: Path) -> int:
    path.mkdir(mode=0o700)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _make_held(name: Callable[[], Path], make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make and lock an entry, again if it was removed as a leftover before that. Returns path and descriptor."""
    while True:
        path = name()
        try:
            descriptor = make(path)
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise
            continue
        _hold(descriptor)
        if _is_at(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def _hold(descriptor: int) -> None:
    with suppress(OSError):  # a file system without locks: nothing is removed there
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def temporary_below(root: Path) -> Iterator[Path]:
    """Yield the entries below the folder that are named like those of temporary_file and temporary_folder."""
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            if name.startswith(TEMPORARY):
                yield Path(place) / name
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]


def remove_leftovers(paths: Iterable[Path], *, dry: bool = False) -> int:
    """Remove this user's unlocked leftovers. Returns their number; dry: count them only."""
    removed = 0
    for path in paths:
        with suppress(OSError):  # locked, or removed meanwhile
            removed += _remove_unless_held(path, dry)
    return removed


def _remove_unless_held(path: Path, dry: bool) -> bool:
    before = path.lstat()
    is_folder = stat.S_ISDIR(before.st_mode)
    if not (is_folder or stat.S_ISREG(before.st_mode)) or before.st_uid != os.geteuid() or _may_be_held_elsewhere(path):
        return False
    held = os.open(path, os.O_NOFOLLOW | (os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR))
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(held, path):
            return False
        if not dry:
            shutil.rmtree(path) if is_folder else path.unlink()
        return True
    finally:
        os.close(held)


def _may_be_held_elsewhere(path: Path) -> bool:
    """Return whether another machine, or an older version of this program, wrote to it recently."""
    return f"-{_machine()}-" not in path.name and time.time() - path.lstat().st_mtime < SILENT_S
