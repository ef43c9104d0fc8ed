"""Results in the artifact store: one Parquet file per segment. No SQL: edge workers import this.

Files of the store are untrusted: their size is bounded, they are opened in a sandbox, and all of a file is checked
before any of it is used.
"""

import hashlib
import logging
from types import TracebackType
from typing import Any, NamedTuple

from models.manifest import Manifest
from models.types import AttemptError, Classifications, Segment, VideoError
from storage.objects.artifacts import Artifacts
from storage.objects.places import ObjectError
from storage.parquet import RESULT_LIMIT_BYTES, Result, ResultError, encode_result, from_record, refusal, result_record
from storage.sandbox.parent import Sandbox, SandboxError
from tasks.waiting.attempts import pause

log = logging.getLogger(__name__)

READER_MEMORY_BYTES = 3 << 30  # for the largest result that is accepted, and a copy of it
READER_CPU_S = 120.0
READER_TRIES = 3


class Stored(NamedTuple):
    """File of a result. key: its key in the artifact store; sha256: hash of its bytes"""

    key: str
    sha256: str


class ResultReader:
    """Context manager that reads result files in a child process, which starts with the first file.

    For one thread at a time. Not a dataclass, whose fields Prefect would traverse at every task.
    """

    def __init__(self) -> None:
        self._sandbox = Sandbox(READER_MEMORY_BYTES)

    def __enter__(self) -> "ResultReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sandbox.close()

    def read(self, data: bytes, name: str) -> Result:
        """Return the checked result in these bytes. Raises ResultError for any fault."""
        try:
            return from_record(self._record(data), name)
        except (SandboxError, VideoError, AttemptError) as error:
            raise refusal(name, error) from error

    def _record(self, data: bytes) -> dict[str, Any]:
        """Read the file, and retry if the child was killed from outside, which is no fault of the file."""
        for failures in range(1, READER_TRIES):
            try:
                return self._call(data)
            except AttemptError:
                pause(failures)
        return self._call(data)

    def _call(self, data: bytes) -> dict[str, Any]:
        record: dict[str, Any] = self._sandbox.call(result_record, data, cpu_s=READER_CPU_S)
        return record


def result_prefix(version_id: str, segment: Segment) -> str:
    """Return the common prefix of the keys of all results of this segment."""
    return f"results/{version_id}/{segment.video_sha256}/{segment.start_frame:08d}-{segment.stop_frame:08d}."


def segments_with_results(artifacts: Artifacts, version_id: str, video_sha256: str) -> set[str]:
    """Return the result_prefix of each of the video's segments that has a file, by one listing."""
    keys = artifacts.list(f"results/{version_id}/{video_sha256}/")
    return {key.removesuffix(".parquet").rpartition(".")[0] + "." for key in keys}


def result_key(version_id: str, segment: Segment, attempt: int) -> str:
    """Return the key of an attempt's result. It contains the attempt, so a late result never replaces a loaded one."""
    return f"{result_prefix(version_id, segment)}{attempt:04d}.parquet"


def put(artifacts: Artifacts, key: str, result: Result) -> Stored:
    """Store the result. Raises StoreError if the store refuses it or its disk is full."""
    data = encode_result(result)
    artifacts.put_bytes(key, data)
    return Stored(key, hashlib.sha256(data).hexdigest())


def load(artifacts: Artifacts, reader: ResultReader, stored: Stored, manifest: Manifest, segment: Segment) -> Result:
    """Return the result that a worker announced for this segment of this model.

    Raises ResultError if the file is damaged, has another hash, or belongs to another segment or model; StoreError if
    the store is unavailable.
    """
    result, found = fetch(artifacts, reader, stored.key)
    if found.sha256 != stored.sha256:
        raise ResultError(
            f"{stored.key} has the sha256 {found.sha256[:12]}…, its worker reported {stored.sha256[:12]}…. Process the "
            "segment again."
        )
    if not _is_of(result, manifest, segment):
        raise ResultError(f"{stored.key} belongs to another segment or model. Check the worker that wrote it.")
    return result


def fetch(artifacts: Artifacts, reader: ResultReader, key: str) -> tuple[Result, Stored]:
    """Return the result under this key, and its file. Raises ResultError or StoreError."""
    data = artifacts.get_bytes(key, RESULT_LIMIT_BYTES)
    return reader.read(data, key), Stored(key, hashlib.sha256(data).hexdigest())


def find(
    artifacts: Artifacts, reader: ResultReader, manifest: Manifest, segment: Segment
) -> tuple[Result, Stored] | None:
    """Return a usable result that an earlier run stored and no database has loaded; None if there is none.

    An unusable file is logged and ignored, and the segment is processed again.
    """
    for key in sorted(artifacts.list(result_prefix(manifest.version_id, segment))):
        try:
            result, stored = fetch(artifacts, reader, key)
        except (ResultError, ObjectError) as error:
            log.warning("%s is ignored: %s", key, error)
            continue
        if _is_of(result, manifest, segment):
            return result, stored
        log.warning("%s is ignored: its content belongs to another segment or model than its name", key)
    return None


def _is_of(result: Result, manifest: Manifest, segment: Segment) -> bool:
    task = "classification" if isinstance(result.rows, Classifications) else "pose"
    return (result.segment, result.version_sha256, task) == (segment, manifest.version_id, manifest.task)
