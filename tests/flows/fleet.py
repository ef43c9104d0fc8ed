"""A fleet on this machine for the tests: real workers of a real Prefect server, each in its own process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

from flows.infer_assignment import infer_assignment
from tasks.runs.edge_runs import POOL, EdgeRuns


def deploy_edge() -> None:
    """Create the part of `nightjar deploy` that a fleet needs."""
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        client.create_deployment(
            flow_id=client.create_flow(infer_assignment),
            name="edge",
            entrypoint="flows.infer_assignment.infer_assignment",
            path=".",
            work_pool_name=POOL,
            enforce_parameter_schema=True,
        )


@contextmanager
def worker(name: str, home: Path, device: str = "CPU", poll_s: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """`nightjar worker --pool edge`, as on a Pi: its own home, the batch's artifact store, no database.

    Also its own session, because Linux divides the CPU between sessions. poll_s: interval of polling for runs
    """
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "NIGHTJAR_HOME": str(home),
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": str(poll_s),
        "NIGHTJAR_DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none",
    }
    command = [sys.executable, "-m", "deployments.cli", "worker", "--pool", POOL, "--device", device, "--name", name]
    with (home / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _await_online(name)
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and all its children at once."""
    with_children = [process]
    with suppress(psutil.NoSuchProcess):
        with_children += psutil.Process(process.pid).children(recursive=True)
    for each in with_children:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _await_online(name: str) -> None:
    deadline = time.monotonic() + 90
    with EdgeRuns() as runs:
        while name not in runs.workers():
            assert time.monotonic() < deadline, f"worker {name} did not come online"
            time.sleep(0.3)
