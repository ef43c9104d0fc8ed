"""Finding a Prefect server by any of its addresses."""

import fcntl
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deployments.prefect_server import HERE, api_candidates, find_api, require_ready, running_up_address, server_address
from models.types import NightjarError
from tasks.site.settings import up_lock
from tasks.waiting.outages import ServerAwayError


@contextmanager
def answering(status_of: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """The address of a server. status_of: path -> status and body"""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = status_of(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def origin() -> Iterator[str]:
    """A server that answers as Prefect's does below /api and, as behind a proxy, below /prefect/api.

    The first one's database is down.
    """

    def answer(path: str) -> tuple[int, bytes]:
        known = path in ("/api/health", "/prefect/api/health")
        return 503 if path == "/api/ready" else 200, json.dumps(True).encode() if known else b"<html>"

    with answering(answer) as address:
        yield address


@pytest.mark.parametrize(
    ("typed", "api"),
    [
        ("", "/api"),
        ("/", "/api"),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/dashboard", "/api"),
        ("/runs/flow-run/0190-1234?tab=Logs", "/api"),
        ("/prefect/api", "/prefect/api"),
        ("/prefect", "/prefect/api"),
        ("/prefect/dashboard", "/prefect/api"),
    ],
)
def test_the_api_is_found_by_any_of_its_addresses(origin: str, typed: str, api: str) -> None:
    assert find_api(origin + typed) == origin + api


def test_a_server_with_an_unavailable_database_is_waited_for(origin: str) -> None:
    """Like Prefect's own server: healthy, but not ready."""
    with pytest.raises(ServerAwayError, match="cannot reach its database"):
        require_ready(f"{origin}/api")
    require_ready(f"{origin}/prefect/api")


def _answer(status: int, body: bytes, path: str) -> tuple[int, bytes]:
    return status, body


def test_only_a_starting_server_is_waited_for() -> None:
    for status in (502, 503):  # of a proxy in front of it
        with answering(partial(_answer, status, b"")) as address, pytest.raises(ServerAwayError):
            find_api(address)
    for status in (200, 401, 404):
        with answering(partial(_answer, status, b"<html>")) as address:
            with pytest.raises(NightjarError, match="No Prefect server answers") as refused:
                find_api(address)
            assert not isinstance(refused.value, ServerAwayError)


def test_an_address_without_a_scheme_is_accepted(origin: str) -> None:
    assert find_api(origin.removeprefix("http://")) == f"{origin}/api"


def test_a_missing_server_gives_one_sentence() -> None:
    with pytest.raises(ServerAwayError, match=r"No Prefect server answers at http://127\.0\.0\.1:1"):
        find_api("http://127.0.0.1:1")
    with pytest.raises(NightjarError, match="contains a user name or a password") as caught:
        find_api("http://me:hunter2@127.0.0.1:1")
    assert "hunter2" not in str(caught.value)


def test_a_server_without_a_health_route_is_accepted() -> None:
    cloud = "https://api.prefect.cloud/api/accounts/1/workspaces/2"
    assert find_api(cloud) == cloud
    assert api_candidates(cloud)[0] == cloud


def test_only_a_running_nightjar_up_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert running_up_address() is None
    up_lock().write_text("http://127.0.0.1:4321")
    assert running_up_address() is None, "it ended, or was killed"
    with up_lock().open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running_up_address() == "http://127.0.0.1:4321"
        assert server_address(None) == "http://127.0.0.1:4321"
        assert server_address("http://else") == "http://else"
        (tmp_path / ".env").write_text("PREFECT_API_URL=http://mine:4200/api\n")
        assert server_address(None) == "http://mine:4200/api"
    (tmp_path / ".env").unlink()
    assert server_address(None) == HERE
