"""`nightjar worker`: run the flow runs of a work pool, each as a process on this machine. No SQL, no TensorFlow.

It differs from Prefect's process worker in five ways:
- Runs start in the worker's working folder, so that `.env` and relative paths mean the same to both.
- Runs start directly, without the extra process in which Prefect looks for code to fetch.
- An edge worker takes a second run only when the first has its device, so that other workers receive runs.
- A run that ends because its worker stops is set to Cancelled or Crashed. Prefect would show it as Running forever.
- Stopping has a time limit.

It must also run on Python 3.10.
"""

import asyncio
import os
import random
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import psutil

from deployments.prefect_server import find_api, refuse_wrong_password, server_address
from models.types import NightjarError, refuse_credentials
from tasks.fleet.device_lock import is_held
from tasks.site.owner import host_name
from tasks.site.settings import prepare_prefect, read_settings, set_worker_environment, use_prefect_api

POOLS = ("central", "edge")
STOP_LIMIT_S = 15.0
STATE_LIMIT_S = 5.0


def run_worker(pool: str, device: str, name: str | None, fallback: str, limit: int, server: str | None) -> None:
    """Run the flow runs of the pool until SIGTERM or Ctrl-C. Raises NightjarError if the server refuses it."""
    settings = read_settings()
    prepare_prefect(settings)
    name = worker_name(name or settings.worker_name or f"{host_name()}-{device}")
    set_worker_environment(settings, name, device, fallback)
    url = _server(server)
    refuse_wrong_password(url)
    use_prefect_api(url)
    asyncio.run(_work(pool, settings.home.resolve(), device, name, limit))


def _server(given: str | None) -> str:
    """Return the API's address; the given one if no server answers yet, since a worker waits for its server."""
    address = server_address(given)
    try:
        return find_api(address)
    except NightjarError:
        refuse_credentials(address)
        return address


def worker_name(text: str) -> str:
    """Turn a text into a name that Prefect accepts."""
    return re.sub(r"[/%\s]+", "-", text)[:100]


async def _work(pool: str, home: Path, device: str, name: str, limit: int) -> None:
    # Prefect reads the environment when it is imported, so the import comes after all settings.
    worker = _worker_class(pool, home, device)(
        name=name, work_pool_name=pool, limit=limit, create_pool_if_not_found=False
    )
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop_handler(this))
    with suppress(asyncio.CancelledError):
        await worker.start(printer=click.echo)


def _stop_handler(work: "asyncio.Task[None]") -> Callable[[], None]:
    """Return a signal handler that stops the worker: cleanly first, by force on the second signal or after a limit."""
    asked = threading.Event()

    def stop() -> None:
        if asked.is_set():
            _kill_processes()
        asked.set()
        work.cancel()
        watchdog = threading.Timer(STOP_LIMIT_S, _kill_processes)
        watchdog.daemon = True
        watchdog.start()

    return stop


def _kill_processes() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


def _worker_class(pool: str, home: Path, device: str) -> Any:
    """Build the worker's class. home, device: identify the lock that runs hold."""
    import anyio
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Cancelled, Crashed
    from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

    class Configuration(ProcessJobConfiguration):
        def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:
            self.command = self.command or shlex.join([sys.executable, "-m", "prefect.engine"])
            super().prepare_for_flow_run(*args, **kwargs)

    class NightjarWorker(ProcessWorker):
        job_configuration = Configuration

        @classmethod
        def __dispatch_key__(cls) -> str:
            return "nightjar-process"  # a key of its own in Prefect's list of classes; the type stays "process"

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[Any]) -> list[FlowRun]:
            """Submit one random run at a time, as other workers poll too; none while an edge worker's first starts."""
            if pool == "edge" and self.limiter.borrowed_tokens and not is_held(home, device):
                return []
            some = random.sample(flow_run_response, min(1, len(flow_run_response)))
            return await super()._submit_scheduled_flow_runs(some)

        async def run(
            self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any = None
        ) -> ProcessWorkerResult:
            configuration.working_dir = configuration.working_dir or Path.cwd()
            try:
                return await super().run(flow_run, configuration, task_status)
            except asyncio.CancelledError:
                with anyio.move_on_after(STATE_LIMIT_S, shield=True), suppress(Exception):
                    end = Crashed if pool == "edge" else Cancelled  # an edge run's segments go to other workers
                    state: Any = end(message=f"The worker {self.name} was stopped. Run it again to continue.")
                    await self.client.set_flow_run_state(flow_run.id, state, force=True)
                raise

    return NightjarWorker
