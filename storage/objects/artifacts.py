"""Artifacts (models, results, overlays) under keys, in a folder or in S3. No SQL, no videos of the archive.

A key is a relative path of plain parts, such as `models/3f…/model.xml`, so that the same key serves in both.
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedRandom, BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

from models.files import sync_folder
from storage.leftovers import TEMPORARY, temporary_file, temporary_folder
from storage.objects.places import ObjectError, S3Place, StoreError, disk_errors, parse_place, too_large
from storage.objects.s3 import Bucket, S3Options
from storage.private import make_folder

PROOF = ".nightjar-proof"
# Default limits of a read: a store may hold anything, and others may write there.
MEMORY_LIMIT_BYTES = 64 << 20
FILE_LIMIT_BYTES = 4 << 30


class Artifacts(Protocol):
    """A store. Every method raises StoreError: ObjectError for a fault of the one object or its key."""

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file, whole or not at all, in place of an object that was there."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store bytes from memory in the same way."""

    def get_file(self, key: str, path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        """Write the object to `path`, whole or not at all, and make its folder. A larger one is an ObjectError."""

    def get_bytes(self, key: str, limit_bytes: int = MEMORY_LIMIT_BYTES) -> bytes:
        """Return the object. A larger one is an ObjectError: it is never read into memory."""

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix` ("" = all), in no particular order; invalid keys are left out."""

    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]:
        """List the same keys, each with a text that changes when its object is replaced."""

    def url(self, key: str) -> str:
        """Address of an object for people: a path or s3://…."""

    def _remove(self, key: str) -> None:
        """Remove the test object of `prove`. Artifacts are never removed."""


def open_artifacts(location: str, s3: S3Options) -> Artifacts:
    """Return the store at a folder path, `file://…` or `s3://bucket/prefix`. Only `prove` touches it."""
    place = parse_place(location)
    if isinstance(place, S3Place):
        return S3Artifacts(Bucket(place.bucket, s3), _checked(place.prefix) if place.prefix else "")
    return FolderArtifacts(place)


def prove(store: Artifacts) -> None:
    """Store a small object, read it back, compare it and remove it. Raises StoreError where the store fails."""
    key, data = f"{PROOF}/{secrets.token_hex(8)}", secrets.token_bytes(64)
    store.put_bytes(key, data)
    found = store.get_bytes(key)
    with suppress(StoreError):  # a store may forbid to delete
        store._remove(key)
    if found != data:
        raise StoreError(
            f"{store.url(key)} does not return the bytes that were just stored.", "Check the store's health."
        )


def put_folder(store: Artifacts, prefix: str, folder: Path, names: Sequence[str]) -> None:
    """Store files of a folder as `prefix/name`, in this order: put last the file that marks the rest as complete."""
    for name in names:
        store.put_file(f"{prefix}/{name}", folder / name)


def get_folder(store: Artifacts, prefix: str, names: Sequence[str], cache_folder: Path) -> Path:
    """Fetch the files `prefix/name` into a local folder, unless an earlier call did. Returns the folder.

    For prefixes that contain a hash of their content: an existing folder is never fetched again. The caller compares
    the hashes, and removes the folder where they differ. It gets its name when it is complete, so that an interrupted
    fetch leaves no such folder; of several fetches at once one wins, with the same content.
    """
    wanted = "\n".join([_checked(prefix), *(_checked_name(name) for name in names)])
    folder = cache_folder / hashlib.sha256(wanted.encode()).hexdigest()
    if folder.is_dir():
        return folder
    with disk_errors(folder):
        make_folder(cache_folder)
        with temporary_folder(cache_folder) as temporary:
            for name in names:
                store.get_file(f"{prefix}/{name}", temporary / name)
            _rename_unless_there(temporary, folder)
            sync_folder(cache_folder)
    return folder


def _rename_unless_there(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


class FolderArtifacts:
    """A store in a local folder, or one that is mounted."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_file(self, key: str, path: Path) -> None:
        target = self._path(key)
        with disk_errors(path), path.open("rb") as source, _written_whole(target) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

    def put_bytes(self, key: str, data: bytes) -> None:
        with _written_whole(self._path(key)) as file:
            file.write(data)

    def get_file(self, key: str, path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        with self._opened(key, limit_bytes) as source, _written_whole(path) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)

    def get_bytes(self, key: str, limit_bytes: int = MEMORY_LIMIT_BYTES) -> bytes:
        with self._opened(key, limit_bytes) as source:
            return source.read(limit_bytes)

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with disk_errors(path):
            try:
                return stat.S_ISREG(path.lstat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def list(self, prefix: str) -> Iterator[str]:
        top = self.root / _checked(prefix.rpartition("/")[0]) if "/" in prefix else self.root
        with disk_errors(top):
            for folder, _, names in os.walk(top, onerror=_raise_unless_missing):
                for name in names:
                    key = (Path(folder) / name).relative_to(self.root).as_posix()
                    if key.startswith(prefix) and _is_sound(key):
                        yield key

    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]:
        for key in self.list(prefix):
            with suppress(FileNotFoundError):  # removed meanwhile
                status = (self.root / key).lstat()
                yield key, f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"

    def url(self, key: str) -> str:
        return str(self._path(key))

    def _remove(self, key: str) -> None:
        path = self._path(key)
        with disk_errors(path):
            path.unlink()
        with suppress(OSError):  # the test object of another process is in it
            path.parent.rmdir()

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    @contextmanager
    def _opened(self, key: str, limit_bytes: int) -> Iterator[BinaryIO]:
        path = self._path(key)
        with disk_errors(path):
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
            with file:
                _check_regular(os.fstat(file.fileno()), path, limit_bytes)
                yield file


class S3Artifacts:
    """A store in a bucket. Each object carries its SHA-256, which is compared whenever it is read."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""

    def put_file(self, key: str, path: Path) -> None:
        with disk_errors(path):
            self.bucket.put_file(self._full(key), path)

    def put_bytes(self, key: str, data: bytes) -> None:
        self.bucket.put(self._full(key), data)

    def get_file(self, key: str, path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        with _written_whole(path) as file:
            self.bucket.fetch(self._full(key), file, limit_bytes=limit_bytes)

    def get_bytes(self, key: str, limit_bytes: int = MEMORY_LIMIT_BYTES) -> bytes:
        memory = BytesIO()
        self.bucket.fetch(self._full(key), memory, limit_bytes=limit_bytes)
        return memory.getvalue()

    def exists(self, key: str) -> bool:
        return self.bucket.exists(self._full(key))

    def list(self, prefix: str) -> Iterator[str]:
        return (key for key, _ in self.stamps(prefix))

    def stamps(self, prefix: str) -> Iterator[tuple[str, str]]:
        for item in self.bucket.objects(self.prefix + prefix):
            key = item.key.removeprefix(self.prefix)
            if _is_sound(key):
                yield key, f"{item.etag} {item.size_bytes}"

    def url(self, key: str) -> str:
        return self.bucket.address(self._full(key))

    def _remove(self, key: str) -> None:
        self.bucket.remove(self._full(key))

    def _full(self, key: str) -> str:
        return self.prefix + _checked(key)


def _check_regular(status: os.stat_result, path: Path, limit_bytes: int) -> None:
    """Raise ObjectError for a pipe, a device or a socket under an object's name, and for a file beyond the limit."""
    if not stat.S_ISREG(status.st_mode):
        raise ObjectError(f"{path} is not a regular file.", "Remove it from the store.")
    if status.st_size > limit_bytes:
        raise too_large(str(path), status.st_size, limit_bytes)


def _is_sound(key: str) -> bool:
    """Return whether a key is valid for folders and S3 alike: S3 takes 1024 bytes, file systems 255 per part."""
    if not key.isprintable() or "\\" in key or len(key.encode()) > 1024:
        return False
    return all(
        0 < len(part.encode()) <= 255 and part not in (".", "..") and not part.startswith(TEMPORARY)
        for part in key.split("/")
    )


def _checked(key: str) -> str:
    if _is_sound(key):
        return key
    raise ObjectError(
        f"The artifact key {key[:200]!r} is not allowed.",
        "Use a relative path of printable parts of at most 255 bytes each, without '..' or a backslash.",
    )


def _checked_name(name: str) -> str:
    if "/" in name:
        raise ObjectError(f"The file name {name[:200]!r} contains a folder.", "Use a name without folders.")
    return _checked(name)


@contextmanager
def _written_whole(path: Path) -> Iterator[BufferedRandom]:
    """Provide a file that gets its name when it is completely on the disk; after an error nothing is left."""
    with disk_errors(path):
        make_folder(path.parent)
        with temporary_file(path.parent) as (temporary, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.rename(path)
        sync_folder(path.parent)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
