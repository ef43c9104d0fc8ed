"""The pages over a home of its own, by their real server on loopback, and a browser."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from selenium import webdriver
from starlette.applications import Starlette
from starlette.testclient import TestClient

from deployments.browse.app import create_app
from deployments.browse.context import Browse
from deployments.browse.serve import listen
from storage.sql.browse.read_only import open_read_only
from storage.sql.database import open_database
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.site.stores import artifact_store
from tests.chromium import chromium, complaints
from tests.servers_postgres import write_migrated

START_LIMIT_S = 60.0


def open_browse(settings: Settings, *, marks: bool = False) -> Browse:
    """Return the state of pages over the home of these settings, as `nightjar browse` has it."""
    engine = open_read_only(settings.database)
    writable = open_database(settings.database) if marks else None
    hosts = ("127.0.0.1", "localhost", "testserver")
    return Browse(Site(settings, engine, artifact_store(settings)), writable, None, hosts)


def client_of(browse: Browse) -> TestClient:
    """Return a client of the application without a network."""
    return TestClient(create_app(browse), raise_server_exceptions=False)


def state_of(client: TestClient) -> Any:
    """Return the state of a client's application."""
    return cast(Starlette, client.app).state


@contextmanager
def served(browse: Browse) -> Iterator[str]:
    """Serve the pages in a thread. Yields their address."""
    with closing(listen("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(browse), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_LIMIT_S
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(START_LIMIT_S)


Serve = Callable[[Browse], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(browse): its address, until the test ends."""
    with ExitStack() as stack:
        yield lambda browse: stack.enter_context(served(browse))


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def browser(shared_browser: webdriver.Chrome) -> webdriver.Chrome:
    """A browser that the tests of this process share. Mark tests that use it with `needs_chromium`."""
    complaints(shared_browser)  # those of the test before
    return shared_browser


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home without rows."""
    write_migrated(tmp_path / "home" / "nightjar.db")
    return Settings(home=tmp_path / "home", _env_file=None)
