"""The edge's credential: every route of the API with none, a wrong one and the edge's; and a real worker's run."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from prefect.workers.process import ProcessWorker

from tests.deployments.edge_proxy import ADMIN, EDGE, EdgeProxy, nginx, running_edge_proxy

pytestmark = pytest.mark.skipif(nginx() is None, reason="no nginx here: apt-get install nginx-light")

# What a worker needs, as the server's openapi.json names it; "edge" stands for itself.
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


def routes(proxy: EdgeProxy) -> Iterator[tuple[str, str, str]]:
    """(method, path as in openapi.json, path to ask for) of all; those of a pool for edge and for central."""
    document = proxy.ask_server("GET", "/openapi.json").raise_for_status().json()
    for path, methods in document["paths"].items():
        short = path.removeprefix("/api").replace("/work_pools/{name}", "/work_pools/{work_pool_name}")
        for method in methods:
            for pool in ("edge", "central") if "{work_pool_name}" in short else ("",):
                named = short.replace("{work_pool_name}", pool)
                query = f"?client={uuid.uuid4()}" if short == "/csrf-token" else ""
                yield method.upper(), named, re.sub(r"\{[^}]*\}", str(uuid.uuid4()), named) + query


def test_every_route_with_no_a_wrong_and_the_edges_credential(proxy: EdgeProxy) -> None:
    tried, open_to_edge = 0, set()
    for method, named, path in routes(proxy):
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
def test_no_way_round_by_spelling(proxy: EdgeProxy, method: str, path: str) -> None:
    """Sent as they stand here: httpx would tidy them up."""
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


def test_a_websocket_is_refused_before_it_opens(proxy: EdgeProxy) -> None:
    """Once open, Prefect asks for its own password inside it, and the worker hangs."""
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    for path in ("/events/in", "/events/out", "/logs/out", "/work_pools/edge/workers/connect", "/logs/"):
        assert proxy.ask("GET", path, None, headers=upgrade).status_code == 401
        assert proxy.ask("GET", path, EDGE, headers=upgrade).status_code == 403


def test_a_real_worker_does_a_run_with_the_edges_credential_alone(proxy: EdgeProxy, tmp_path: Path) -> None:
    """And it needs every route that it is let through to, and no other one."""
    (tmp_path / "edge_flow.py").write_text(FLOW)
    flow_id = proxy.ask_server("POST", "/flows/", json={"name": "edge-flow"}).json()["id"]
    deployment = {"name": "edge", "flow_id": flow_id, "entrypoint": "edge_flow.py:edge_flow", "path": str(tmp_path)}
    made = proxy.ask_server("POST", "/deployments/", json={**deployment, "work_pool_name": "edge"}).json()
    begun = len(proxy.requests())
    with worker(proxy, tmp_path):
        asked = {"parameters": {"assignment": "0123456789abcdef"}, "job_variables": {"env": {"PLACE": "home"}}}
        run = proxy.ask_server("POST", f"/deployments/{made['id']}/create_flow_run", json=asked).json()
        state = await_end(proxy, run["id"])
        # Its last log lines come after its end, and the worker asks every ten seconds what is to be cancelled.
        deadline = time.monotonic() + 30
        while not (ended := ("POST", "/flow_runs/filter") in used_routes(proxy, begun) and says(proxy, MESSAGE)):
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
            time.sleep(1)
    assert (state, ended) == ("COMPLETED", True), (tmp_path / "worker.log").read_text()[-3000:]
    used = used_routes(proxy, begun)
    after = proxy.ask_server("GET", f"/flow_runs/{run['id']}").json()
    assert after["labels"]["prefect.worker.name"] == "pi"
    assert (after["name"], after["job_variables"]) == (run["name"], asked["job_variables"]), "what was swallowed"
    print(*sorted(used), sep="\n")
    assert used - ALLOWED - {SWALLOWED} == set(), "refused, or needed and not on the list"
    assert ALLOWED - used == {("GET", "/health")}, "let through and not needed, but for a person's check"


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
    """Prefect's own process worker, as on a Pi: it knows nginx' address and its own password, and no more."""
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
