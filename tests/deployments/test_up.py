"""`nightjar up`, `deploy` and `worker` on their own real Prefect server."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from prefect.workers.base import BaseWorker

from deployments.browse.serve import listen
from deployments.up import Listeners, _revive_pages
from deployments.worker import _worker_class
from models.manifest import MANIFEST_FILE, Manifest
from storage.sql.catalogue import register_model
from storage.sql.database import open_database
from tasks.fleet.device_lock import DeviceLock
from tasks.model.stored import version_of
from tests.deployments.running import NIGHTJAR, ROOT, Up, basic, environment, free_port, processes_of, wait_for
from tests.matrix import pairs
from tests.servers_postgres import write_migrated
from tests.tiny_model import write_tiny_model

DEPLOYMENTS = {
    "nightly-batch/nightly": "central",
    "convert-model/convert": "central",
    "finetune-classifier/finetune": "central",
    "evaluate-model/evaluate": "central",
    "quantize-model/quantize": "central",
    "benchmark-model/benchmark": "central",
    "train-demo-model/train": "central",
    "infer-assignment/edge": "edge",
}
SETTLED = (
    "entrypoint", "description", "tags", "work_pool_name", "parameters", "parameter_openapi_schema",
    "enforce_parameter_schema", "concurrency_options", "pull_steps", "path", "paused", "job_variables",
)  # fmt: skip
RUN_LIMIT_S = 120.0
PASSWORD = "someone:hunter2"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `nightjar up` without a schedule, for the tests below in their order."""
    running = Up(tmp_path_factory.mktemp("up") / "home")
    yield running
    running.kill()


def nightjar(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NIGHTJAR, *arguments], env=environment(home), capture_output=True, text=True, cwd=home, timeout=180
    )


def deployed(up: Up) -> dict[str, dict[str, Any]]:
    """Everything that a user has set for each deployment."""
    found = {}
    for name in DEPLOYMENTS:
        answer = up.ask(f"deployments/name/{name}")
        limit = (answer["global_concurrency_limit"] or {}).get("limit")
        found[name] = {field: answer[field] for field in SETTLED} | {"limit": limit, "schedules": schedules(answer)}
    return found


def assert_equal(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    for name, fields in expected.items():
        assert {field: found[name][field] for field in fields} == fields, name


def schedules(answer: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    found = answer["schedules"]
    return [(each["slug"], each["schedule"]["cron"], each["schedule"]["timezone"], each["active"]) for each in found]


@pytest.mark.slow
def test_every_flow_is_deployed_with_help_and_bounds(up: Up) -> None:
    found = deployed(up)
    assert {name: each["work_pool_name"] for name, each in found.items()} == DEPLOYMENTS
    for each in found.values():
        assert each["tags"] == ["nightjar"]
        assert len(each["description"]) > 40
        assert each["pull_steps"] == []
        assert each["entrypoint"].startswith("flows.")
        assert each["enforce_parameter_schema"]
    assert found["nightly-batch/nightly"]["limit"] == 1
    assert found["nightly-batch/nightly"]["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert found["nightly-batch/nightly"]["schedules"] == [("nightly", "0 1 * * *", "UTC", False)]
    assert "No schedule is active" in up.said()


def test_the_forms_explain_every_parameter(up: Up) -> None:
    found = deployed(up)
    assert len(found) == len(DEPLOYMENTS)
    for name, deployment in found.items():
        properties = deployment["parameter_openapi_schema"]["properties"]
        assert properties
        assert [(name, key) for key, value in properties.items() if not value.get("description")] == []


def test_prefects_files_are_private(up: Up) -> None:
    files = [up.home / "prefect", *(up.home / "prefect").rglob("*")]
    assert (up.home / "prefect" / "prefect.db") in files
    assert [file for file in files if file.stat().st_mode & 0o077] == []


@pytest.mark.slow
def test_the_pages_are_served_and_found_by_commands(up: Up) -> None:
    assert f"The pages of results are at {up.pages_url}.\n" in up.said()
    with urllib.request.urlopen(up.pages_url, timeout=30) as answer:
        assert b"Nightjar" in answer.read()
    again = up.nightjar("browse")
    assert (again.returncode, again.stdout) == (0, f"The pages are already at {up.pages_url}.\n"), again.stderr
    assert f"Page: {up.pages_url}/\n" in up.nightjar("videos").stdout


def test_a_taken_port_of_the_pages_is_refused_before_a_server_is_started(tmp_path: Path) -> None:
    with closing(listen("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = nightjar("up", "--port", str(free_port()), "--browse-port", port, home=tmp_path)
    assert (done.returncode, "Choose another --browse-port" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "prefect" / "prefect.db").exists()


def test_ended_pages_start_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    services = Listeners("127.0.0.1", 1, 2)
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ended.wait()
    children: dict[str, subprocess.Popen[bytes]] = {"pages": ended}
    monkeypatch.setattr("deployments.up._start_pages", lambda _: None)
    monkeypatch.setattr("deployments.up.RESTART_AFTER_S", 0.05)
    due = _revive_pages(children, services, None)
    assert due is not None
    assert "The pages ended with code 3" in capsys.readouterr().err
    assert _revive_pages(children, services, due) == due
    assert children["pages"] is ended
    time.sleep(0.06)
    assert _revive_pages(children, services, due) is None
    assert children["pages"] is None
    assert capsys.readouterr().err == "", "once is enough"
    assert _revive_pages({}, services, None) is None, "the pages of a running 'nightjar browse' are not its children"


@pytest.mark.slow
def test_deploying_again_or_with_prefects_command_gives_the_same(up: Up) -> None:
    before, automations = deployed(up), up.ask("automations/filter", {})
    again = up.nightjar("deploy")
    assert again.returncode == 0, again.stderr
    assert_equal(deployed(up), before)
    assert [each["id"] for each in up.ask("automations/filter", {})] == [each["id"] for each in automations]
    assert len(automations) == 1
    assert automations[0]["enabled"]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file"]
    done = subprocess.run(
        [*command, "deployments/prefect.yaml"],
        cwd=ROOT,
        env={**up.environment, "PREFECT_API_URL": f"{up.url}/api"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal(deployed(up), before)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Prefect's server on SQLite may stand still for a minute
def test_a_schedule_is_set_and_kept_and_creates_runs(up: Up, tmp_path: Path) -> None:
    register_a_model(up.home)
    what = ("--archive", str(tmp_path), "--model", "tiny")
    done = up.nightjar("deploy", *what, "--cron", "30 2 * * *", "--timezone", "Asia/Tokyo")
    assert done.returncode == 0, done.stderr
    assert "30 2 * * * (Asia/Tokyo)" in done.stdout
    found = deployed(up)["nightly-batch/nightly"]
    assert found["parameters"] == {"archive": str(tmp_path), "model": "tiny"}
    assert found["schedules"] == [("nightly", "30 2 * * *", "Asia/Tokyo", True)]
    assert up.nightjar("deploy").returncode == 0
    assert deployed(up)["nightly-batch/nightly"] == found, "options that are not given again stay"
    name = {"deployments": {"name": {"any_": ["nightly"]}}}
    wait_for(lambda: up.ask("flow_runs/filter", name), 60, lambda: "no run was scheduled")
    runs = up.ask("flow_runs/filter", name)
    assert {run["expected_start_time"][11:16] for run in runs} == {"17:30"}, "02:30 in Tokyo"
    assert runs[0]["parameters"]["model"] == "tiny"


def register_a_model(home: Path) -> None:
    """The model `tiny`, in the database of this home."""
    if not (home / "ir").exists():
        write_tiny_model(home / "ir")
    manifest = Manifest.from_json((home / "ir" / MANIFEST_FILE).read_text())
    if not (home / "nightjar.db").exists():
        write_migrated(home / "nightjar.db")
    engine = open_database(f"sqlite:///{home}/nightjar.db")
    register_model(engine, version_of(manifest))
    engine.dispose()


@pytest.mark.slow
def test_the_running_server_is_found_on_any_port(up: Up, tmp_path: Path) -> None:
    """Found by a second `up`, by `deploy` without an address, and by the address that a browser shows."""
    register_a_model(up.home)
    for hour, command in enumerate((("up",), ("deploy",), ("deploy", "--server", f"{up.url}/dashboard")), 3):
        what = ("--archive", str(tmp_path), "--model", "tiny", "--cron", f"0 {hour} * * *")
        done = nightjar(*command, *what, home=up.home)
        assert (done.returncode, f"0 {hour} * * *" in done.stdout) == (0, True), done.stderr
        [schedule] = deployed(up)["nightly-batch/nightly"]["schedules"]
        assert schedule[1] == f"0 {hour} * * *"


IMPOSSIBLE = {
    "no archive": (("--archive", "/no/such", "--model", "tiny"), "nothing at '/no/such'"),
    "no model": (("--archive", "/tmp", "--model", "tinny"), "Did you mean 'tiny'?"),
    "a password": (("--archive", "s3://key:hunter2@bucket/x", "--model", "tiny"), "contains a user name or a password"),
}


@pytest.mark.parametrize(("why", "command"), pairs(IMPOSSIBLE, ("up", "deploy")))
def test_a_night_that_could_not_start_is_refused_at_once(command: str, why: str, tmp_path: Path) -> None:
    what, words = IMPOSSIBLE[why]
    register_a_model(tmp_path)
    done = nightjar(command, *what, home=tmp_path)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr + done.stdout


def test_an_invalid_schedule_is_refused_before_a_server_is_started(tmp_path: Path) -> None:
    done = nightjar("up", "--timezone", "Mars/Base", home=tmp_path)
    assert (done.returncode, "Mars/Base" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "prefect" / "prefect.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--archive", "/videos"), "Give both --archive and --model, or neither"),
        (("--archive", "/tmp", "--model", "tiny", "--cron", "at night"), "Give five fields"),
    ],
)
def test_an_impossible_night_gives_one_line(up: Up, arguments: tuple[str, ...], words: str) -> None:
    done = up.nightjar("deploy", *arguments)
    assert done.returncode == 1
    assert (done.stderr.startswith("Error: "), words in done.stderr) == (True, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_second_nightjar_up_is_refused(up: Up, tmp_path: Path) -> None:
    port = up.url.rpartition(":")[2]
    done = nightjar("up", "--port", str(free_port()), "--edge", "CPU", home=up.home)
    assert (done.returncode, "nightjar worker --pool edge --device CPU" in done.stderr) == (1, True), done.stderr
    done = nightjar("up", "--port", port, home=tmp_path)
    assert (done.returncode, "A Prefect server is already running" in done.stderr) == (1, True), done.stderr
    done = nightjar("up", "--host", "192.0.2.1", home=tmp_path)
    assert (done.returncode, "no password is set" in done.stderr) == (1, True), done.stderr


@pytest.mark.slow
def test_a_worker_names_its_runs_and_ends_them_when_it_ends(up: Up, tmp_path: Path) -> None:
    arguments = ("--device", "CPU", "--fallback", "cpu", "--name", "pi-4", "--server", f"{up.url}/api")
    worker = subprocess.Popen(
        [NIGHTJAR, "worker", "--pool", "edge", *arguments],
        cwd=tmp_path,
        env=environment(tmp_path / "pi"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        run = up.start(up.deploy_test_flow("teller", "edge"))
        started: set[str] = set()

        def completed() -> bool:
            started.update(_modules_of_prefect(tmp_path / "pi"))
            return up.state(run) == "Completed"

        wait_for(completed, RUN_LIMIT_S, lambda: up.state(run))
        assert started == {"prefect.engine"}, "only one process imports Prefect"
        assert json.loads(_logged(up, run)) == {
            "folder": str(tmp_path),
            "NIGHTJAR_HOME": str(tmp_path / "pi"),
            "NIGHTJAR_DEVICE": "CPU",
            "NIGHTJAR_FALLBACK": "cpu",
            "NIGHTJAR_WORKER_NAME": "pi-4",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        }
        run = up.start(up.deploy_test_flow("sleeper", "edge"))
        wait_for(lambda: up.state(run) == "Running", RUN_LIMIT_S, lambda: up.state(run))
        worker.terminate()
        assert worker.wait(30) == 0
        assert processes_of(tmp_path / "pi") == []
        assert up.state(run) == "Crashed"
        assert "pi-4 was stopped" in up.ask(f"flow_runs/{run}")["state"]["message"]
    finally:
        worker.kill()


def _modules_of_prefect(home: Path) -> set[str]:
    """Return the modules of Prefect that this home's processes were started with."""
    words: set[str] = set()
    for process in processes_of(home):
        with suppress(psutil.Error):
            words.update(process.cmdline())
    return {word for word in words if word.startswith("prefect.")}


def _logged(up: Up, run: str) -> str:
    """Wait for the run's log line in JSON, which arrives some time after its state."""
    wanted = {"logs": {"flow_run_id": {"any_": [run]}}}
    said: list[str] = []

    def look() -> bool:
        said[:] = [log["message"] for log in up.ask("logs/filter", wanted) if log["message"].startswith("{")]
        return bool(said)

    wait_for(look, 60, lambda: up.ask("logs/filter", wanted))
    return said[0]


@pytest.mark.slow
def test_ctrl_c_ends_everything(up: Up) -> None:
    run = up.start(up.deploy_test_flow("sleeper", "central"))
    wait_for(lambda: up.state(run) == "Running", RUN_LIMIT_S, lambda: up.state(run))
    assert len(processes_of(up.home)) == 5, "up, server, pages, worker, run"
    assert up.end(signal.SIGINT) == 0
    assert processes_of(up.home) == []
    with sqlite3.connect(up.home / "prefect" / "prefect.db") as database:
        state = database.execute("SELECT state_name FROM flow_run WHERE id = ?", [run]).fetchone()
    assert state == ("Cancelled",), "Prefect must not show it as Running forever"


@pytest.mark.slow
def test_a_password_is_required_and_sigkill_leaves_no_process(tmp_path: Path, pg_url: str) -> None:
    """On PostgreSQL, unlike the other tests."""
    database = pg_url.replace("postgresql://", "postgresql+asyncpg://")
    up = Up(
        tmp_path / "home",
        PREFECT_SERVER_API_AUTH_STRING=PASSWORD,
        PREFECT_API_DATABASE_CONNECTION_URL=database,
    )
    try:
        assert not (up.home / "prefect" / "prefect.db").exists()
        assert [_status(up, header) for header in (None, basic("someone:else"), basic(PASSWORD))] == [401, 401, 200]
        pages = [_status_of(f"{up.pages_url}/", header) for header in (None, basic("someone:else"), basic(PASSWORD))]
        assert pages == [401, 401, 200]
        run = up.start(up.deploy_test_flow("sleeper", "central"))
        wait_for(lambda: up.state(run) == "Running", RUN_LIMIT_S, lambda: up.state(run))
        for command in ("deploy", "worker"):
            without = nightjar(command, "--server", f"{up.url}/api", home=tmp_path)
            assert (without.returncode, "PREFECT_API_AUTH_STRING" in without.stderr) == (1, True), without.stderr
            assert len(without.stderr.splitlines()) == 1
        up.end(signal.SIGKILL)
        wait_for(lambda: not processes_of(up.home), 40, lambda: processes_of(up.home))
        assert "hunter2" not in up.said()
    finally:
        up.kill()


def _status(up: Up, header: str | None) -> int:
    return _status_of(f"{up.url}/api/flows/filter", header, b"{}")


def _status_of(url: str, header: str | None, body: bytes | None = None) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    if header:
        request.add_header("Authorization", header)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_deploying_without_a_server_gives_one_line(tmp_path: Path) -> None:
    done = nightjar("deploy", "--server", f"http://127.0.0.1:{free_port()}/api", home=tmp_path)
    assert (done.returncode, "Start one with 'nightjar up'" in done.stderr) == (1, True), done.stderr


def test_a_worker_imports_neither_sql_nor_tensorflow() -> None:
    made = "from deployments.worker import _worker_class as made; made('edge', None, 'CPU')"
    code = f"import sys, deployments.cli; {made}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "prefect.workers.process" in loaded
    light = {"storage", "storage.private"}  # the umask of every command
    heavy = ("storage", "sqlalchemy", "tensorflow", "openvino", "boto3", "pyarrow", "av")
    assert not {name for name in loaded - light if name.split(".")[0] in heavy}


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "early"), [("edge", 0), ("central", 1)])
def test_an_edge_worker_takes_a_second_run_when_the_first_has_the_device(
    pool: str, early: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first runs of a night, one per worker, no worker takes two, although they are offered to all at once."""
    taken: list[Any] = []

    async def submit(self: Any, flow_run_response: list[Any]) -> list[Any]:
        taken.extend(flow_run_response)
        return []

    async def poll_three_times() -> list[int]:
        worker = _worker_class(pool, tmp_path, "MYRIAD")(name="pi", work_pool_name=pool)
        worker._limiter = anyio.CapacityLimiter(2)
        await worker._submit_scheduled_flow_runs(["a", "b"])
        counts = [len(taken)]
        worker._limiter.acquire_on_behalf_of_nowait("a")
        await worker._submit_scheduled_flow_runs(["b", "c"])
        counts.append(len(taken))
        with DeviceLock(tmp_path, "MYRIAD") as lock:
            assert lock.acquire(lambda: False)
            await worker._submit_scheduled_flow_runs(["b", "c"])
        return [*counts, len(taken)]

    monkeypatch.setattr(BaseWorker, "_submit_scheduled_flow_runs", submit)
    assert asyncio.run(poll_three_times()) == [1, 1 + early, 2 + early]
