"""A real Prefect server with its services, one for all tests of a session; tests that kill a server have their own.

It runs on PostgreSQL: on SQLite it stalls for a minute at a time as soon as a few workers poll it.
"""

import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psycopg
import pytest
from prefect import get_client
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments import prefect_server as own_server
from deployments.prefect_database import template_path
from tasks.runs.edge_runs import POOL
from tests.servers_postgres import free_port

# Services that no test of the shared server needs. Their loops are the larger part of an idle server's CPU time.
IDLE_SERVICES = ("LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER", "TRIGGERS")

# Each client of Prefect, five per run, would read all certificates of the system, which takes 0.04 s.
shared_ssl_context = cache(ssl.create_default_context)


class PrefectServer:
    """A server that keeps its port and its database when it is restarted."""

    def __init__(self, home: Path, database_url: str, **settings: str) -> None:
        """database_url: postgresql://… or sqlite+aiosqlite:///PATH"""
        self.port, self.home, self._users = free_port(), home, 0
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self._environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_DATABASE_CONNECTION_URL": database_url.replace("postgresql://", "postgresql+asyncpg://"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_API_URL": self.api_url,
            "DO_NOT_TRACK": "1",
            **settings,
        }

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        database = Path(self._environment["PREFECT_API_DATABASE_CONNECTION_URL"].removeprefix("sqlite+aiosqlite:///"))
        if database.is_absolute() and not database.exists() and template_path().exists():
            shutil.copyfile(template_path(), database)  # migrated: an empty one takes twice as long to start
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 240  # the machine may be busy
        while not self.is_up():
            assert self.process.poll() is None, (self.home / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "Prefect's server did not answer"
            time.sleep(0.2)

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=5):
                return True
        except OSError:
            return False

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the server run. Without users it is suspended: its idle loops take 2 % of a core in each process."""
        if self._users == 0:
            self.process.send_signal(signal.SIGCONT)
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it by SIGKILL, as in a crash."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(server: PrefectServer) -> Iterator[PrefectServer]:
    """The server, started, and killed at the end; no setting refers to it yet."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def using(server: PrefectServer) -> Iterator[PrefectServer]:
    """Make this process's Prefect, and that of its children, use the server."""
    _send_what_is_left()  # otherwise a sender created for another server would also serve this one
    with server.awake(), temporary_settings({PREFECT_API_URL: server.api_url}):
        try:
            yield server
        finally:
            _send_what_is_left()


def _send_what_is_left() -> None:
    """At this process's end, Prefect would retry a dead server for a minute."""
    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@contextmanager
def running_prefect(home: Path, database_url: str, **settings: str) -> Iterator[PrefectServer]:
    """A separate server, for tests that kill it or read all of its contents; this process's Prefect uses it."""
    with serving(PrefectServer(home, database_url, **settings)) as server, using(server):
        yield server


@pytest.fixture(scope="session")
def prefect_process(pg_admin_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The session's server, with its own database. It changes no setting: see `prefect_server`."""
    idle = {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in IDLE_SERVICES}
    name = f"prefect_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        base = pg_admin_url.rsplit("/", 1)[0]
        with serving(PrefectServer(tmp_path_factory.mktemp("prefect"), f"{base}/{name}", **idle)) as server:
            yield server
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def prefect_server(prefect_process: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """A real Prefect server that this process's flows and commands use, as if the user had set its address.

    A command that would start a hidden one fails instead. prefect_test_harness is not used: at its end it sends the
    remaining events, and waits forever for servers that other tests have killed.
    """

    def refuse(arguments: Sequence[str], **_: object) -> None:
        raise AssertionError(f"a second Prefect server was started: {arguments}")

    monkeypatch.setenv("PREFECT_API_URL", prefect_process.api_url)
    monkeypatch.setattr(own_server, "start_child", refuse)
    monkeypatch.setattr(ssl, "create_default_context", shared_ssl_context)
    forget_server()
    with using(prefect_process):
        yield prefect_process
    forget_server()


def forget_server() -> None:
    """Make the next command of this process look for a server again."""
    own_server.begin_server.cache_clear()
    own_server.ensure_server.cache_clear()


@pytest.fixture(scope="module")
def prefect_fleet(prefect_process: PrefectServer) -> Iterator[PrefectServer]:
    """The session's server for all tests of a module that share workers, which are removed from it afterwards."""
    with using(prefect_process):
        yield prefect_process
        with get_client(sync_client=True) as client, suppress(ObjectNotFound):
            client.delete_work_pool(POOL)  # a killed worker looks alive for a while
