"""Malicious workers, on both databases: the night ends, other segments are done, and the worker is named."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from models.types import Poses, Segment
from storage import parquet
from storage.objects.artifacts import FolderArtifacts
from storage.parquet import Result
from tasks.fleet import messages as orders
from tasks.fleet.messages import Order
from tasks.segment import result_files as result_store
from tasks.segment.result_files import ResultReader
from tests.storage.samples import make_labels, make_poses, make_report
from tests.tasks.fleet.test_parent import VERSION, VIDEO, Stage

Lie = Callable[[Stage, str, Order], None]
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def reader() -> Iterator[ResultReader]:
    with ResultReader() as reader:
        yield reader


@pytest.fixture
def stage(tmp_path: Path, engine: Engine, reader: ResultReader, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A batch of five segments whose first run belongs to a malicious worker."""
    return Stage(tmp_path, engine, reader)


def forged(stage: Stage, order: Order, **changes: Any) -> dict[str, Any]:
    """Announce a result for the first segment with one changed value, written without any check."""
    piece = order.pieces[0]
    segment = Segment(VIDEO.sha256, piece.start_frame, piece.stop_frame)
    honest = {
        "video": VIDEO,
        "segment": segment,
        "version_sha256": VERSION,
        "rows": make_poses(segment.start_frame, segment.stop_frame),
        "report": make_report(segment.frames),
    }
    key = result_store.result_key(VERSION, segment, piece.attempt)
    return put_unchecked(stage, key, Result(**{**honest, **changes}))


def put_unchecked(stage: Stage, key: str, result: Result) -> dict[str, Any]:
    checked, parquet._check = parquet._check, lambda result: None
    try:
        stored = result_store.put(stage.store, key, result)
    finally:
        parquet._check = checked
    return {"piece": 0, "key": stored.key, "sha256": stored.sha256}


def announce(stage: Stage, mine: str, done: list[dict[str, Any]], **more: Any) -> None:
    stage.say(mine, ready=True, progress=1, done=done, **more)


def with_result(**changes: Any) -> Lie:
    def lie(stage: Stage, mine: str, order: Order) -> None:
        announce(stage, mine, [forged(stage, order, **changes)])

    return lie


def with_poses(**changes: Any) -> Lie:
    def lie(stage: Stage, mine: str, order: Order) -> None:
        piece = order.pieces[0]
        rows: Poses = make_poses(piece.start_frame, piece.stop_frame)
        changed = {name: make(getattr(rows, name)) for name, make in changes.items()}
        announce(stage, mine, [forged(stage, order, rows=dataclasses.replace(rows, **changed))])

    return lie


def with_report(**changes: Any) -> Lie:
    return with_result(report=dataclasses.replace(make_report(20), **changes))


def with_status(raw: bytes) -> Lie:
    def lie(stage: Stage, mine: str, order: Order) -> None:
        FolderArtifacts.put_bytes(stage.store, orders.status_key(mine), raw)

    return lie


def with_file(data: bytes) -> Lie:
    def lie(stage: Stage, mine: str, order: Order) -> None:
        done = forged(stage, order)
        stage.store.put_bytes(done["key"], data)
        announce(stage, mine, [done])

    return lie


def with_key(key: str) -> Lie:
    def lie(stage: Stage, mine: str, order: Order) -> None:
        announce(stage, mine, [{**forged(stage, order), "key": key}])

    return lie


def of_another_segment(stage: Stage, mine: str, order: Order) -> None:
    announce(stage, mine, [{**forged(stage, order), "piece": 1}])


def beyond_the_order(stage: Stage, mine: str, order: Order) -> None:
    announce(stage, mine, [{**forged(stage, order), "piece": 2**31 - 1}], current=2**31 - 1, frames=2**53)


STATUS = b'{"worker": "%s", "device": "CPU", "ready": true, "progress": 1%s}'
LIES: dict[str, Lie] = {
    "a width beyond the column": with_result(video=dataclasses.replace(VIDEO, width=2**70)),
    "a width beyond PostgreSQL's integer": with_result(video=dataclasses.replace(VIDEO, width=2**31)),
    "frames beyond the video": with_result(video=dataclasses.replace(VIDEO, frames=1)),
    "another video": with_result(video=dataclasses.replace(VIDEO, sha256="b" * 64)),
    "a codec with a NUL": with_result(video=dataclasses.replace(VIDEO, codec="h\0264")),
    "another model": with_result(version_sha256="f" * 64),
    "labels of a pose model": with_result(rows=make_labels(0, 20)),
    "a worker with a NUL": with_report(worker="pi\0"),
    "a device with an escape": with_report(device="\x1b[2J"),
    "a precision without end": with_report(precision="f" * 100_000),
    "a wall time of minus one": with_report(wall_s=-1.0),
    "a wall time that is no number": with_report(wall_s=float("nan")),
    "more frames than there are": with_report(frames_done=2**40),
    "frames of others undecodable": with_report(undecodable=(90,)),
    "rows of other frames": with_poses(frame=lambda values: values + 50),
    "rows twice": with_poses(person=lambda values: values * 0),
    "a person too many": with_poses(person=lambda values: values + 30_000),
    "a time of infinity": with_poses(t_s=lambda values: values + float("inf")),
    "a time in another century": with_poses(t_s=lambda values: values + 1e12),
    "a score of two": with_poses(scores=lambda values: values + 2),
    "keypoints on the moon": with_poses(keypoints=lambda values: values + 3.8e30),
    "a file of zeros": with_file(bytes(1000)),
    "an empty file": with_file(b""),
    "a half file": with_file(b"PAR1" + b"\xff" * 100 + b"PAR1"),
    "a key outside of the store": with_key("../../etc/passwd"),
    "a key with a NUL": with_key("results/\0"),
    "a key of nothing": with_key("results/none.parquet"),
    "the result of another segment": of_another_segment,
    "a piece beyond the order": beyond_the_order,
    "no JSON": with_status(b"\xff\xfe"),
    "brackets without end": with_status(b'{"done":' + b"[" * 200_000),
    "eight megabytes": with_status(b" " * (orders.MESSAGE_LIMIT_BYTES + 1)),
    "a name with a NUL": with_status(STATUS % (rb"pi\u0000", b"")),
    "a name with a line break": with_status(STATUS % (rb"pi\n00:00 INFO done", b"")),
    "half a character": with_status(STATUS % (rb"\ud800", b"")),
    "progress of infinity": with_status(STATUS % (b"pi", b', "frames": 1e999')),
}


# Values that reach the database are tried on PostgreSQL, which refuses more of them, and messages on SQLite.
# The other half of the pairs is slow.
FIRST_MESSAGE = list(LIES).index("a file of zeros")
PAIRS = [
    pytest.param(
        database, lie, id=f"{database}-{name}", marks=[] if (database == "postgresql") == (n < FIRST_MESSAGE) else SLOW
    )
    for n, (name, lie) in enumerate(LIES.items())
    for database in ("sqlite", "postgresql")
]


@pytest.mark.parametrize(("migrated_url", "lie"), PAIRS, indirect=["migrated_url"])
def test_a_false_message_affects_only_its_segment_and_one_try(stage: Stage, lie: Lie) -> None:
    mine = stage.working()
    lie(stage, mine, stage.order(mine))
    stage.tick()
    stage.say(mine, ready=True, progress=2, ended=True)  # the malicious worker leaves
    stage.tick()
    stage.runs.started.remove(mine)
    stage.finish()
    assert stage.ask("SELECT status, count(*) FROM segments GROUP BY status") == [("done", 5)]
    assert stage.ask("SELECT count(*), count(DISTINCT frame) FROM poses") == [(200, 100)]
    assert stage.ask("SELECT max(tries) FROM segments")[0][0] <= 2
    assert stage.ask("SELECT width, frames, codec FROM videos") == [(VIDEO.width, VIDEO.frames, VIDEO.codec)]
    [(worker, reason)] = stage.ask(f"SELECT worker, reason FROM assignments WHERE assignment_id = '{mine}'")
    assert worker == "pi-1"
    assert reason


def test_at_least_36_false_messages_are_tried() -> None:
    assert len(LIES) >= 36
