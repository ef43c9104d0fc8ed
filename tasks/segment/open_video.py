"""The current video as a local file, opened once for all of its segments. No SQL."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from models.types import FrameIndex, TooSlowError, Video
from storage.objects.archive import Archive, Entry
from storage.objects.places import ObjectError
from storage.sandbox.parent import Sandbox
from storage.video.coded_film import CodedFilm
from storage.video.probe import begins_with, checked_created_s, created_record, from_record, probe_record
from tasks.site.settings import ReadLimits

KEPT_FRAMES = 1_000_000  # of all probes together: 24 MB


class FileState(NamedTuple):
    """Properties that change when a file is written to or replaced.

    Programs cannot set the time of the last change (changed_ns).
    """

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


def state_of(path: Path) -> FileState | None:
    """Return the file's size and times; None = they cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Probes:
    """Cache of the last probed files: an archive of short clips needs each probe twice in a batch.

    Not a dataclass, whose fields Prefect would traverse at every task.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Entry, tuple[FileState, Video, FrameIndex]] = OrderedDict()
        self._frames = 0

    def keep(self, entry: Entry, state: FileState | None, video: Video, index: FrameIndex) -> None:
        """Keep a probe, and drop the oldest ones beyond KEPT_FRAMES. state: of the file before it was probed"""
        self.drop(entry)
        if state is None:
            return
        self._kept[entry] = state, video, index
        self._frames += video.frames
        while self._frames > KEPT_FRAMES:
            self.drop(next(iter(self._kept)))

    def drop(self, entry: Entry) -> None:
        if entry in self._kept:
            self._frames -= self._kept.pop(entry)[1].frames

    def of(self, entry: Entry, path: Path) -> tuple[Video, FrameIndex] | None:
        """Return the kept probe; None = there is none, or the file has changed since.

        The file is not hashed here, which would take long and is not bounded by the sandbox's limits.
        """
        kept = self._kept.get(entry)
        return None if kept is None or kept[0] != state_of(path) else kept[1:]


class LocalVideo(NamedTuple):
    """A video as a local file, with its properties and the place of each frame."""

    path: Path
    video: Video
    frame_index: FrameIndex


class OpenVideo:
    """Context manager for the current video. Opening another video closes it."""

    def __init__(self, archive: Archive, sandbox: Sandbox, limits: ReadLimits, probes: Probes) -> None:
        """probes: probes of files that need not be probed again"""
        self._archive, self._sandbox, self._limits, self._probes = archive, sandbox, limits, probes
        self._file: AbstractContextManager[Path] | None = None
        self._sha256: str | None = None

    def __enter__(self) -> "OpenVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def get(self, entry: Entry, sha256: str) -> LocalVideo:
        """Fetch and probe the video with this hash, unless it is open already.

        Raises VideoError, SandboxError or AttemptError, or ObjectError if the file has another hash now.
        """
        if self._sha256 != sha256:
            self._close()
            file = self._archive.local(entry)
            self._path = file.__enter__()
            self._file = file
            kept = self._probes.of(entry, self._path)
            self._video, self._index = kept or probe(self._sandbox, self._path, self._limits)
            if self._video.sha256 != sha256:
                raise ObjectError(f"{entry.key} has changed since its segments were planned.", "Run again.")
            self._sha256 = sha256
        return LocalVideo(self._path, self._video, self._index)

    def _close(self) -> None:
        file, self._file, self._sha256 = self._file, None, None
        if file is not None:
            file.__exit__(None, None, None)


def probe(sandbox: Sandbox, path: Path, limits: ReadLimits) -> tuple[Video, FrameIndex]:
    """Read the properties of a local file in the sandbox. Raises VideoError, SandboxError or AttemptError."""
    return probe_again(sandbox, path, limits, None)[:2]


def probe_again(
    sandbox: Sandbox, path: Path, limits: ReadLimits, former: CodedFilm | None
) -> tuple[Video, FrameIndex, bool]:
    """Probe a file that had other content before. The last value is True if it starts with all of that content."""
    record = _read(sandbox, limits, probe_record, path, former)
    return *from_record(record), record.get("continues_former") is True


def starts_with(sandbox: Sandbox, path: Path, limits: ReadLimits, sha256: str, size_bytes: int) -> bool:
    """Return True if the file's first size_bytes have this hash, computed in the sandbox. Raises as probe does."""
    return _read(sandbox, limits, begins_with, path, sha256, size_bytes) is True


def read_created_s(sandbox: Sandbox, path: Path, limits: ReadLimits) -> float | None:
    """Read a video's creation time from its header, seconds since 1970; None = it claims none. Raises as probe does."""
    return checked_created_s(_read(sandbox, limits, created_record, path)["created_s"])


def _read(sandbox: Sandbox, limits: ReadLimits, function: Callable[..., Any], path: Path, *arguments: Any) -> Any:
    state = state_of(path)
    wall_s = limits.wall_s(state.size_bytes if state else 0)
    try:
        return sandbox.call(function, path, *arguments, cpu_s=limits.cpu_s, wall_s=wall_s)
    except TooSlowError as error:
        raise TooSlowError(
            f"Reading the file took more than {wall_s:,.0f} s. Check its disk or network share, or raise "
            "NIGHTJAR_READ_S. The next run reads it again."
        ) from error
