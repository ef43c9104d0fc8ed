"""What must be true after a batch, whatever was killed: rows, ledger, store. Nothing is changed here."""

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
    """Every row of an archive's videos. float32 on one database is the shortest decimal on the other: made alike."""
    columns = ", ".join(f"{table}.{name}" for name in ("frame", "person", "t_s", "score", *KEYPOINT_COLUMNS))
    found = ask(
        engine,
        f"SELECT sha256, {columns} FROM {table} JOIN videos ON videos.video_id = {table}.video_id"
        f" WHERE {table}.video_id IN (SELECT video_id FROM archive_files WHERE key LIKE '%{archive}%')",
    )
    return Counter((*row[:4], np.array(row[4:], np.float32).tobytes()) for row in found)


class Difference(NamedTuple):
    """lost: rows of the undisturbed run that are not there; double: rows too many of those; strange: none of its own"""

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
    """Whatever has not come to its end."""
    of_archive = f"video_id IN (SELECT video_id FROM archive_files WHERE key LIKE '%{archive}%')"
    checks = {
        "segments": f"SELECT segment_id, status, reason FROM segments WHERE status <> 'done' AND {of_archive}",
        "assignments": "SELECT assignment_id, status, reason FROM assignments WHERE status IN ('waiting', 'working')",
        "batches": "SELECT batch_id, status, owner FROM batches WHERE status = 'running'",
    }
    return [f"{what}: {row}" for what, sql in checks.items() for row in ask(engine, sql)]


class Shelf(NamedTuple):
    """faults: what is wrong with the stored results; late: whole results that the ledger does not name"""

    objects: int
    late: int
    faults: list[str]


def check_store(engine: Engine, artifacts: Artifacts, archive: str) -> Shelf:
    """Every object under results/ is a whole result of what its name says, and every done segment's is there."""
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
    faults += [f"{key} is named by the ledger and is not there" for key in wanted.keys() - set(keys)]
    return Shelf(len(keys), len(set(keys) - wanted.keys()), faults)


def _fault_of(artifacts: Artifacts, reader: ResultReader, key: str, sha256: str | None) -> str | None:
    try:
        result, stored = fetch(artifacts, reader, key)
    except ResultError as error:
        return f"{key} is half a result: {error}"
    if not key.startswith(result_prefix(result.version_sha256, result.segment)):
        return f"{key} holds {_name(result.segment)}"
    if sha256 not in (None, stored.sha256):
        return f"{key} has sha256 {stored.sha256}, expected {sha256}"
    return None


def _name(segment: Segment) -> str:
    return f"{segment.video_sha256[:12]} [{segment.start_frame}, {segment.stop_frame})"


def tallies(engine: Engine) -> dict[str, int]:
    """What the faults cost, over all that the database holds."""
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
    """To say in a line which rows these are."""
    return hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest()[:12]
