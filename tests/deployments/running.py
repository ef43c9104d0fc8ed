"""`nightjar up` as a user starts it, on a free port and with its own home, and the processes that it leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
NIGHTJAR = Path(sys.executable).with_name("nightjar")
START_LIMIT_S = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment without settings of another Prefect of the tests or the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "NIGHTJAR"))}
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "TZ": "UTC"}
    return {**kept, **quick, "NIGHTJAR_HOME": str(home), "PYTHONPATH": str(ROOT), **more}


def basic(password: str) -> str:
    return f"Basic {b64encode(password.encode()).decode()}"


class Up:
    """A running `nightjar up`."""

    def __init__(self, home: Path, *arguments: str, **more: str) -> None:
        self.home, self.password = home, more.get("PREFECT_SERVER_API_AUTH_STRING")
        home.mkdir(parents=True, exist_ok=True)
        self.url, self.pages_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._log = home / "up.log"
        self.environment = environment(home, **more)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [NIGHTJAR, "up", *self._ports(), *arguments],
                cwd=home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(lambda: "started!" in self.said() or self.process.poll() is not None, START_LIMIT_S, self.said)
            assert self.process.poll() is None, self.said()
        except BaseException:
            self.kill()
            raise

    def _ports(self) -> list[str]:
        ports = {"--port": self.url, "--browse-port": self.pages_url}
        return [word for option, url in ports.items() for word in (option, url.rpartition(":")[2])]

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def nightjar(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same user."""
        return subprocess.run(
            [NIGHTJAR, *arguments],
            cwd=self.home,
            env={**self.environment, "PREFECT_API_URL": f"{self.url}/api"},
            capture_output=True,
            text=True,
            timeout=240,
        )

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the API's answer, as JSON. body: posted. A busy server on SQLite may answer 503, which is retried."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/api/{path}", data, {"Content-Type": "application/json"})
        if self.password:
            request.add_header("Authorization", basic(self.password))
        for attempt in range(10):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 9:
                    raise
                time.sleep(1)
        raise AssertionError

    def deploy_test_flow(self, name: str, pool: str) -> str:
        """Create a deployment of a flow of tests/deployments/sleeper.py. Returns its name."""
        flow = self.ask("flows/", {"name": name})["id"]
        entrypoint = f"tests.deployments.sleeper.{name}"
        self.ask("deployments/", {"name": pool, "flow_id": flow, "work_pool_name": pool, "entrypoint": entrypoint})
        return f"{name}/{pool}"

    def start(self, deployment: str, **parameters: Any) -> str:
        """The id of a new run of it."""
        found = self.ask(f"deployments/name/{deployment}")
        return str(self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"])

    def state(self, run: str) -> str:
        return str(self.ask(f"flow_runs/{run}")["state"]["name"])

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def kill(self) -> None:
        """End everything that a failed test may have left."""
        for process in [*processes_of(self.home)]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(10)


def processes_of(home: Path) -> list[psutil.Process]:
    """Every live process that was started for this home, under any parent."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NIGHTJAR_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_for(true: Callable[[], Any], limit_s: float, why: Callable[[], Any]) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.2)
