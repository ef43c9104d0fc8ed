"""The parent of a fleet, step by step: its database, store and Prefect fail at critical moments.

Ledger and store are real; Prefect and the workers are fakes that write real messages to the store.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import Engine, update

from models.inference.spec import RuntimeSpec
from models.types import Segment
from storage.ledger import assignments, batches
from storage.ledger import leases as ledger
from storage.ledger.leases import MAX_TRIES
from storage.objects.archive import Entry
from storage.objects.artifacts import Artifacts, FolderArtifacts
from storage.objects.places import StoreError
from storage.parquet import Result
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, open_database, writing
from storage.sql.query import query
from storage.sql.tables import segments
from tasks.fleet import messages as orders
from tasks.fleet import parent as fleet_dispatch
from tasks.fleet.messages import Done, Fault, Order, Status
from tasks.fleet.parent import Fleet
from tasks.fleet.schedule import START_LIMIT_S
from tasks.runs.cancelling import BatchCancelled
from tasks.runs.edge_runs import EdgeRuns, NotDeployedError, RequestedAction
from tasks.runs.run_state import RunState
from tasks.segment.result_files import ResultReader, put, result_key
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.text.progress import FrameProgress
from tasks.waiting import retry
from tests.servers_postgres import write_migrated
from tests.storage.samples import make_model, make_poses, make_report, make_video, planned_batch
from tests.tasks.nights import make_manifest, make_night

pytestmark = pytest.mark.usefixtures("forked_sandboxes")

MANIFEST, VIDEO = make_manifest(), make_video(frames=100)
VERSION = MANIFEST.version_id
LEASE_S = 30


class Store(FolderArtifacts):
    """A store that fails on demand before it writes."""

    before_put: Callable[[str], None] = staticmethod(lambda key: None)

    def put_bytes(self, key: str, data: bytes) -> None:
        self.before_put(key)
        super().put_bytes(key, data)


class Runs:
    """Prefect, as the parent sees it."""

    def __init__(self) -> None:
        self.is_away = False
        self.wanted: RequestedAction = "continue"
        self.online = ["pi-1"]
        self.after_start: Callable[[], None] = lambda: None
        self.started: list[str] = []
        self.told: dict[str, RunState] = {}
        self.forgotten: set[str] = set()

    def start(self, assignment_id: str, batch_id: int) -> str:
        if self.is_away:
            raise httpx.ConnectError("refused")
        self.started.append(assignment_id)
        self.after_start()
        return f"run-{assignment_id}"

    def workers(self) -> list[str]:
        return self.online

    def states(self, run_ids: list[str]) -> dict[str, RunState]:
        scheduled = RunState("Scheduled", over=False, taken=False, message="")
        return {run_id: self.told.get(run_id, scheduled) for run_id in run_ids if run_id not in self.forgotten}

    def cancel(self, run_id: str) -> None: ...

    def crash(self, run_id: str, why: str) -> None: ...


class Stage:
    """A batch of five segments of 20 frames, a parent, and runs whose messages the test controls."""

    def __init__(
        self,
        folder: Path,
        engine: Engine | None = None,
        reader: ResultReader | None = None,
        store: Artifacts | None = None,
    ) -> None:
        """New database, store and reader in the folder, unless others are given."""
        self.engine = engine or open_database(write_migrated(folder / "nightjar.db"))
        self.store: Any = store or Store(folder / "store")
        self.runs, self.reader = Runs(), reader or ResultReader()
        self.video_id, self.model, self.batch_id = planned_batch(self.engine, VIDEO, 20, model=make_model(VERSION))
        self.fleet = self.parent(self.batch_id)

    def parent(self, batch_id: int) -> Fleet:
        site = Site(Settings(lease_s=LEASE_S, outage_s=60), self.engine, self.store)
        night = make_night(site, batch_id, self.model, MANIFEST, self.reader)
        entries, runs, progress = {self.video_id: Entry("one.mp4", 1, "e")}, cast(EdgeRuns, self.runs), FrameProgress(0)
        return Fleet(night, entries, RuntimeSpec(), runs, progress, lambda: self.runs.wanted)

    def tick(self, fleet: Fleet | None = None) -> bool:
        """Run one step of the parent with everything due."""
        fleet = fleet or self.fleet
        fleet._due.clear()
        return fleet._tick()

    def say(self, assignment_id: str, **status: Any) -> None:
        told = Status(**{"worker": "pi-1", "device": "CPU", **status})
        FolderArtifacts.put_bytes(self.store, orders.status_key(assignment_id), told.model_dump_json().encode())

    def finish(self) -> int:
        """Let runs process their segments until nothing is missing. Returns the number of runs that worked."""
        worked = set()
        while not self.tick():
            for assignment_id in self.runs.started:
                order = orders.read_order(self.store, assignment_id)
                if order is None:
                    self.say(assignment_id, ready=True)
                elif order.pieces:
                    done = [self.do(order, piece) for piece in range(len(order.pieces))]
                    self.say(assignment_id, ready=True, progress=1, done=done, ended=True)
                    worked.add(assignment_id)
        return len(worked)

    def order(self, assignment_id: str) -> Order:
        order = orders.read_order(self.store, assignment_id)
        assert order is not None
        return order

    def working(self) -> str:
        """A run that was given all five segments."""
        self.tick()
        [assignment_id] = self.runs.started
        self.say(assignment_id, ready=True)
        self.fleet._speeds["pi-1"] = 1e6
        while not self.ask("SELECT 1 FROM segments WHERE status = 'leased'"):
            self.tick()
        return assignment_id

    def do(self, order: Order, piece: int) -> Done:
        one = order.pieces[piece]
        segment = Segment(VIDEO.sha256, one.start_frame, one.stop_frame)
        poses, report = make_poses(one.start_frame, one.stop_frame), make_report(segment.frames)
        stored = put(
            self.store, result_key(VERSION, segment, one.attempt), Result(VIDEO, segment, VERSION, poses, report)
        )
        return Done(piece=piece, key=stored.key, sha256=stored.sha256)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in query(self.engine, sql)[1]]

    def expire_all(self) -> None:
        with writing(self.engine) as connection:
            leased = segments.c.status == "leased"
            connection.execute(update(segments).where(leased).values(lease_until=database_now(-1)))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(retry, "TRY_EVERY_S", 0.01)
    stage = Stage(tmp_path)
    yield stage
    stage.reader.close()


def fail(times: int, error: Exception, call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the call so that it fails at first."""
    left = [times]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return call(*args, **kwargs)

    return failing


DOWN = DatabaseError("The database does not answer.", "Start it.")
AWAY = StoreError("The store does not answer.", "Wait.")


def test_a_night_from_the_first_run_to_the_last_row(stage: Stage) -> None:
    stage.fleet._speeds["pi-1"] = 1.0
    assert stage.finish() == 3, "half of the rest, three times"
    assert stage.ask("SELECT count(*), min(attempt), max(attempt) FROM segments WHERE status = 'done'") == [(5, 1, 1)]
    stage.fleet.dismiss_all("nothing was left to do")
    assert stage.ask("SELECT count(*) FROM assignments WHERE status IN ('waiting', 'working')") == [(0,)]


def test_unmeasured_workers_get_one_segment_each(stage: Stage) -> None:
    """A worker without a measured speed receives one segment, and its first result measures it."""
    names = ["pi-1", "pi-2", "pi-3", "pi-4"]
    stage.runs.online = names
    stage.tick()
    for worker, assignment_id in zip(names, stage.runs.started, strict=True):
        stage.say(assignment_id, worker=worker, ready=True)
    stage.tick()
    orders_given = [stage.order(assignment_id) for assignment_id in stage.runs.started[:4]]
    assert [len(order.pieces) for order in orders_given] == [1, 1, 1, 1]
    assert not stage.fleet._speeds
    done = [stage.do(orders_given[0], 0)]
    stage.say(stage.runs.started[0], worker="pi-1", ready=True, progress=1, done=done, ended=True)
    stage.tick()
    assert len(stage.fleet._speeds) == 1


def test_statuses_are_read_while_prefect_is_slow(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It requests two runs, each of which takes two seconds, and then reads the workers' statuses."""
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stage.runs.online = ["pi-1", "pi-2", "pi-3"]
    stage.runs.after_start = lambda: clock.append(clock.pop() + 2.0)
    stage.tick()
    assert len(stage.runs.started) == 2
    stage.tick()
    assert len(stage.runs.started) == 3


def test_an_order_is_written_when_the_store_is_back(stage: Stage) -> None:
    stage.tick()
    [mine] = stage.runs.started
    stage.say(mine, ready=True)
    stage.store.before_put = lambda key: (_ for _ in ()).throw(AWAY) if key.endswith("order.json") else None
    with pytest.raises(StoreError):
        stage.tick()
    leased = stage.ask("SELECT count(*) FROM segments WHERE status = 'leased'")
    assert leased != [(0,)]
    stage.store.before_put = lambda key: None
    stage.tick()
    assert [(len(stage.order(mine).pieces),)] == leased
    assert stage.ask("SELECT max(attempt) FROM segments") == [(1,)]


@pytest.mark.parametrize("error", [DOWN, AWAY], ids=["database", "store"])
def test_an_interrupted_loading_of_a_result_is_repeated(
    stage: Stage, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's final status never changes again."""
    mine = stage.working()
    order = stage.order(mine)
    done = [stage.do(order, piece) for piece in range(len(order.pieces))]
    name = "load_result" if error is DOWN else "load"
    monkeypatch.setattr(fleet_dispatch, name, fail(1, error, getattr(fleet_dispatch, name)))
    stage.say(mine, ready=True, progress=1, done=done, ended=True)
    with pytest.raises((DatabaseError, StoreError)):
        stage.tick()
    stage.tick()
    assert stage.ask("SELECT count(*) FROM segments WHERE status = 'done'") == [(len(done),)]
    assert stage.ask("SELECT status FROM assignments LIMIT 1") == [("done",)]


def test_an_interrupted_recording_of_a_fault_is_repeated(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = stage.working()
    monkeypatch.setattr(ledger, "quarantine_segment", fail(1, DOWN, ledger.quarantine_segment))
    stage.say(mine, ready=True, progress=1, faults=[Fault(piece=0, kind="input", reason="no keyframe")])
    with pytest.raises(DatabaseError):
        stage.tick()
    stage.tick()
    assert stage.ask("SELECT reason FROM segments WHERE status = 'quarantined'") == [
        ("no keyframe (reported by pi-1)",)
    ]


@pytest.mark.parametrize("lie", [b"\xff", b"{}", json.dumps({"worker": "x", "device": "y", "progress": -1}).encode()])
def test_an_invalid_status_affects_only_its_run(stage: Stage, lie: bytes) -> None:
    mine = stage.working()
    stage.store.put_bytes(orders.status_key(mine), lie)
    stage.tick()
    assert stage.ask(f"SELECT status FROM assignments WHERE assignment_id = '{mine}'") == [("lost",)]
    assert stage.ask("SELECT count(*) FROM segments WHERE status = 'leased'") == [(0,)]


def test_a_missing_announced_result_is_computed_again(stage: Stage) -> None:
    mine = stage.working()
    stage.say(mine, ready=True, progress=1, done=[Done(piece=0, key="results/none.parquet", sha256="a" * 64)])
    stage.tick()
    [(reason,)] = stage.ask("SELECT reason FROM segments WHERE status = 'planned' AND tries = 1")
    assert "results/none.parquet" in reason


def test_a_run_that_ends_with_unprocessed_segments_is_at_fault(stage: Stage) -> None:
    """Without that, it would receive the same ones forever."""
    mine = stage.working()
    stage.say(mine, ready=True, progress=1, ended=True)
    stage.tick()
    assert stage.ask("SELECT max(tries), min(tries) FROM segments") == [(1, 0)]
    [(reason,)] = stage.ask("SELECT reason FROM assignments WHERE status = 'lost'")
    assert "it ended and left" in reason


def test_prefects_outage_leaves_no_second_run_and_no_open_assignment(stage: Stage) -> None:
    stage.runs.is_away = True
    for _ in range(3):
        with pytest.raises(httpx.ConnectError):
            stage.tick()
    assert stage.ask("SELECT count(*) FROM assignments") == [(1,)]
    stage.runs.is_away = False
    stage.tick()
    assert len(stage.runs.started) == 1
    stage.fleet.dismiss_all("the end")
    assert stage.ask("SELECT DISTINCT status FROM assignments") == [("dismissed",)]


def test_giving_up_a_run_is_repeated_after_an_outage(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.working()
    stage.expire_all()
    monkeypatch.setattr(assignments, "end", fail(1, DOWN, assignments.end))
    with pytest.raises(DatabaseError):
        stage.tick()
    stage.tick()
    assert stage.ask("SELECT count(*) FROM segments WHERE status = 'leased'") == [(0,)]


def test_silent_workers_are_lost_unless_the_parent_was_stalled(stage: Stage) -> None:
    """A store that stalls for a minute must not end every worker's lease; dead workers still lapse."""
    mine = stage.working()
    stage.expire_all()
    stage.fleet._statuses_read = time.monotonic() - LEASE_S
    stage.tick()
    assert stage.ask(f"SELECT status FROM assignments WHERE assignment_id = '{mine}'") == [("working",)]
    stage.expire_all()
    stage.fleet._statuses_read = time.monotonic() - LEASE_S
    stage.tick()
    assert stage.ask(f"SELECT status, reason FROM assignments WHERE assignment_id = '{mine}'") == [
        ("lost", "no progress until its lease ended")
    ]


def test_a_run_that_died_while_waiting_is_replaced(stage: Stage) -> None:
    stage.tick()
    [mine] = stage.runs.started
    stage.say(mine, progress=1)
    stage.tick()
    stage.fleet._members[mine].last_progress -= LEASE_S + 1
    stage.tick()
    assert stage.ask("SELECT status FROM assignments LIMIT 1") == [("lost",)]
    stage.fleet._next_start = 0.0
    stage.tick()
    assert len(stage.runs.started) == 2


def test_a_run_that_never_reported_is_given_up(stage: Stage) -> None:
    stage.tick()
    [mine] = stage.runs.started
    stage.runs.told[f"run-{mine}"] = RunState("Pending", False, True, "")
    stage.tick()
    stage.fleet._members[mine].started = time.monotonic() - START_LIMIT_S - 1
    stage.tick()
    assert stage.ask("SELECT reason FROM assignments LIMIT 1") == [("its run did not start",)]


def test_segments_of_a_dead_parent_are_taken_when_the_lease_ends(stage: Stage) -> None:
    """Its batch counts as running, because its host is unknown: nothing of it can be adopted."""
    stage.working()
    following = batches.start_batch(stage.engine, "archive/", stage.model, "fleet", "another owner")
    batches.expect_segments(stage.engine, following, [stage.video_id], 1, 0)
    second = stage.parent(following)
    stage.tick(second)
    assert second._free.segments == 0
    stage.expire_all()
    for _ in range(2):
        stage.tick(second)
    assert second._free.segments + sum(len(member.claims) for member in second._members.values()) == 5


def test_the_next_parent_writes_the_order_of_a_dead_one(stage: Stage) -> None:
    stage.tick()
    [mine] = stage.runs.started
    stage.say(mine, ready=True)
    stage.store.before_put = lambda key: (_ for _ in ()).throw(AWAY) if key.endswith("order.json") else None
    with pytest.raises(StoreError):
        stage.tick()
    stage.store.before_put = lambda key: None
    batches.finish_batch(stage.engine, stage.batch_id, "killed")
    following = batches.start_batch(stage.engine, "archive/", stage.model, "fleet", "another owner")
    batches.expect_segments(stage.engine, following, [stage.video_id], 1, 0)
    second = stage.parent(following)
    second._adopt()
    order = stage.order(mine)
    stage.say(mine, ready=True, progress=1, done=[stage.do(order, 0)])
    stage.tick(second)
    assert stage.ask("SELECT attempt FROM segments WHERE status = 'done'") == [(1,)]


def test_a_paused_batch_assigns_nothing_until_it_is_cancelled(stage: Stage) -> None:
    stage.runs.wanted = "pause"
    stage.tick()
    assert stage.runs.started == []
    stage.runs.wanted = "continue"
    stage.tick()
    [mine] = stage.runs.started
    stage.runs.wanted = "pause"
    stage.tick()
    stage.say(mine, ready=True)
    stage.tick()
    assert stage.ask("SELECT count(*) FROM segments WHERE status = 'leased'") == [(0,)]
    stage.runs.wanted = "stop"
    with pytest.raises(BatchCancelled):
        stage.fleet.run()


def test_only_the_segment_that_kills_every_run_is_quarantined(stage: Stage) -> None:
    """Every run dies at frame 0, after the segments that come before it in its order."""
    for _ in range(60):
        stage.fleet._next_start = 0.0
        if stage.tick():
            break
        for assignment_id in stage.runs.started:
            order = orders.read_order(stage.store, assignment_id)
            if order is None:
                stage.say(assignment_id, ready=True)
                continue
            at = next((n for n, piece in enumerate(order.pieces) if piece.start_frame == 0), None)
            done = [stage.do(order, piece) for piece in range(len(order.pieces) if at is None else at)]
            if at is None:
                stage.say(assignment_id, ready=True, progress=1, done=done, ended=True)
            else:
                stage.say(assignment_id, ready=True, progress=1, done=done, current=at)
                stage.runs.told[f"run-{assignment_id}"] = RunState("Crashed", True, False, "killed")
    found = stage.ask("SELECT status, tries, count(*) FROM segments GROUP BY status, tries ORDER BY status")
    assert found == [("done", 1, 4), ("quarantined", MAX_TRIES, 1)]


def test_a_run_that_prefect_lost_is_requested_again(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """It was deleted in the UI, or Prefect's database was reset: it would never start."""
    stage.tick()
    [ghost] = stage.runs.started
    stage.runs.forgotten.add(f"run-{ghost}")
    stage.tick()
    assert "Prefect no longer knows its run" in caplog.text
    assert len(stage.runs.started) == 2, "at once, because no worker was at fault"
    stage.finish()
    assert stage.ask("SELECT status, max(attempt) FROM segments GROUP BY status") == [("done", 1)]


def test_a_restarted_parent_adopts_no_dead_runs(stage: Stage) -> None:
    stage.tick()
    [ghost] = stage.runs.started
    batches.finish_batch(stage.engine, stage.batch_id, "killed")
    _, _, batch_id = planned_batch(stage.engine, VIDEO, 20, model=make_model(VERSION))
    stage.fleet, stage.batch_id = stage.parent(batch_id), batch_id
    stage.fleet._adopt()
    stage.runs.forgotten.add(f"run-{ghost}")
    stage.tick()
    stage.finish()
    assert stage.ask("SELECT status, max(attempt) FROM segments GROUP BY status") == [("done", 1)]
    assert stage.ask(f"SELECT status FROM assignments WHERE assignment_id = '{ghost}'") == [("lost",)]


def test_a_working_run_that_prefect_lost_continues(stage: Stage) -> None:
    """Prefect's database was restored from a backup, and the worker's process is alive."""
    mine = stage.working()
    stage.runs.forgotten.add(f"run-{mine}")
    stage.tick()
    order = stage.order(mine)
    done = [stage.do(order, piece) for piece in range(len(order.pieces))]
    stage.say(mine, ready=True, progress=1, done=done, ended=True)
    stage.tick()
    assert stage.ask("SELECT status, max(attempt) FROM segments GROUP BY status") == [("done", 1)]


def test_a_deployment_that_existed_is_waited_for(stage: Stage) -> None:
    stage.runs.workers = fail(1, NotDeployedError("no work pool"), stage.runs.workers)  # type: ignore[method-assign]
    with pytest.raises(NotDeployedError):
        stage.fleet._retrying(stage.fleet._poll_prefect)
    stage.fleet._retrying(stage.fleet._poll_prefect)
    stage.runs.workers = fail(2, NotDeployedError("no work pool"), stage.runs.workers)  # type: ignore[method-assign]
    stage.fleet._retrying(stage.fleet._poll_prefect)
