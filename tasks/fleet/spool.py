"""Spool of results on the worker's disk, bounded, for uploads that must wait for the store. No SQL."""

from contextlib import suppress
from pathlib import Path

from models.types import NightjarError
from storage.objects.artifacts import Artifacts, FolderArtifacts
from storage.objects.places import StoreError
from storage.parquet import Result
from tasks.segment.result_files import Stored, put


class Spool:
    """Results that wait for the store, under the keys that they will have there."""

    def __init__(self, folder: Path, artifacts: Artifacts, limit_bytes: int) -> None:
        self._folder, self._artifacts, self._limit_bytes = folder, artifacts, limit_bytes
        self._kept = FolderArtifacts(folder)

    def keep(self, key: str, result: Result) -> Stored:
        """Keep a result on disk. Raises NightjarError if the disk or the spool is full."""
        if self.size_bytes() > self._limit_bytes:
            raise NightjarError(
                f"The spool {self._folder} is full: it holds {self.size_bytes():,} bytes, and its limit is "
                f"{self._limit_bytes:,}. Check why the store cannot be reached, or raise NIGHTJAR_SPOOL_BYTES."
            )
        return put(self._kept, key, result)

    def size_bytes(self) -> int:
        sizes = 0
        for key in self._kept.list(""):
            with suppress(FileNotFoundError):  # another run on this machine has sent it
                sizes += Path(self._kept.url(key)).stat().st_size
        return sizes

    def send(self) -> bool:
        """Upload everything; False if the store is still unavailable. Repeated uploads are harmless."""
        for key in sorted(self._kept.list("")):
            path = Path(self._kept.url(key))
            try:
                self._artifacts.put_file(key, path)
            except StoreError:
                if path.exists():
                    return False
            path.unlink(missing_ok=True)
        return True
