"""The edge credential: every route without, with a wrong and with the right one; and a real worker's run."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.workers.process import ProcessWorker

from deployments.edge_gate import BURST_BYTES, BYTES_PER_S, Allowance
from tests.deployments.edge_proxy import ADMIN, EDGE, OTHER, EdgeProxy, nginx, running_edge_proxy

pytestmark = pytest.mark.skipif(nginx() is None, reason="no nginx here: apt-get install nginx-light")

# The routes that a worker needs, as in the server's openapi.json; "edge" is literal.
ALLOWED = {
    ("GET", "/health"),
    ("GET", "/admin/version"),
    ("GET", "/admin/storage"),
    ("GET", "/csrf-token"),
    ("GET", "/work_pools/edge"),
    ("POST", "/work_pools/edge/queues/filter"),
    ("POST", "/work_pools/edge/get_scheduled_flow_runs"),
    ("POST", "/work_pools/edge/workers/heartbeat"),
    ("POST", "/flow_runs/filter"),
    ("GET", "/flow_runs/{id}"),
    ("POST", "/flow_runs/{id}/set_state"),
    ("PATCH", "/flow_runs/{id}/labels"),
    ("GET", "/deployments/{id}"),
    ("GET", "/flows/{id}"),
    ("POST", "/logs/"),
}
SWALLOWED = ("PATCH", "/flow_runs/{id}")
MESSAGE = "working on 0123456789abcdef"
FLOW = """
from prefect import flow, get_run_logger

@flow(persist_result=False, flow_run_name="assignment {assignment}")
def edge_flow(assignment: str):
    get_run_logger().info("working on %s", assignment)
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProxy]:
    with running_edge_proxy(tmp_path_factory.mktemp("edge")) as proxy:
        template = ProcessWorker.get_default_base_job_template()
        for name in ("edge", "central"):
            pool = {"name": name, "type": "process", "base_job_template": template}
            assert proxy.ask_server("POST", "/work_pools/", json=pool).status_code == 201
        yield proxy


@dataclass(frozen=True)
class Made:
    """The ids of a flow, its deployment in a pool, and a run of it."""

    flow: str
    deployment: str
    run: str


def make(proxy: EdgeProxy, pool: str, name: str) -> Made:
    flow = proxy.ask_server("POST", "/flows/", json={"name": f"{name}-flow"}).json()["id"]
    deployment = {"name": name, "flow_id": flow, "entrypoint": "x.py:x", "work_pool_name": pool}
    made = proxy.ask_server("POST", "/deployments/", json=deployment).json()["id"]
    run = proxy.ask_server("POST", f"/deployments/{made}/create_flow_run", json={"parameters": {}}).json()["id"]
    return Made(flow, made, run)


@pytest.fixture(scope="module")
def ours(proxy: EdgeProxy) -> Made:
    return make(proxy, "edge", "edges")


@pytest.fixture(scope="module")
def finished(proxy: EdgeProxy) -> Made:
    """A completed training of the central pool."""
    made = make(proxy, "central", "training")
    state = {"state": {"type": "COMPLETED"}, "force": True}
    assert proxy.ask_server("POST", f"/flow_runs/{made.run}/set_state", json=state).json()["status"] == "ACCEPT"
    return made


def routes(proxy: EdgeProxy, ours: Made) -> Iterator[tuple[str, str, str]]:
    """(method, path as in openapi.json, path to request) of all routes; those of a pool for edge and for central."""
    ids = {"/flow_runs/{id}": ours.run, "/deployments/{id}": ours.deployment, "/flows/{id}": ours.flow}
    document = proxy.ask_server("GET", "/openapi.json").raise_for_status().json()
    for path, methods in document["paths"].items():
        short = path.removeprefix("/api").replace("/work_pools/{name}", "/work_pools/{work_pool_name}")
        for method in methods:
            for pool in ("edge", "central") if "{work_pool_name}" in short else ("",):
                named = short.replace("{work_pool_name}", pool)
                query = f"?client={uuid.uuid4()}" if short == "/csrf-token" else ""
                known = next((own for start, own in ids.items() if named.startswith(start)), str(uuid.uuid4()))
                yield method.upper(), named, re.sub(r"\{[^}]*\}", known, named) + query


def test_every_route_without_with_a_wrong_and_with_the_edge_credential(proxy: EdgeProxy, ours: Made) -> None:
    tried, open_to_edge = 0, set()
    for method, named, path in routes(proxy, ours):
        for password in (None, "pi-4:wrong", "nobody:edge-secret", ADMIN):
            assert proxy.ask(method, path, password).status_code == 401, (method, path, password)
        status = proxy.ask(method, path, EDGE).status_code
        tried += 1
        if (method, named) == SWALLOWED:
            assert status == 204, named
        elif (method, named) in ALLOWED:
            assert status not in (401, 403), (method, named, status)
            open_to_edge.add((method, named))
        else:
            assert status == 403, (method, named, status)
    assert open_to_edge == ALLOWED
    assert tried > 150


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/logs/../variables/filter"),
        ("POST", "/logs/%2e%2e/block_documents/filter"),
        ("POST", "//logs/"),
        ("POST", "/flow_runs/filter/"),
        ("POST", "/flow_runs/filter?x=/../../variables/filter"),
        ("DELETE", "/flow_runs/00000000-0000-0000-0000-000000000000"),
        ("GET", "/work_pools/edge/../central"),
        ("GET", "/work_pools/edge%2f..%2fcentral"),
        ("GET", "/WORK_POOLS/edge"),
        ("GET", "/openapi.json"),
    ],
)
def test_other_spellings_of_routes_are_refused(proxy: EdgeProxy, method: str, path: str) -> None:
    """Sent exactly like this: httpx would normalise them."""
    import http.client
    import ssl
    from base64 import b64encode
    from urllib.parse import urlsplit

    place = urlsplit(proxy.url)
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    connection = http.client.HTTPSConnection(str(place.hostname), place.port, context=context, timeout=30)
    connection.putrequest(method, f"/api{path}", skip_accept_encoding=True)
    connection.putheader("Authorization", f"Basic {b64encode(EDGE.encode()).decode()}")
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    assert connection.getresponse().status == 403
    connection.close()


STATES_OF_PREFECT = [
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "CRASHED",
    "PAUSED",
    "CANCELLING",
]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", STATES_OF_PREFECT)
def test_a_finished_run_of_another_pool_stays_finished(
    proxy: EdgeProxy, finished: Made, kind: str, force: bool
) -> None:
    asked = {"state": {"type": kind}, "force": force}
    assert proxy.ask("POST", f"/flow_runs/{finished.run}/set_state", EDGE, json=asked).status_code == 403
    assert proxy.ask_server("GET", f"/flow_runs/{finished.run}").json()["state_type"] == "COMPLETED"


def test_nothing_of_another_pool_is_read_or_changed(proxy: EdgeProxy, finished: Made, ours: Made) -> None:
    for path in (f"/flow_runs/{finished.run}", f"/deployments/{finished.deployment}", f"/flows/{finished.flow}"):
        assert proxy.ask("GET", path, EDGE).status_code == 403
    assert proxy.ask("PATCH", f"/flow_runs/{finished.run}/labels", EDGE, json={"a": "b"}).status_code == 403
    for path in (f"/flow_runs/{ours.run}", f"/deployments/{ours.deployment}", f"/flows/{ours.flow}"):
        assert proxy.ask("GET", path, EDGE).status_code == 200


@pytest.mark.parametrize("asked", [{}, {"work_pools": {"name": {"any_": ["central"]}}}, {"work_pools": None}])
def test_a_filter_finds_only_the_pools_runs(
    proxy: EdgeProxy, finished: Made, ours: Made, asked: dict[str, Any]
) -> None:
    found = proxy.ask("POST", "/flow_runs/filter", EDGE, json=asked).json()
    assert ours.run in {run["id"] for run in found}
    assert {run["work_pool_name"] for run in found} == {"edge"}


@pytest.mark.parametrize("force", ["true", "false"])
@pytest.mark.parametrize(
    "state",
    [
        '{"type": "SCHEDULED"}',
        '{"type": "RUNNING", "type": "SCHEDULED"}',
        '{"type": "PAUSED"}',
        '{"type": ["RUNNING"]}',
        "1",
    ],
)
def test_no_run_is_scheduled_again(proxy: EdgeProxy, ours: Made, state: str, force: str) -> None:
    body = f'{{"state": {state}, "force": {force}}}'
    assert proxy.ask("POST", f"/flow_runs/{ours.run}/set_state", EDGE, content=body).status_code == 403


def test_log_lines_are_limited_to_the_pools_runs_and_in_size(proxy: EdgeProxy, finished: Made, ours: Made) -> None:
    def line(run: str | None, message: str) -> dict[str, Any]:
        return {"name": "x", "level": 20, "message": message, "timestamp": "2026-11-27T00:00:00Z", "flow_run_id": run}

    def stored() -> int:
        asked = {"logs": {"flow_run_id": {"any_": [ours.run, finished.run]}}, "limit": 200}
        return sum(len(line["message"]) for line in proxy.ask_server("POST", "/logs/filter", json=asked).json())

    for runs in ([finished.run], [ours.run, finished.run], [None], [str(uuid.uuid4())], ["x"]):
        refused = proxy.ask("POST", "/logs/", OTHER, json=[line(run, "forged") for run in runs])
        assert refused.status_code in (403, 422), runs
    assert stored() == 0
    task = {"task_run_id": str(uuid.uuid4())}
    assert proxy.ask("POST", "/logs/", OTHER, json=[{**line(ours.run, "said"), **task}]).status_code == 201
    assert stored() == len("said")
    for _ in range(6):
        assert proxy.ask("POST", "/logs/", OTHER, json=[line(ours.run, "x" * 900_000)]).status_code == 201
    assert 900_000 <= stored() <= 2 << 20
    assert proxy.ask("POST", "/logs/", OTHER, json=[line(ours.run, "x" * (2 << 20))]).status_code == 413


def test_a_credential_has_sixteen_workers_that_expire(proxy: EdgeProxy) -> None:
    def beat(name: Any, interval_s: Any = 30) -> int:
        body = {"name": name, "heartbeat_interval_seconds": interval_s, "metadata": {"x": "y" * 1000}}
        return proxy.ask("POST", "/work_pools/edge/workers/heartbeat", OTHER, json=body).status_code

    assert [beat(name) for name in ("", "a\nb", "x" * 201, 5)] == [422] * 4
    assert [beat("eternal", interval_s) for interval_s in (10**9, 0, -1, "x")] == [422] * 4
    assert [beat(f"pi-{number}") for number in range(100)] == [204] * 16 + [403] * 84
    assert beat("pi-3") == 204, "the worker is registered"
    workers = proxy.ask_server("POST", "/work_pools/edge/workers/filter", json={}).json()
    assert {worker["name"] for worker in workers} == {f"pi-{number}" for number in range(16)}


@pytest.mark.parametrize("path", ["/flow_runs/filter", "/work_pools/edge/get_scheduled_flow_runs"])
def test_bodies_are_limited(proxy: EdgeProxy, path: str) -> None:
    assert proxy.ask("POST", path, EDGE, json={"x": "y" * 70_000}).status_code == 413


def test_the_gate_itself_grants_no_access(proxy: EdgeProxy, ours: Made) -> None:
    for method, path in (("GET", f"/flow_runs/{ours.run}"), ("POST", "/flow_runs/filter")):
        assert (
            httpx.request(method, f"{proxy.gate_url}{path}", json={} if method == "POST" else None).status_code == 401
        )
    assert httpx.post(f"{proxy.gate_url}/variables/filter", auth=("admin", "server-secret")).status_code == 403


def test_an_allowance_is_a_burst_and_then_a_low_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    at_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: at_s)
    allowance = Allowance()
    assert [allowance.take(BURST_BYTES // 2) for _ in range(3)] == [True, True, False]
    at_s += 10
    assert [allowance.take(10 * BYTES_PER_S), allowance.take(1)] == [True, False]
    at_s += 1e9
    assert not allowance.take(BURST_BYTES + 1)
    assert allowance.take(BURST_BYTES)


def test_a_websocket_is_refused_before_it_opens(proxy: EdgeProxy) -> None:
    """If it opened, Prefect would demand its own password in it, and the worker would hang."""
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    for path in ("/events/in", "/events/out", "/logs/out", "/work_pools/edge/workers/connect", "/logs/"):
        assert proxy.ask("GET", path, None, headers=upgrade).status_code == 401
        assert proxy.ask("GET", path, EDGE, headers=upgrade).status_code == 403


@pytest.mark.slow
def test_a_real_worker_completes_a_run_with_the_edge_credential_only(proxy: EdgeProxy, tmp_path: Path) -> None:
    """It also needs every allowed route, and no other."""
    (tmp_path / "edge_flow.py").write_text(FLOW)
    flow_id = proxy.ask_server("POST", "/flows/", json={"name": "edge-flow"}).json()["id"]
    deployment = {"name": "edge", "flow_id": flow_id, "entrypoint": "edge_flow.py:edge_flow", "path": str(tmp_path)}
    made = proxy.ask_server("POST", "/deployments/", json={**deployment, "work_pool_name": "edge"}).json()
    begun = len(proxy.requests())
    with worker(proxy, tmp_path):
        asked = {"parameters": {"assignment": "0123456789abcdef"}, "job_variables": {"env": {"PLACE": "home"}}}
        run = proxy.ask_server("POST", f"/deployments/{made['id']}/create_flow_run", json=asked).json()
        state = await_end(proxy, run["id"])
        # Its last log lines come after its end, and the worker polls for cancelled runs every ten seconds.
        deadline = time.monotonic() + 30
        while not (ended := ("POST", "/flow_runs/filter") in used_routes(proxy, begun) and says(proxy, MESSAGE)):
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
            time.sleep(1)
    assert (state, ended) == ("COMPLETED", True), (tmp_path / "worker.log").read_text()[-3000:]
    used = used_routes(proxy, begun)
    after = proxy.ask_server("GET", f"/flow_runs/{run['id']}").json()
    assert after["labels"]["prefect.worker.name"] == "pi"
    assert (after["name"], after["job_variables"]) == (run["name"], asked["job_variables"]), (
        "requests that were answered but not forwarded"
    )
    print(*sorted(used), sep="\n")
    assert used - ALLOWED - {SWALLOWED} == set(), "refused, or needed but not on the list"
    assert ALLOWED - used == {("GET", "/health")}, "allowed but not needed, apart from a manual check"


def says(proxy: EdgeProxy, message: str) -> bool:
    return any(message in line["message"] for line in proxy.ask_server("POST", "/logs/filter", json={}).json())


def used_routes(proxy: EdgeProxy, begun: int) -> set[tuple[str, str]]:
    """Without the websockets, which are refused."""
    found = set()
    for method, path, status, upgrade in proxy.requests()[begun:]:
        named = re.sub(r"/ID\b", "/{id}", path.removeprefix("/api")).partition("?")[0]
        if upgrade:
            assert status == 403
        else:
            found.add((method, named))
            assert status != 403, (method, path)
    return found


def await_end(proxy: EdgeProxy, run_id: str) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = proxy.ask_server("GET", f"/flow_runs/{run_id}").json()["state_type"]
        if state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return str(state)
        time.sleep(0.5)
    return "it did not end"


@contextmanager
def worker(proxy: EdgeProxy, folder: Path) -> Iterator[None]:
    """Prefect's own process worker, as on a Pi: it knows only nginx' address and its own password."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": proxy.url,
        "PREFECT_API_AUTH_STRING": EDGE,
        "PREFECT_API_SSL_CERT_FILE": str(proxy.certificate),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "edge",
        "--type",
        "process",
        "--name",
        "pi",
    ]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in everybody:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
