"""A cache of fetched files in one folder, limited in bytes and shared by several processes.

A killed process needs no cleanup: the files that it used or wrote are marked by its locks, and the kernel drops
those. flock is used, so the folder has to be on a local disk.

    NAME.SUFFIX      a whole file. Its readers hold a shared lock; its atime is the time of its last request. Its mtime
                     never changes, because readers treat a new mtime as new bytes
    NAME.SIZE.part   a file that is being fetched. Its writer holds an exclusive lock; SIZE is its final size
    lock             held while room is made
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from storage.objects.places import ObjectError, StoreError, disk_errors
from storage.private import make_folder

POLL_S = 0.1  # while another process fetches the same file, or uses the room
ROOM_S = 10.0  # a worker that goes from one file to the next seems to use both, and leaves room in a moment
_PART = re.compile(r"[0-9a-f]{64}\.([0-9]+)\.part")


class NoRoomError(StoreError):
    """All files of the cache are in use."""


class FileCache:
    """A cache of files. The least recently used ones make room for new ones, but never one in use."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    @contextmanager
    def file(
        self, identity: str, suffix: str, size_bytes: int, fetch: Callable[[BufferedRandom], None]
    ) -> Iterator[Path]:
        """Provide the file of this identity, fetched if necessary and kept from eviction while the context lasts.

        identity: any text; its hash is the name. size_bytes: room to reserve; at least the size of the whole file
        fetch: writes the whole, verified file, or raises
        Raises StoreError where there is no room for ROOM_S, and what `fetch` raises.
        """
        path = self._path(identity, suffix)
        part = self.folder / f"{_name(identity)}.{size_bytes}.part"
        with ExitStack() as stack:
            with disk_errors(path):
                make_folder(self.folder)
                deadline: float | None = None
                while not (held := _try_lock(path, fcntl.LOCK_SH)):
                    try:
                        self._try_to_fetch(path, part, size_bytes, fetch)
                    except NoRoomError:
                        deadline = deadline or time.monotonic() + ROOM_S
                        if time.monotonic() >= deadline:
                            raise
                        time.sleep(POLL_S)
                stack.callback(_unlock, held)
                _mark_used(held)
            yield path

    @contextmanager
    def kept(self, identity: str, suffix: str) -> Iterator[Path | None]:
        """Provide the file if it is here, kept from eviction while the context lasts; None = it must be fetched first.

        Raises StoreError where the folder cannot be read.
        """
        path = self._path(identity, suffix)
        with disk_errors(path):
            held = _try_lock(path, fcntl.LOCK_SH)
        try:
            if held is not None:
                _mark_used(held)
            yield path if held is not None else None
        finally:
            if held is not None:
                _unlock(held)

    def _path(self, identity: str, suffix: str) -> Path:
        return self.folder / f"{_name(identity)}{suffix}"

    def _try_to_fetch(self, path: Path, part: Path, size_bytes: int, fetch: Callable[[BufferedRandom], None]) -> None:
        """Fetch the file, or wait a moment where another process does."""
        if (held := self._reserve(path, part, size_bytes)) is None:
            time.sleep(POLL_S)
            return
        try:
            with os.fdopen(os.dup(held), "r+b") as file:
                file.truncate()  # a killed process may have left a partial file
                fetch(file)
                file.flush()
                os.fsync(held)
            with self._locked():  # so that no count includes it twice or misses it
                part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            _unlock(held)

    def _reserve(self, path: Path, part: Path, size_bytes: int) -> int | None:
        """Lock `part` and reserve room for it. Returns its descriptor; None where another process has it, or is done.

        Under the folder's lock, so that every locked part has its room.
        """
        with self._locked():
            if path.exists():
                return None
            part.touch()
            if (held := _try_lock(part, fcntl.LOCK_EX)) is None:
                return None
            try:
                self._make_room(size_bytes, part)
            except BaseException:
                part.unlink()
                _unlock(held)
                raise
            return held

    def _make_room(self, size_bytes: int, part: Path) -> None:
        """Remove the oldest files until `part` fits in; unfinished files of other processes count in full."""
        if size_bytes > self.limit_bytes:
            raise ObjectError(
                f"A video of {size_bytes:,} bytes does not fit into the cache {str(self.folder)!r} of "
                f"{self.limit_bytes:,} bytes.",
                "Raise the cache's size.",
            )
        files = sorted(self._files(part), key=lambda file: file[0])
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            fits = used + size_bytes <= self.limit_bytes
            abandoned = path.suffix == ".part"  # unless its writer holds it
            if (abandoned or not fits) and _remove_unless_held(path):
                used -= size
        if used + size_bytes > self.limit_bytes:
            raise NoRoomError(
                f"{used:,} of {self.limit_bytes:,} bytes of the cache {str(self.folder)!r} are in use, which leaves no "
                f"room for {size_bytes:,} more.",
                "Raise the cache's size, or run fewer workers at once.",
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock."""
        held = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            _unlock(held)

    def _files(self, own: Path) -> Iterator[tuple[int, int, Path]]:
        """List (last use in ns, bytes, path) of every file except the lock and this process's own part."""
        for path in self.folder.iterdir():
            if path.name in ("lock", own.name):
                continue
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            part = _PART.fullmatch(path.name)
            yield found.st_atime_ns, int(part[1]) if part else found.st_size, path


def _name(identity: str) -> str:
    return hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()


def _try_lock(path: Path, kind: int) -> int | None:
    """Lock the file at `path`. Returns its descriptor; None where it is missing or locked by another process."""
    try:
        held = os.open(path, (os.O_RDWR if kind == fcntl.LOCK_EX else os.O_RDONLY) | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(held, kind | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), path.lstat()):  # and not a file that was removed or renamed meanwhile
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(held)
        raise
    os.close(held)
    return None


def _mark_used(held: int) -> None:
    """Set the time of last use, which a disk mounted with noatime or relatime would not do by itself."""
    with suppress(PermissionError):  # another user's file: it may be evicted a little early
        os.utime(held, ns=(time.time_ns(), os.fstat(held).st_mtime_ns))


def _unlock(held: int) -> None:
    fcntl.flock(held, fcntl.LOCK_UN)  # a forked child may hold a copy of the descriptor
    os.close(held)


def _remove_unless_held(path: Path) -> bool:
    if (held := _try_lock(path, fcntl.LOCK_EX)) is None:
        return not path.exists()
    try:
        path.unlink()
    finally:
        _unlock(held)
    return True
