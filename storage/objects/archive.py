"""The videos of an archive: a folder, or S3 through a bounded local cache. They are listed and fetched, never opened.

A key is a video's path below the archive's root, with '/'. It may be any file name: fit to be
shown quoted and to be bound in SQL, but never to be used as a path.
"""

import builtins
import mimetypes
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time_ns
from typing import NamedTuple, Protocol

from storage.objects.cache import FileCache
from storage.objects.places import (
    CallFailedError,
    ChangedError,
    DeniedError,
    DeniedObjectError,
    ObjectError,
    S3Place,
    StoreError,
    UnansweredError,
    disk_errors,
    parse_place,
)
from storage.objects.s3 import Bucket, File, S3Options
from storage.video.containers.completeness import tells_its_end
from storage.video.containers.signatures import HEAD_BYTES

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on
# Small copies of films that a camera makes for its own display, and incomplete files.
SECOND_COPIES = {".lrv": "a camera's small copy of a film", ".lrf": "a camera's small copy of a film"}
PARTS = dict.fromkeys(
    (".part", ".partial", ".crdownload", ".download", ".tmp"), "a copy or download that has not ended"
)
OTHER_KINDS = {".srt": "subtitles", ".ass": "subtitles", ".idx": "subtitles", ".thm": "a picture", ".log": "text"}
BY_SUFFIX = {**SECOND_COPIES, **PARTS, **OTHER_KINDS}
SOUNDS = dict.fromkeys((".mka", ".m4a", ".m4b", ".oga", ".ogg", ".opus", ".weba", ".flac", ".ac3", ".dts"), "sound")
TYPES = mimetypes.MimeTypes()  # Python's own table: the system's differs from machine to machine
RECENT_S = 60.0  # a file that was unchanged for this time is at rest
REST_S = 5.0  # between two checks of a file that changed recently


@dataclass(frozen=True)
class Entry:
    """One video of a listing. etag: changes when the file does: S3's own, or the file's time of last change"""

    key: str
    size_bytes: int
    etag: str


class Ignored(NamedTuple):
    """A file that is not treated as a video. reason: for users"""

    key: str
    reason: str


class Archive(Protocol):
    """An archive. Every method raises StoreError: ObjectError for a single video, which may be left out for tonight."""

    ignored: list[Ignored]
    """Files of the last `list` whose names exclude them: hidden, or of another kind."""

    unnamed: list[Entry]
    """Files of the last `list` whose names do not decide: their `head` shows whether they are videos."""

    def check(self) -> None:
        """Raise StoreError where there is no such folder or bucket, or it may not be read. Far cheaper than `list`."""

    def list(self) -> list[Entry]:
        """List all files with names of videos, sorted by key."""

    def head(self, entry: Entry) -> bytes:
        """Return the first HEAD_BYTES of a listed file. Raises ObjectError if it is not as listed."""

    def growing(self, entries: Iterable[Entry]) -> Sequence[Entry]:
        """Return the entries that are still being written: those that change within a few seconds.

        Only recently changed files that cannot be distinguished from complete ones are checked.
        """

    def is_gone(self, key: str) -> bool:
        """Return whether a file that `list` no longer has is gone, and not just unreachable for the moment."""

    def local(self, entry: Entry) -> AbstractContextManager[Path]:
        """Provide the video as a local file while the context lasts. Raises ObjectError if it is not as listed."""

    def at_hand(self, entry: Entry) -> bool:
        """Return whether `local` needs no download."""


def open_archive(location: str, s3: S3Options, cache_dir: Path, cache_bytes: int) -> Archive:
    """Return the archive at a folder path, `file://…` or `s3://bucket/prefix`. Touches no disk or network yet.

    cache_dir, cache_bytes: folder and size of the cache of S3's videos
    """
    place = parse_place(location)
    if isinstance(place, S3Place):
        return S3Archive(Bucket(place.bucket, s3), place.prefix, FileCache(cache_dir, cache_bytes))
    return FolderArchive(place)


def canonical(location: str) -> str:
    """Canonical location of an archive, under which everything about it is stored. Raises StoreError."""
    place = parse_place(location)
    if isinstance(place, S3Place):
        location = f"s3://{place.bucket}/{place.prefix}" if place.prefix else f"s3://{place.bucket}"
        return f"{location}/" if place.prefix.endswith("/") else location
    return str(place.resolve())


class FolderArchive:
    """An archive in a folder.

    Links to files are followed, as archives are often composed of them; links to folders are not, as they may form
    loops.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ignored: list[Ignored] = []
        self.unnamed: list[Entry] = []

    def check(self) -> None:
        with disk_errors(self.root):
            if not self.root.is_dir():
                found = "nothing" if not self.root.exists() else "no folder"
                raise StoreError(
                    f"There is {found} at {str(self.root)!r}.", "Correct the archive's location, or mount its disk."
                )
            with os.scandir(self.root) as items:  # may it be read?
                next(items, None)

    def list(self) -> list[Entry]:
        self.check()
        entries: builtins.list[Entry] = []
        self.ignored, self.unnamed = [], []
        root = os.fsencode(self.root)
        for path in _files(root):
            key = encode_name(path[len(root) :].lstrip(b"/"))
            reason = other_kind(key)
            entry = None if reason else self._entry(path, key)
            if entry is None:
                self.ignored.append(
                    Ignored(key, reason or "not a file: a broken link, a link to a folder, a pipe or a device")
                )
            else:
                (entries if is_video(key) else self.unnamed).append(entry)
        return sorted(entries, key=lambda entry: entry.key)

    def is_gone(self, key: str) -> bool:
        """Return False below an empty folder, which may be the mount point of an absent disk."""
        path = self.root / os.fsdecode(decode_name(key))
        with disk_errors(path):
            while not path.exists() and path != self.root:
                path = path.parent
            return not path.is_dir() or any(path.iterdir())

    def head(self, entry: Entry) -> bytes:
        with self.local(entry) as path, disk_errors(path), path.open("rb") as file:
            return file.read(HEAD_BYTES)

    def growing(self, entries: Iterable[Entry]) -> Sequence[Entry]:
        now_ns = time_ns()
        recent = [entry for entry in entries if int(entry.etag) > now_ns - RECENT_S * 1e9 and self._may_grow(entry)]
        if recent:
            sleep(REST_S)
        return [entry for entry in recent if self._entry(self._path(entry.key), entry.key) != entry]

    def _path(self, key: str) -> bytes:
        return os.path.join(os.fsencode(self.root), decode_name(key))  # noqa: PTH118  (a name of bytes)

    def _may_grow(self, entry: Entry) -> bool:
        try:
            with self.local(entry) as path, disk_errors(path), path.open("rb") as file:
                return not tells_its_end(file, entry.size_bytes)
        except ObjectError:  # reading it reports the reason
            return False

    def _entry(self, path: bytes, key: str) -> Entry | None:
        try:
            found = os.stat(path)  # noqa: PTH116  (a name of bytes)
        except OSError as error:
            with suppress(ObjectError), disk_errors(Path(os.fsdecode(path))):
                raise error
            return None  # a broken link, or removed meanwhile
        return Entry(key, found.st_size, str(found.st_mtime_ns)) if stat.S_ISREG(found.st_mode) else None

    @contextmanager
    def local(self, entry: Entry) -> Iterator[Path]:
        relative = Path(os.fsdecode(decode_name(entry.key)))
        if relative.is_absolute() or ".." in relative.parts or "\0" in entry.key:
            raise ObjectError(
                f"The key {entry.key!r} does not come from a listing of this archive.", "List the archive again."
            )
        path = self.root / relative
        found = _readable(path)
        if (found.st_size, str(found.st_mtime_ns)) != (entry.size_bytes, entry.etag):
            raise ChangedError(
                f"{str(path)!r} no longer has the size and time that were listed.", "List the archive again."
            )
        yield path

    def at_hand(self, entry: Entry) -> bool:
        return True


class S3Archive:
    """An archive in S3. Keys are below the prefix. Keys that end in '/' stand for folders and are skipped."""

    def __init__(self, bucket: Bucket, prefix: str, cache: FileCache) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.cache = cache
        self.ignored: list[Ignored] = []
        self.unnamed: list[Entry] = []

    def check(self) -> None:
        self._refuse_nothing(next(self.bucket.objects(self.prefix), None) is not None)

    def _refuse_nothing(self, found: bool) -> None:
        if self.prefix and not found:
            address = self.bucket.address(self.prefix)
            raise StoreError(f"There is nothing at {address}.", "Correct the archive's location.")

    def list(self) -> list[Entry]:
        entries: builtins.list[Entry] = []
        self.ignored, self.unnamed, found = [], [], False
        for item in self.bucket.objects(self.prefix):
            found = True
            key = item.key.removeprefix(self.prefix)
            if not key or key.endswith("/"):
                continue
            reason = "a name with a NUL" if "\0" in key else other_kind(key)
            if reason:
                self.ignored.append(Ignored(key, reason))
            else:
                (entries if is_video(key) else self.unnamed).append(Entry(key, item.size_bytes, item.etag))
        self._refuse_nothing(found)
        return sorted(entries, key=lambda entry: entry.key)

    def is_gone(self, key: str) -> bool:
        return True

    def head(self, entry: Entry) -> bytes:
        return self.bucket.read_start(self.prefix + entry.key, entry.etag, HEAD_BYTES)

    def growing(self, entries: Iterable[Entry]) -> Sequence[Entry]:
        """Return no entry: an S3 object appears when it is complete."""
        return []

    def local(self, entry: Entry) -> AbstractContextManager[Path]:
        key = self.prefix + entry.key
        return self.cache.file(*self._cached(entry), entry.size_bytes, lambda file: self._fetch(key, file, entry))

    def at_hand(self, entry: Entry) -> bool:
        with self.cache.kept(*self._cached(entry)) as path:
            return path is not None

    def _cached(self, entry: Entry) -> tuple[str, str]:
        """Identity and suffix of the object in the cache."""
        address = self.bucket.address(self.prefix + entry.key)
        identity = "\n".join([self.bucket.options.endpoint_url or "", address, entry.etag])
        return identity, _suffix(entry.key) if is_video(entry.key) else ""

    def _fetch(self, key: str, file: File, entry: Entry) -> None:
        """Fetch an object. Raises ObjectError where the store fails at this object but answers otherwise."""
        try:
            self.bucket.fetch(key, file, entry.etag, entry.size_bytes)
        except DeniedError as error:
            raise DeniedObjectError(
                error.happened,
                "Allow s3:GetObject on this object: correct its owner, its ACL or the bucket's policy.",
            ) from error
        except CallFailedError as error:
            if not self.bucket.answers(self.prefix):
                raise
            raise UnansweredError(error.happened, f"Look at this object in the store. {error.remedy}") from error


def _readable(path: Path) -> os.stat_result:
    """Check that the file at the path can be opened. Returns its status.

    Raises StoreError; ObjectError where only this file is at fault.
    """
    with disk_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ChangedError(f"{error.strerror} at {str(path)!r}.", "List the archive again.") from error
        except PermissionError as error:
            raise DeniedObjectError(
                f"{error.strerror} at {str(path)!r}.", "Give this user the right to read it (chmod, chown)."
            ) from error
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)


def is_video(key: str) -> bool:
    """Return whether a key is a video's by its suffix, in upper or lower case; nothing below a hidden folder is one."""
    hidden = any(part.startswith(".") and part not in (".", "..") for part in key.split("/"))
    return _suffix(key) in VIDEO_SUFFIXES and not hidden


def other_kind(key: str) -> str | None:
    """Reason for which a file's name excludes it; None where its content decides, or where it is named as a video."""
    if any(part.startswith(".") and part not in (".", "..") for part in key.split("/")):
        return "hidden"
    suffix = _suffix(key)
    if suffix in VIDEO_SUFFIXES:
        return None
    if known := BY_SUFFIX.get(suffix) or SOUNDS.get(suffix):
        return f"{known}, by its name"
    kind = TYPES.guess_type(f"a{suffix}")[0] or ""
    return f"{kind}, by its name" if kind.startswith(("application/", "audio/", "image/", "text/")) else None


def _suffix(key: str) -> str:
    stem, dot, suffix = key.rpartition("/")[2].rpartition(".")
    return dot + suffix.lower() if stem else ""


def _files(root: bytes) -> Iterator[bytes]:
    """Files below a folder, as bytes, because a name may not be UTF-8; hidden folders are not entered."""
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        with disk_errors(Path(os.fsdecode(folder))):
            try:
                items = list(os.scandir(folder))
            except FileNotFoundError:  # removed meanwhile
                continue
        for item in items:
            if not item.is_dir(follow_symlinks=False):
                yield item.path
            elif not item.name.startswith(b"."):
                waiting.append(item.path)


_ESCAPE = re.compile("%(25|[89A-F][0-9A-F])")
_NO_UTF8 = re.compile("[\udc80-\udcff]")


def encode_name(name: bytes) -> str:
    """Encode a file's name as text that any database accepts: UTF-8, and `%FF` for a byte that is not.

    A '%' of the name becomes `%25` only where it could be read as such an escape. The inverse: `decode_name`.
    """
    text = name.decode(errors="surrogateescape")
    text = _ESCAPE.sub(r"%25\1", text)
    return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", text)


def decode_name(text: str) -> bytes:
    parts = _ESCAPE.split(text)  # plain, digits, plain, digits, plain …
    return b"".join(bytes.fromhex(part) if number % 2 else part.encode() for number, part in enumerate(parts))
