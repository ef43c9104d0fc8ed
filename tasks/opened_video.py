"""The video that is being worked on, as a local file, opened once for all its segments. No SQL."""

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from models.types import FrameIndex, Video
from storage.archive import Archive, Entry
from storage.places import ObjectError
from storage.sandbox import Sandbox
from storage.video import from_record, probe_record


class OpenVideo:
    """A context manager; changing to another video closes the one before."""

    def __init__(self, archive: Archive, sandbox: Sandbox, cpu_s: float) -> None:
        self._archive, self._sandbox, self._cpu_s = archive, sandbox, cpu_s
        self._file: AbstractContextManager[Path] | None = None
        self._sha256: str | None = None

    def __enter__(self) -> "OpenVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def get(self, entry: Entry, sha256: str) -> tuple[Path, Video, FrameIndex]:
        """The file, what it is, and its frames.

        Raises VideoError or SandboxError, or ObjectError where the file's bytes are no longer the planned ones.
        """
        if self._sha256 != sha256:
            self._close()
            file = self._archive.local(entry)
            self._path = file.__enter__()
            self._file = file
            self._video, self._index = probe(self._sandbox, self._path, self._cpu_s)
            if self._video.sha256 != sha256:
                raise ObjectError(f"{entry.key} has other bytes now", "those it was planned by", "run again")
            self._sha256 = sha256
        return self._path, self._video, self._index

    def _close(self) -> None:
        file, self._file, self._sha256 = self._file, None, None
        if file is not None:
            file.__exit__(None, None, None)


def probe(sandbox: Sandbox, path: Path, cpu_s: float) -> tuple[Video, FrameIndex]:
    """What a local file is, found out in the sandbox. Raises VideoError or SandboxError with the reason."""
    return from_record(sandbox.call(probe_record, path, cpu_s=cpu_s))
