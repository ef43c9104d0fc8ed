"""Processes of a fleet that are killed and restarted: worker, parent, database. Each only by its own pid."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.runs.edge_runs import POOL
from tests.servers_postgres import binaries, free_port, initdb, stop, unprivileged, wait_until_up


def kill(processes: Iterable[psutil.Process]) -> int:
    """Send SIGKILL. Returns the number of processes that were still running."""
    killed = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            killed += 1
    return killed


def pause(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, those that are alive."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


class ManagedProcess:
    """One command that is started, killed and started again."""

    def __init__(self, name: str, home: Path, command: list[str], environment: dict[str, str]) -> None:
        self.name, self.home = name, home
        self._command, self._environment = command, environment
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self.home, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> int:
        """Kill the process only; its children live on."""
        if not self.is_running or self.process is None:
            return 0
        self.process.kill()
        self.process.wait()
        return 1

    def end(self) -> None:
        """Kill the process and its descendants."""
        if self.process is not None:
            kill(family(self.process.pid))
            self.process.wait()


class Worker(ManagedProcess):
    """`nightjar worker` of the edge pool, like on a Pi: its own home, the artifact store, no database.

    environment: with NIGHTJAR_DEVICE, the device of its runs
    """

    def __init__(self, name: str, home: Path, environment: dict[str, str]) -> None:
        own = {
            "NIGHTJAR_HOME": str(home),
            "NIGHTJAR_DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none",
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_CLIENT_MAX_RETRIES": "10",
        }
        command = [sys.executable, "-m", "deployments.cli", "worker", "--pool", POOL, "--name", name]
        command += ["--device", environment["NIGHTJAR_DEVICE"]]
        super().__init__(name, home, command, {**environment, **own})

    def runs(self) -> list[psutil.Process]:
        """Processes of its flow runs, also those of an earlier life of the worker."""
        return [one for one in self._own_processes() if "prefect.engine" in _command_of(one)]

    def decoders(self) -> list[psutil.Process]:
        """Sandboxes of its runs."""
        return [one for one in self._own_processes() if "sandbox" in " ".join(_command_of(one))]

    def everything(self) -> list[psutil.Process]:
        return [each for process in self._own_processes() for each in [process, *_children(process)]]

    def _own_processes(self) -> Iterator[psutil.Process]:
        """Find processes by the home in their environment, which is this test's own folder."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("NIGHTJAR_HOME") == str(
                    self.home
                ):
                    yield process

    def end(self) -> None:
        kill(self.everything())
        if self.process is not None:
            self.process.wait()


def _command_of(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


class Database:
    """A PostgreSQL that keeps committed rows: after SIGKILL of all its processes it starts from the same folder."""

    def __init__(self) -> None:
        self._folder, self._user, self._port = Path(tempfile.mkdtemp(prefix="pg-")), unprivileged(), free_port()
        password = secrets.token_hex(8)
        self._binary = binaries(self._folder, self._user)
        initdb(self._folder, self._binary, self._user, password)
        self.url = f"postgresql://postgres:{password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        durable = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "unix_socket_directories=")
        settings = [part for setting in durable for part in ("-c", setting)]
        command: list[str | Path] = [
            self._binary / "postgres",
            "-D",
            self._folder / "data",
            "-h",
            "127.0.0.1",
            "-p",
            str(self._port),
        ]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen([*command, *settings], stderr=log, stdout=log, user=self._user)
        wait_until_up(self.url, self._server, self._folder / "log")

    def kill(self) -> int:
        everybody = family(self._server.pid)
        kill(everybody)
        self._server.wait()
        psutil.wait_procs(everybody, timeout=10)
        return 1

    def remove(self) -> None:
        stop(self._server)
        shutil.rmtree(self._folder, ignore_errors=True)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of Nightjar and Prefect; this checkout comes first."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("NIGHTJAR_", "PREFECT_API", "PYTEST"))
    }
    root = str(Path(__file__).parents[2])
    return {**kept, "PYTHONPATH": root, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
