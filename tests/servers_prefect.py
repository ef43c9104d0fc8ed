"""A real Prefect server on PostgreSQL for a fleet's tests, with its services: it can be killed and started again.

On SQLite it stalls for a minute at a time as soon as a few workers poll it.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

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
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
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
def running_prefect(home: Path, database_url: str, **settings: str) -> Iterator[PrefectServer]:
    """A server, and this process's Prefect talks to it."""
    server = PrefectServer(home, database_url, **settings)
    server.start()
    try:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield server
    finally:
        # What is left to send is sent now: at this process's end Prefect would knock at the dead server for a minute.
        APILogWorker.drain_all(timeout=10)
        EventsWorker.drain_all(timeout=10)
        server.kill()


@pytest.fixture(scope="module")
def prefect_fleet(pg_admin_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One for all tests of a module, in a database of its own."""
    name = f"prefect_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(pg_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        base = pg_admin_url.rsplit("/", 1)[0]
        with running_prefect(tmp_path_factory.mktemp("prefect"), f"{base}/{name}") as server:
            yield server
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
