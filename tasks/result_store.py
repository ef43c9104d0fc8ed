"""Results in the artifact store: a Parquet file a segment. No SQL: edge workers import this."""

import hashlib
from typing import NamedTuple

from prefect import get_run_logger

from models.types import Segment
from storage.artifacts import Artifacts
from storage.parquet import Result, ResultError, decode_result, encode_result


class Stored(NamedTuple):
    """A result's file. key: in the artifact store; sha256: of its bytes"""

    key: str
    sha256: str


def result_prefix(version_id: str, segment: Segment) -> str:
    """What the keys of all results of this segment begin with."""
    return f"results/{version_id}/{segment.video_sha256}/{segment.start_frame:08d}-{segment.stop_frame:08d}."


def segments_with_results(artifacts: Artifacts, version_id: str, video_sha256: str) -> set[str]:
    """The result_prefix of each segment of the video that has a file: one listing, however many segments there are."""
    keys = artifacts.list(f"results/{version_id}/{video_sha256}/")
    return {key.removesuffix(".parquet").rpartition(".")[0] + "." for key in keys}


def result_key(version_id: str, segment: Segment, attempt: int) -> str:
    """Where an attempt's result lies: a late one never replaces the one that was loaded."""
    return f"{result_prefix(version_id, segment)}{attempt:04d}.parquet"


def put(artifacts: Artifacts, key: str, result: Result) -> Stored:
    """Raises StoreError where the store refuses or its disk is full."""
    data = encode_result(result)
    artifacts.put_bytes(key, data)
    return Stored(key, hashlib.sha256(data).hexdigest())


def load(artifacts: Artifacts, stored: Stored) -> Result:
    """Raises ResultError where the file is damaged or not the one that was announced, StoreError where it is away."""
    result, found = fetch(artifacts, stored.key)
    if found.sha256 != stored.sha256:
        raise ResultError(f"{stored.key} has sha256 {found.sha256[:12]}…, expected {stored.sha256[:12]}…: do it again")
    return result


def fetch(artifacts: Artifacts, key: str) -> tuple[Result, Stored]:
    """The result under this key, and what file that is. Raises ResultError or StoreError."""
    data = artifacts.get_bytes(key)
    return decode_result(data, key), Stored(key, hashlib.sha256(data).hexdigest())


def find(artifacts: Artifacts, version_id: str, segment: Segment) -> tuple[Result, Stored] | None:
    """What an earlier run stored and nobody loaded, or a lost database had: it need not be done again."""
    for key in sorted(artifacts.list(result_prefix(version_id, segment))):
        try:
            result, stored = fetch(artifacts, key)
        except ResultError as error:
            get_run_logger().warning("%s is left alone: %s", key, error)
            continue
        if (result.segment, result.version_sha256) == (segment, version_id):
            return result, stored
    return None
