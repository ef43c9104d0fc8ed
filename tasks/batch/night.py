"""Resources that one batch holds open from its start to its end. Does nothing itself."""

from dataclasses import dataclass, field
from pathlib import Path

from models.manifest import Manifest
from models.types import FrameIndex, Video
from storage.objects.archive import Archive
from storage.sandbox.parent import Sandbox
from storage.video.coded_film import CodedFilm
from tasks.segment.open_video import Probes, probe, probe_again, starts_with
from tasks.segment.result_files import ResultReader
from tasks.site.site import Site
from tasks.waiting.patience import Patience


@dataclass(frozen=True)
class Night:
    """One batch over one archive by one model version.

    location: the archive's canonical name; folder: the model's IR and manifest on this machine
    probes: of files that the listing read just now; results: opens result files of the store
    patience: with database and store, where they are away
    """

    site: Site
    sandbox: Sandbox
    location: str
    archive: Archive
    batch_id: int
    model_version_id: int
    folder: Path
    manifest: Manifest
    probes: Probes = field(default_factory=Probes)
    results: ResultReader = field(default_factory=ResultReader)
    patience: Patience = field(default_factory=Patience)

    def probe(self, path: Path) -> tuple[Video, FrameIndex]:
        """Properties of a local file, read in the sandbox. Raises VideoError, SandboxError or AttemptError."""
        return probe(self.sandbox, path, self.site.settings.read_limits)

    def probe_again(self, path: Path, former: CodedFilm | None) -> tuple[Video, FrameIndex, bool]:
        """Probe a file that was another film before: the last value is True where it begins with all of that."""
        return probe_again(self.sandbox, path, self.site.settings.read_limits, former)

    def starts_with(self, path: Path, sha256: str, size_bytes: int) -> bool:
        """Return whether the file's first size_bytes have this hash, computed in the sandbox. Raises as probe does."""
        return starts_with(self.sandbox, path, self.site.settings.read_limits, sha256, size_bytes)
