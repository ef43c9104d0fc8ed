"""Fleet dispatch, end to end: real Prefect server, real workers and their runs, on a folder and SQLite.

Two workers serve all tests: simulated sticks of 25 frames/s, slow enough to be killed at work. The second one's
clock is an hour ahead, if there is a C compiler for it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.objects import State, StateType

from tasks.site.settings import read_settings
from tests.chaos.processes import ManagedProcess, Worker, clean_environment, kill, pause, resume
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.fleet import deploy_edge
from tests.flows.test_nightly_batch import ask, assert_rows_are_right, followed, run
from tests.servers_prefect import PrefectServer

pytestmark = [pytest.mark.usefixtures("home"), pytest.mark.timeout(900)]

FRAMES, LIMIT_S, LEASE_S = 400, 240.0, 10
MS = 40  # per frame, of the simulated sticks
numbers = count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact store that parents and workers share."""
    return tmp_path_factory.mktemp("store")


def skewed_clock(folder: Path) -> dict[str, str]:
    """Environment that sets a process's clock an hour ahead; none without a C compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return {}
    library = folder / "skewed_clock.so"
    source = Path(__file__).with_name("skewed_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.fixture(scope="module")
def fleet(
    prefect_fleet: PrefectServer, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Worker]]:
    """pi-1 and pi-2, started."""
    deploy_edge()
    folder = tmp_path_factory.mktemp("fleet")
    common = {
        **clean_environment(),
        "PREFECT_API_URL": prefect_fleet.api_url,
        "NIGHTJAR_ARTIFACTS": str(store),
        "NIGHTJAR_LEASE_S": str(LEASE_S),
    }
    skews = {"pi-1": {}, "pi-2": skewed_clock(folder)}
    with ExitStack() as held:
        workers = {}
        for name, skew in skews.items():
            device = {"NIGHTJAR_DEVICE": f"SIMULATED:ms={MS},id={name}"}
            workers[name] = Worker(name, folder / name, {**common, **device, **skew})
            held.callback(workers[name].end)
            workers[name].start()
        yield workers


@pytest.fixture
def first() -> int:
    """The spot's number in the first frame. Each test has a different video, because the store keeps all results."""
    return next(numbers) * FRAMES


@pytest.fixture
def archive(
    tmp_path: Path, home: Path, store: Path, tiny_model: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """One video of FRAMES frames, in segments of a second, and a new database."""
    monkeypatch.setenv("NIGHTJAR_ARTIFACTS", str(store))
    monkeypatch.setenv("NIGHTJAR_LEASE_S", str(LEASE_S))
    read_settings.cache_clear()
    register_tiny_model(tiny_model)
    folder = tmp_path / "archive"
    folder.mkdir()
    spot_video(folder / "one.mp4", FRAMES, first=first)
    return folder


@pytest.fixture
def parent(archive: Path, home: Path, prefect_fleet: PrefectServer) -> Iterator[ManagedProcess]:
    """Start the batch in a process of its own."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("NIGHTJAR_")}
    environment = {**clean_environment(), **settings, "PREFECT_API_URL": prefect_fleet.api_url}
    command = [sys.executable, "-m", "tests.chaos.parent", str(archive), "--least-s", "4"]
    actor = ManagedProcess("parent", home.parent / "parent", command, environment)
    actor.start()
    yield actor
    actor.end()


def wait_for(what: str, ask_for: Callable[[], Any], parent: ManagedProcess | None = None) -> Any:
    """Wait for a true answer, and return it."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := ask_for()):
        log = (parent.home / "log").read_text()[-3000:] if parent else ""
        assert time.monotonic() < deadline, f"{what}: not in {LIMIT_S:.0f} s. {log}"
        time.sleep(0.1)
    return found


def done() -> int:
    return int(ask("SELECT count(*) FROM segments WHERE status = 'done'")[0][0])


def leased_to(worker: str | None = None) -> int:
    """Number of leased segments, of all workers or of this one."""
    whose = f" AND worker = '{worker}'" if worker else ""
    mine = f"SELECT 'assignment:' || assignment_id FROM assignments WHERE status = 'working'{whose}"
    return int(ask(f"SELECT count(*) FROM segments WHERE status = 'leased' AND owner IN ({mine})")[0][0])


def ended(parent: ManagedProcess) -> int:
    wait_for("the parent's end", lambda: not parent.is_running, parent)
    assert parent.process is not None
    return int(parent.process.returncode)


def rows() -> list[tuple[object, ...]]:
    return ask("SELECT * FROM poses ORDER BY video_id, frame, person")


def busy(fleet: dict[str, Worker]) -> str:
    """Wait for a worker that is at work."""
    return str(wait_for("a worker at work", lambda: done() and next(filter(leased_to, fleet), None)))


def asleep(fleet: dict[str, Worker]) -> tuple[str, list[psutil.Process]]:
    """Suspend a worker at work, after the parent has read all its messages."""
    while True:
        name = busy(fleet)
        sleepers = fleet[name].everything()
        pause(sleepers)
        time.sleep(2)
        if leased_to(name):
            return name, sleepers
        resume(sleepers)  # it was suspended after its last segment


@pytest.mark.slow
def test_two_workers_process_a_night(
    fleet: dict[str, Worker],
    archive: Path,
    first: int,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fleet
    report = run(archive, dispatch="fleet", segment_s=1)
    assert (report.status, report.counts.frames_done) == ("completed", FRAMES)
    assert_rows_are_right("one.mp4", FRAMES, first=first)
    assert {row[0] for row in ask("SELECT DISTINCT worker FROM segments")} <= set(fleet)
    assert ask("SELECT count(*) FROM assignments WHERE status NOT IN ('done', 'dismissed')") == [(0,)]
    assert ask("SELECT DISTINCT attempt, tries FROM segments") == [(1, 1)]
    people = followed()
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "second home"))
    read_settings.cache_clear()
    register_tiny_model(tiny_model)
    run(archive, segment_s=5)
    assert followed() == people, "local dispatch, cut otherwise"


@pytest.mark.slow
def test_another_worker_finishes_the_segments_of_a_killed_one(
    fleet: dict[str, Worker], first: int, parent: ManagedProcess
) -> None:
    """Worker and run are killed at once, as in a power failure: nothing reports it, and the lease ends."""
    name, sleepers = asleep(fleet)
    kill(sleepers)
    assert ended(parent) == 0
    fleet[name].start()
    assert_rows_are_right("one.mp4", FRAMES, first=first)
    assert ask("SELECT max(attempt) FROM segments") == [(2,)]
    assert ask(f"SELECT reason FROM assignments WHERE status = 'lost' AND worker = '{name}'") == [
        ("no progress until its lease ended",)
    ]
    [(tried,)] = ask("SELECT count(*) FROM segments WHERE tries > 1")
    assert tried <= 1, "only its current segment counts as tried"


@pytest.mark.slow
def test_a_worker_suspended_past_its_lease_is_fenced(
    fleet: dict[str, Worker], first: int, parent: ManagedProcess
) -> None:
    name, sleepers = asleep(fleet)
    try:
        assert ended(parent) == 0
        before = rows(), ask("SELECT * FROM segments ORDER BY segment_id")
    finally:
        resume(sleepers)
    runs = fleet[name].runs()
    _, alive = psutil.wait_procs(runs, timeout=60)
    assert not alive, "it learns that its assignment was revoked, and ends"
    assert (rows(), ask("SELECT * FROM segments ORDER BY segment_id")) == before
    assert_rows_are_right("one.mp4", FRAMES, first=first)
    assert ask("SELECT count(*) FROM assignments WHERE reason = 'no progress until its lease ended'") == [(1,)]


@pytest.mark.slow
def test_a_restarted_parent_adopts_the_work_in_progress(
    fleet: dict[str, Worker], first: int, parent: ManagedProcess
) -> None:
    busy(fleet)
    parent.kill()
    parent.start()
    assert ended(parent) == 0
    assert_rows_are_right("one.mp4", FRAMES, first=first)
    assert ask("SELECT DISTINCT attempt, tries FROM segments") == [(1, 1)], "nothing was processed twice"
    assert ask("SELECT status FROM batches ORDER BY batch_id") == [("crashed",), ("completed",)]


def set_state(kind: StateType) -> None:
    """Set the state of the batch's run, like the UI."""
    [(run_id,)] = ask("SELECT flow_run_id FROM batches ORDER BY batch_id DESC LIMIT 1")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, State(type=kind), force=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["signal", "UI"])
def test_a_cancelled_batch_frees_its_segments_and_stops_its_runs(
    fleet: dict[str, Worker], parent: ManagedProcess, how: str
) -> None:
    """A worker is cancelled by SIGTERM; a batch of the command line only by the state of its run."""
    name = busy(fleet)
    assert parent.process is not None
    if how == "signal":
        parent.process.send_signal(signal.SIGTERM)
    else:
        set_state(StateType.CANCELLING)
    assert ended(parent) != 0
    assert ask("SELECT count(*) FROM segments WHERE status = 'leased'") == [(0,)]
    assert ask("SELECT status FROM batches") == [("cancelled",)]
    assert ask("SELECT max(tries) FROM segments WHERE status = 'planned'") == [(0,)], (
        "a cancelled segment does not count as tried"
    )
    wait_for("the end of its runs", lambda: not fleet[name].decoders())
    before = done()
    time.sleep(3)
    assert done() == before


@pytest.mark.slow
def test_a_paused_batch_assigns_nothing_until_it_is_resumed(
    fleet: dict[str, Worker], first: int, parent: ManagedProcess
) -> None:
    busy(fleet)
    set_state(StateType.PAUSED)
    wait_for("the end of what was handed out", lambda: not leased_to(), parent)
    before = done()
    time.sleep(8)  # with a waiting run whose device is open: otherwise it would receive segments within a second
    assert (leased_to(), done()) == (0, before)
    assert before < FRAMES / 25, "unassigned segments remain"
    set_state(StateType.RUNNING)
    assert ended(parent) == 0
    assert_rows_are_right("one.mp4", FRAMES, first=first)
