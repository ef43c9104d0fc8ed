"""Checks after a batch with kills: rows, ledger, store. Changes nothing."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Engine

from models.types import Segment
from storage.objects.artifacts import Artifacts
from storage.parquet import ResultError
from storage.rows import KEYPOINT_COLUMNS
from storage.sql.query import query
from tasks.segment.result_files import ResultReader, fetch, result_prefix

Row = tuple[Any, ...]  # sha256, frame, person, t_s and the rest as float32; no ids


def ask(engine: Engine, sql: str) -> list[Row]:
    return [tuple(row) for row in query(engine, sql)[1]]


def read_rows(engine: Engine, archive: str, table: str = "poses") -> Counter[Row]:
    """Read every row of an archive's videos, with float32 values made equal on both databases."""
    columns = ", ".join(f"{table}.{name}" for name in ("frame", "person", "t_s", "score", *KEYPOINT_COLUMNS))
    found = ask(
        engine,
        f"SELECT sha256, {columns} FROM {table} JOIN videos ON videos.video_id = {table}.video_id"
        f" WHERE {table}.video_id IN (SELECT video_id FROM archive_files WHERE key LIKE '%{archive}%')",
    )
    return Counter((*row[:4], np.array(row[4:], np.float32).tobytes()) for row in found)


class Difference(NamedTuple):
    """Differences from the undisturbed run. lost: missing rows; double: repeated rows; strange: rows of neither kind"""

    rows: int
    lost: int
    double: int
    strange: int

    @property
    def is_none(self) -> bool:
        return not (self.lost or self.double or self.strange)


def compare(found: Counter[Row], truth: Counter[Row]) -> Difference:
    assert truth, "the undisturbed run has rows"
    more = found - truth
    double = sum(count for row, count in more.items() if row in truth)
    return Difference(found.total(), (truth - found).total(), double, more.total() - double)


def ledger_faults(engine: Engine, archive: str) -> list[str]:
    """List segments, assignments and batches that have not ended."""
    of_archive = f"video_id IN (SELECT video_id FROM archive_files WHERE key LIKE '%{archive}%')"
    checks = {
        "segments": f"SELECT segment_id, status, reason FROM segments WHERE status <> 'done' AND {of_archive}",
        "assignments": "SELECT assignment_id, status, reason FROM assignments WHERE status IN ('waiting', 'working')",
        "batches": "SELECT batch_id, status, owner FROM batches WHERE status = 'running'",
    }
    return [f"{what}: {row}" for what, sql in checks.items() for row in ask(engine, sql)]


class StoreCheck(NamedTuple):
    """Check of the stored results. faults: one sentence each; late: complete results that the ledger does not name"""

    objects: int
    late: int
    faults: list[str]


def check_store(engine: Engine, artifacts: Artifacts, archive: str) -> StoreCheck:
    """Check that every object under results/ is a complete result of its name, and that no done segment lacks one."""
    named = ask(
        engine,
        "SELECT result_key, result_sha256, version_sha256, sha256 FROM segments JOIN videos USING (video_id)"
        " JOIN model_versions USING (model_version_id) WHERE status = 'done'"
        f" AND video_id IN (SELECT video_id FROM archive_files WHERE key LIKE '%{archive}%')",
    )
    wanted = {row[0]: row[1] for row in named}
    prefixes = sorted({f"results/{row[2]}/{row[3]}/" for row in named})
    keys = [key for prefix in prefixes for key in artifacts.list(prefix)]
    with ResultReader() as reader:
        faults = [fault for key in keys if (fault := _fault_of(artifacts, reader, key, wanted.get(key)))]
    faults += [f"{key} is named by the ledger and does not exist" for key in wanted.keys() - set(keys)]
    return StoreCheck(len(keys), len(set(keys) - wanted.keys()), faults)


def _fault_of(artifacts: Artifacts, reader: ResultReader, key: str, sha256: str | None) -> str | None:
    try:
        result, stored = fetch(artifacts, reader, key)
    except ResultError as error:
        return f"{key} is an incomplete result: {error}"
    if not key.startswith(result_prefix(result.version_sha256, result.segment)):
        return f"{key} contains {_name(result.segment)}"
    if sha256 not in (None, stored.sha256):
        return f"The sha256 of {key} is {stored.sha256}, the ledger says {sha256}"
    return None


def _name(segment: Segment) -> str:
    return f"{segment.video_sha256[:12]} [{segment.start_frame}, {segment.stop_frame})"


def count_costs(engine: Engine) -> dict[str, int]:
    """Count the costs of the faults in the whole database."""
    counts: Sequence[tuple[str, str]] = (
        ("rows", "SELECT count(*) FROM poses"),
        ("segments", "SELECT count(*) FROM segments"),
        ("batches", "SELECT count(*) FROM batches"),
        ("batches completed", "SELECT count(*) FROM batches WHERE status = 'completed'"),
        ("batches crashed", "SELECT count(*) FROM batches WHERE status = 'crashed'"),
        ("assignments", "SELECT count(*) FROM assignments"),
        ("assignments lost", "SELECT count(*) FROM assignments WHERE status = 'lost'"),
        ("fenced by their lease", "SELECT count(*) FROM assignments WHERE reason LIKE 'silent%'"),
        ("attempts beyond the first", "SELECT coalesce(sum(attempt - 1), 0) FROM segments WHERE attempt > 1"),
        ("most tries of a segment", "SELECT coalesce(max(tries), 0) FROM segments"),
    )
    return {name: int(ask(engine, sql)[0][0]) for name, sql in counts}


def fingerprint(rows: Counter[Row]) -> str:
    """Identify rows in one line."""
    return hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()[:12]
