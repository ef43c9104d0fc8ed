"""One batch: the key that tasks receive, and the resources that each task opens itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from models.manifest import Manifest
from models.types import FrameIndex, Video
from storage.objects.archive import Archive
from storage.sandbox.parent import Sandbox
from storage.sql.database import Database
from storage.video.coded_film import CodedFilm
from tasks.segment.open_video import probe, probe_again, read_created_s, starts_with
from tasks.segment.result_files import ResultReader
from tasks.site.settings import read_settings
from tasks.site.site import Site, reopen_site
from tasks.waiting.retry import OutageRetry


@dataclass(frozen=True)
class NightKey:
    """One batch over one archive by one model version.

    location: the archive's canonical name
    folder: the model's IR and manifest on this machine
    """

    location: str
    batch_id: int
    model_version_id: int
    folder: Path
    manifest: Manifest


@dataclass(frozen=True)
class ArchiveSource:
    """An archive, and the database in which its files are recorded under `location`, its canonical name."""

    engine: Database
    archive: Archive
    location: str


@dataclass(frozen=True)
class Night(NightKey):
    """A batch with its resources open.

    results: reader of the store's result files
    retry: repeats steps while database or store are unavailable
    """

    site: Site
    sandbox: Sandbox
    archive: Archive
    results: ResultReader
    retry: OutageRetry = field(default_factory=OutageRetry)

    @property
    def source(self) -> ArchiveSource:
        return ArchiveSource(self.site.engine, self.archive, self.location)

    def probe(self, path: Path) -> tuple[Video, FrameIndex]:
        """Read the properties of a local file in the sandbox. Raises VideoError, SandboxError or AttemptError."""
        return probe(self.sandbox, path, self.site.settings.read_limits)

    def probe_again(self, path: Path, former: CodedFilm | None) -> tuple[Video, FrameIndex, bool]:
        """Probe a file that had other content before. The last value is True if it starts with all of that content."""
        return probe_again(self.sandbox, path, self.site.settings.read_limits, former)

    def read_created_s(self, path: Path) -> float | None:
        """Read a video's creation time in the sandbox, seconds since 1970. Raises as probe does."""
        return read_created_s(self.sandbox, path, self.site.settings.read_limits)

    def starts_with(self, path: Path, sha256: str, size_bytes: int) -> bool:
        """Return True if the file's first size_bytes have this hash, computed in the sandbox. Raises as probe does."""
        return starts_with(self.sandbox, path, self.site.settings.read_limits, sha256, size_bytes)


@contextmanager
def open_night(key: NightKey) -> Iterator[Night]:
    """Open the resources of a task: database, stores, and sandboxes, whose processes start at their first use.

    Waits for an unavailable database, as long as the settings say. Raises DatabaseError.
    """
    settings = read_settings()
    retry = OutageRetry(settings.outage_s)
    with (
        reopen_site(retry) as site,
        Sandbox(settings.decoder_memory_bytes) as sandbox,
        ResultReader() as results,
    ):
        yield Night(
            **vars(key),
            site=site,
            sandbox=sandbox,
            archive=site.archive(key.location),
            results=results,
            retry=retry,
        )
