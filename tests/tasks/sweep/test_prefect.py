"""The sweep on a real Prefect server with its services, real workers, and real kills."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, GlobalConcurrencyLimitUpdate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Pending
from sqlalchemy import Engine, insert, update

from storage.ledger.recovery import LedgerRun
from storage.objects.archive import canonical
from storage.sql.clock import database_now
from storage.sql.database import open_database, writing
from storage.sql.tables import assignments, batches
from tasks.site.owner import host_name, this_owner
from tasks.sweep import prefect as module
from tasks.sweep.prefect import ObservedRun, end_state_of, sweep_prefect
from tasks.sweep.report import Report
from tasks.sweep.schedules import missed_nights
from tests.servers_postgres import write_migrated
from tests.servers_prefect import running_prefect
from tests.storage.samples import make_video, planned_batch

ROOT = Path(__file__).parents[3]
POOL = "sweep-test"
FLOW = """
import time
from prefect import flow, task

@task
def wait():
    time.sleep(600)

@flow
def sleeper():
    wait()
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    """The settings of a server on SQLite, with leases in memory as by default, so that they are lost with it."""
    home = tmp_path_factory.mktemp("prefect")
    memory = "prefect.server.concurrency.lease_storage.memory"
    with (
        running_prefect(
            home, f"sqlite+aiosqlite:///{home}/prefect.db", PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=memory
        ),
        get_client(sync_client=True) as client,
    ):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        yield client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of minutes."""
    monkeypatch.setattr(module, "SILENT_S", 8.0)
    monkeypatch.setattr(module, "PENDING_S", 10.0)
    monkeypatch.setattr(module, "SLOT_LOOK_S", 0.2)


def deploy(client: SyncPrefectClient, folder: Path, name: str, command: str | None = None) -> UUID:
    """A deployment of a flow that sleeps, one run at a time; with a command, its process never becomes a run."""
    (folder / "sleeper.py").write_text(FLOW)
    return client.create_deployment(
        flow_id=client.create_flow_from_name("sleeper"),
        name=name,
        entrypoint="sleeper.py:sleeper",
        path=str(folder),
        work_pool_name=POOL,
        tags=["nightjar"],
        concurrency_limit=1,
        job_variables={"command": command} if command else {},
    )


def remove(client: SyncPrefectClient, deployment_id: UUID) -> None:
    """Delete it with its runs: a run that holds a lease cannot be ended after its deployment is deleted (500)."""
    for run in client.read_flow_runs():
        if run.deployment_id == deployment_id:
            client.delete_flow_run(run.id)
    client.delete_deployment(deployment_id)


@contextmanager
def worker(name: str, folder: Path, client: SyncPrefectClient) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(client.api_url),
        "PREFECT_HOME": str(folder / "worker"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "2",
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", name]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        kill_all(process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and its flows together by SIGKILL, as in a power failure."""
    if process.poll() is not None:
        return
    everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in everybody:
        each.suspend()
    for each in everybody:
        each.kill()
    process.wait()


def wait_for(what: Callable[[], bool], limit_s: float = 90) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)


def slots(client: SyncPrefectClient, deployment_id: UUID) -> int | None:
    limit = client.read_deployment(deployment_id).global_concurrency_limit
    assert limit is not None
    return client.read_global_concurrency_limit_by_name(limit.name).active_slots


def lines(engine: Engine | None = None, dry: bool = False) -> list[str]:
    report = Report(dry)
    sweep_prefect(engine, 0.5, report)
    assert report.wrong == []
    return report.done


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_runs_that_died_with_their_worker_become_crashed_and_free_their_slot(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    """One run is killed while Running, one while Pending; the night that waited for the first one then starts."""
    running, pending = deploy(client, tmp_path, "running"), deploy(client, tmp_path, "pending", "sleep 600")

    def state(run: FlowRun) -> StateType | None:
        return client.read_flow_run(run.id).state_type

    with worker("first", tmp_path, client) as first:
        runs = [client.create_flow_run_from_deployment(running)]
        wait_for(lambda: state(runs[0]) == StateType.RUNNING)
        runs.append(client.create_flow_run_from_deployment(pending))
        wait_for(lambda: bool(client.read_flow_run(runs[1].id).infrastructure_pid))
        next_night = client.create_flow_run_from_deployment(running)
        assert lines() == [], "the runs are alive"
        kill_all(first)
    time.sleep(13)  # past PENDING_S, by a clock of whole seconds
    assert [state(run) for run in runs] == [StateType.RUNNING, StateType.PENDING], "nothing changes without a sweep"
    assert [slots(client, each) for each in (running, pending)] == [1, 1]

    assert len(lines(dry=True)) == 2
    assert [state(run) for run in runs] == [StateType.RUNNING, StateType.PENDING]
    found = sorted(lines(), key=lambda line: "pending for" in line)
    assert len(found) == 2
    assert "as Crashed: its worker first sent no heartbeat for" in found[0]
    assert "as Crashed: it was pending for" in found[1]
    ended = [client.read_flow_run(run.id).state for run in runs]
    assert [one and one.type for one in ended] == [StateType.CRASHED, StateType.CRASHED]
    assert all(one and (one.message or "").startswith("nightjar sweep: ") for one in ended)
    assert [task.state_type for task in client.read_task_runs() if task.flow_run_id == runs[0].id] in (
        [],  # Prefect records a task run late, and this one's process has ended
        [StateType.CRASHED],
    )
    assert [slots(client, each) for each in (running, pending)] == [0, 0]
    assert lines() == []

    with worker("second", tmp_path, client):
        wait_for(lambda: state(next_night) == StateType.RUNNING)
        assert slots(client, running) == 1
        assert lines() == []
    remove(client, running)
    remove(client, pending)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("runs", "counted"), [(0, 1), (1, 0)], ids=["leaked", "freed twice"])
def test_miscounted_slots_are_corrected(client: SyncPrefectClient, tmp_path: Path, runs: int, counted: int) -> None:
    """Set by hand: 3.8.8 frees a slot for a run that ends or is deleted, without checking who holds it."""
    deployment = deploy(client, tmp_path, f"miscounted-{runs}")
    limit = client.read_deployment(deployment).global_concurrency_limit
    assert limit is not None
    for _ in range(runs):
        client.set_flow_run_state(client.create_flow_run_from_deployment(deployment).id, Pending())
    assert slots(client, deployment) == runs
    client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=counted))
    said = f"set the taken slots of limit {limit.name} from {counted} to {runs}, as its runs need"
    assert lines(dry=True) == [f"would have {said}"]
    assert slots(client, deployment) == counted
    assert lines() == [said]
    assert slots(client, deployment) == runs
    next_night = client.create_flow_run_from_deployment(deployment)
    state: State[Any] | None = client.set_flow_run_state(next_night.id, Pending()).state
    assert state is not None
    assert state.type == (StateType.SCHEDULED if runs else StateType.PENDING)
    remove(client, deployment)


@pytest.mark.usefixtures("impatient")
def test_a_run_whose_assignment_has_ended_is_ended(client: SyncPrefectClient, tmp_path: Path) -> None:
    """Scheduled and never taken: cancelled. Pending: crashed. Runs of others: left alone."""
    engine = open_database(write_migrated(tmp_path / "nightjar.db"))
    _, _, batch_id = planned_batch(engine, make_video())
    deployment = deploy(client, tmp_path, "assigned")
    runs = [client.create_flow_run_from_deployment(deployment) for _ in range(2)]
    foreign = client.create_flow_run(sleeper(), state=Pending())
    client.set_flow_run_state(runs[1].id, Pending())
    for number, run in enumerate(runs):
        values = {"assignment_id": f"{number:016x}", "batch_id": batch_id, "flow_run_id": str(run.id)}
        ended = {"status": "lost", "segments": 1, "frames": 1}
        with writing(engine) as connection:
            connection.execute(
                insert(assignments).values(
                    **values,
                    **ended,
                    created_at=database_now(-900),
                    granted_at=database_now(-900),
                    ended_at=database_now(-300),
                )
            )
    assert len(lines(engine)) == 2
    states = [client.read_flow_run(run.id).state_type for run in (*runs, foreign)]
    assert states == [StateType.CANCELLED, StateType.CRASHED, StateType.PENDING]
    assert lines(engine) == []
    engine.dispose()
    remove(client, deployment)


SCRIPT = """
import time
from prefect import flow
from tasks.runs.cancelling import cancellable

@flow
@cancellable
def night():
    print("begun", flush=True)
    time.sleep(600)

night()
"""


def test_a_scripts_run_without_a_batch_is_found(client: SyncPrefectClient, tmp_path: Path) -> None:
    """A flow that is called from Python has no deployment, no worker and no tag of `nightjar run`."""
    place = {"PREFECT_API_URL": str(client.api_url), "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, env=os.environ | place, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert lines() == [], "it lives"
        process.kill()
    [line] = lines()
    assert "as Crashed: its process" in line
    assert f":{process.pid}:" in line
    assert lines() == []


def test_a_night_that_a_schedule_demanded_in_vain_is_found(client: SyncPrefectClient, tmp_path: Path) -> None:
    engine = open_database(write_migrated(tmp_path / "nightjar.db"))
    schedule = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="0 1 * * *", timezone="Europe/Berlin"), active=True, slug="nightly"
    )
    deployment_id = client.create_deployment(
        flow_id=client.create_flow_from_name("nightly-batch"),
        name="nightly",
        tags=["nightjar"],
        parameters={"archive": "archive/", "model": "tiny"},
        schedules=[schedule],
    )
    due = (datetime.now(UTC) + timedelta(days=2)).astimezone(ZoneInfo("Europe/Berlin")).replace(hour=1, minute=0)
    due = due.replace(second=0, microsecond=0)
    try:
        [missed] = missed_nights(engine, due + timedelta(hours=2))
        assert (missed.archive, missed.expected_at) == (canonical("archive/"), due)
        [earlier] = missed_nights(engine, due + timedelta(minutes=30))
        assert earlier.expected_at == due - timedelta(days=1), "the grace of this one is not over"
        assert missed_nights(engine) == [], "the schedule is newer than its last time"
        _, _, batch_id = planned_batch(engine, make_video())
        with writing(engine) as connection:
            connection.execute(update(batches).values(archive=missed.archive))
        assert missed_nights(engine, due + timedelta(hours=2)) == [], "a batch that runs is not missing"
        with writing(engine) as connection:
            mine = {"archive": missed.archive, "status": "completed", "finished_at": due}
            connection.execute(update(batches).values(started_at=due - timedelta(days=1), **mine))
        [missed] = missed_nights(engine, due + timedelta(hours=2))
        assert f"batch {batch_id}" in missed.last
        with writing(engine) as connection:
            connection.execute(update(batches).values(started_at=due))
        assert missed_nights(engine, due + timedelta(hours=2)) == []
    finally:
        remove(client, deployment_id)


def test_heartbeats_are_found_for_any_clock_of_the_run(client: SyncPrefectClient) -> None:
    """By the time at which the server received them: this run's clock is an hour ahead."""
    run, silent = client.create_flow_run(sleeper()), client.create_flow_run(sleeper())
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}"}
    occurred = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    event = {"event": "prefect.flow-run.heartbeat", "resource": resource, "occurred": occurred, "id": str(uuid4())}
    client.request("POST", "/events", json=[event])
    look = module._ServerView(client)
    wait_for(lambda: look._last_heartbeat(run.id) is not None)
    heard = look._last_heartbeat(run.id)
    assert heard is not None
    assert abs((datetime.now(UTC) - heard).total_seconds()) < 120
    assert look._last_heartbeat(silent.id) is None


def sleeper():  # type: ignore[no-untyped-def]
    from prefect import flow

    return flow(name="somebody-elses")(lambda: None)


RUNNING, PENDING, SCHEDULED = StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED
LIVE = LedgerRun("assignment 1", "working", ended=False, leasing=True, owner=None)
LAPSED = LedgerRun("assignment 1", "working", ended=False, leasing=False, owner=None)
LOST = LedgerRun("assignment 1", "lost", ended=True, leasing=False, owner=None)
MINE = LedgerRun("batch 1", "running", ended=False, leasing=False, owner=this_owner())
GONE = f"{host_name()}:999999999:1"
OVER = LedgerRun("batch 1", "crashed", ended=True, leasing=False, owner=GONE)
DEAD = LedgerRun("batch 1", "running", ended=False, leasing=True, owner=f"{host_name()}:999999999:1")


@pytest.mark.parametrize(
    ("run", "known", "expected"),
    [
        (ObservedRun("r", RUNNING, 999, "w", worker_s=500), None, "sent no heartbeat for 500 s"),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=None), LAPSED, "is unknown"),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=500), LIVE, None),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=500), MINE, None),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=500, heartbeat_s=20), LAPSED, None),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=20), LAPSED, None),
        (ObservedRun("r", RUNNING, 60, "w", worker_s=500), LAPSED, None),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=20, heartbeat_s=400), LAPSED, "no heartbeat for 400 s"),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=20, heartbeat_s=400), LIVE, None),
        (ObservedRun("r", RUNNING, 999), None, None),
        (ObservedRun("r", RUNNING, 999, "w", worker_s=5, heartbeat_s=5), LOST, "is lost"),
        (ObservedRun("r", RUNNING, 10, "w", worker_s=5), DEAD, "has ended"),
        (ObservedRun("r", RUNNING, 10, owner=GONE), None, "has ended"),
        (ObservedRun("r", RUNNING, 10, owner=GONE), OVER, "is crashed"),
        (
            ObservedRun("r", RUNNING, 999, owner=this_owner()),
            OVER,
            None,
        ),  # started again by Retry: it belongs to another process
        (ObservedRun("r", RUNNING, 999, owner=this_owner()), DEAD, None),
        (ObservedRun("r", RUNNING, 999, owner="another-host:1:1"), OVER, None),
        (ObservedRun("r", PENDING, 700), None, "pending for 12 min"),
        (ObservedRun("r", PENDING, 500), None, None),
        (ObservedRun("r", SCHEDULED, 99999), None, None),
        (ObservedRun("r", SCHEDULED, 10), LOST, "is lost"),
        (ObservedRun("r", StateType.PAUSED, 99999), LAPSED, None),
        (ObservedRun("r", StateType.CANCELLING, 700), LIVE, "cancelling"),
    ],
)
def test_a_run_is_judged_by_ledger_and_heartbeats(
    run: ObservedRun, known: LedgerRun | None, expected: str | None
) -> None:
    verdict = end_state_of(run, known)
    if expected is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert expected in verdict.reason
        assert verdict.cancelled == (run.state not in (RUNNING, PENDING))


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_run_that_cannot_be_ended_does_not_block_others(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect answers 500 while a run of a deleted deployment holds a lease, and on SQLite when it is locked."""
    runs = [client.create_flow_run(sleeper(), state=Pending(), tags=["nightjar"]) for _ in range(2)]
    time.sleep(13)  # past PENDING_S, by a clock of whole seconds
    end = SyncPrefectClient.set_flow_run_state

    def refuse(self: SyncPrefectClient, run_id: UUID, *args: object, **kwargs: object) -> object:
        if run_id == runs[0].id:
            raise PrefectHTTPStatusError("away", request=httpx.Request("POST", "/"), response=httpx.Response(500))
        return end(self, run_id, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", refuse)
    report = Report()
    sweep_prefect(None, 0, report)
    assert [line.split(" as ")[0] for line in report.done] == [f"ended run {runs[1].name}"]
    [line] = report.wrong
    assert line.startswith(f"run {runs[0].name} could not be ended")
    monkeypatch.undo()
    assert lines() == []
    monkeypatch.setattr(module, "PENDING_S", 8.0)
    assert len(lines()) == 1, "the next sweep ends it"


def test_an_unavailable_server_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    begun = time.monotonic()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(httpx.TransportError):
        sweep_prefect(None, 0, Report())
    assert time.monotonic() - begun < 30
