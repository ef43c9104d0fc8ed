"""A real Prefect server with its services, one for all tests of a session; one that is killed is a test's own.

It runs on PostgreSQL: on SQLite it stalls for a minute at a time as soon as a few workers poll it.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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


class PrefectServer:
    """A server that keeps its port and its database when it is started anew."""

    def __init__(self, home: Path, database_url: str, **settings: str) -> None:
        """database_url: postgresql://… or sqlite+aiosqlite:///PATH"""
        self.port, self.home = free_port(), home
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
        deadline = time.monotonic() + 240  # a machine with much else to do
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

    def kill(self) -> None:
        """By SIGKILL, as a crash does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(server: PrefectServer) -> Iterator[PrefectServer]:
    """The server, started, and killed at the end; nobody is told of it yet."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def using(server: PrefectServer) -> Iterator[PrefectServer]:
    """This process's Prefect talks to the server, and so do the processes that it starts meanwhile."""
    _send_what_is_left()  # else a sender that was made for another server would serve this one, too
    try:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield server
    finally:
        _send_what_is_left()


def _send_what_is_left() -> None:
    """At this process's end Prefect would knock at a dead server for a minute."""
    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@contextmanager
def running_prefect(home: Path, database_url: str, **settings: str) -> Iterator[PrefectServer]:
    """A server of its own, for whoever kills it or looks at everything in it; this process's Prefect talks to it."""
    with serving(PrefectServer(home, database_url, **settings)) as server, using(server):
        yield server


@pytest.fixture(scope="session")
def prefect_process(pg_admin_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The session's server, in a database of its own. By itself it changes no setting: see `prefect_server`."""
    name = f"prefect_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        base = pg_admin_url.rsplit("/", 1)[0]
        with serving(PrefectServer(tmp_path_factory.mktemp("prefect"), f"{base}/{name}")) as server:
            yield server
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def prefect_server(prefect_process: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """A real Prefect server that this process's flows and commands use, as if the user had set its address.

    A command that would start a hidden one of its own fails instead. Not prefect_test_harness: at its end it sends the
    events that are left, and waits for ever for servers that other tests have killed.
    """

    def refuse(arguments: Sequence[str], **_: object) -> None:
        raise AssertionError(f"a second Prefect server was started: {arguments}")

    monkeypatch.setenv("PREFECT_API_URL", prefect_process.api_url)
    monkeypatch.setattr(own_server, "start_child", refuse)
    forget_server()
    with using(prefect_process):
        yield prefect_process
    forget_server()


def forget_server() -> None:
    """Let the next command of this process look for a server anew."""
    own_server.begin_server.cache_clear()
    own_server.ensure_server.cache_clear()


@pytest.fixture(scope="module")
def prefect_fleet(prefect_process: PrefectServer) -> Iterator[PrefectServer]:
    """The session's server for all tests of a module that share their workers, which are gone from it afterwards."""
    with using(prefect_process):
        yield prefect_process
        with get_client(sync_client=True) as client, suppress(ObjectNotFound):
            client.delete_work_pool(POOL)  # a worker that was killed looks alive for a while
