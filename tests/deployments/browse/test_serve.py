"""The server of the pages as a process: where it listens, what a second one does, and how it ends."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from deployments.browse.app import create_app
from deployments.browse.context import browse_of
from deployments.browse.serve import listen
from models.types import NightjarError
from storage.sql.database import reading
from tasks.browse.links import browse_lock, running_pages
from tasks.site.settings import Settings
from tests.chaos.processes import Database
from tests.deployments.browse.conftest import open_browse
from tests.deployments.running import basic, environment, wait_for

LIMIT_S = 60.0
COMMAND = (sys.executable, "-m", "deployments.cli", "browse")


@contextmanager
def browsing(home: Path, *options: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A running `nightjar browse`, after it has said where it listens."""
    with (home / "said").open("w") as said:
        process = subprocess.Popen(
            [*COMMAND, "--port", "0", *options],
            env=environment(home, **more),
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        wait_for(lambda: said_by(home) or process.poll() is not None, LIMIT_S, lambda: "no output")
        yield process
    finally:
        process.kill()
        process.wait(LIMIT_S)


def said_by(home: Path) -> str:
    return (home / "said").read_text()


def settings_of(home: Path) -> Settings:
    return Settings(home=home, _env_file=None)


def ask(url: str, password: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": basic(password)} if password else {})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def again(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options], env=environment(home), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_it_says_where_it_is_to_commands_and_to_a_second_one_and_ends_cleanly(tmp_path: Path) -> None:
    with browsing(tmp_path) as process:
        url = running_pages(settings_of(tmp_path))
        assert url is not None
        assert said_by(tmp_path) == f"The pages are at {url}. Press Ctrl-C to stop.\n"
        assert ask(f"{url}/") == 200
        second = again(tmp_path)
        assert (second.returncode, second.stdout) == (0, f"The pages are already at {url}.\n"), second.stderr
        marks = again(tmp_path, "--marks")
        assert marks.returncode == 1
        assert "choose another --port" in marks.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert said_by(tmp_path).endswith("\nStopped.\n")
        assert running_pages(settings_of(tmp_path)) is None
        assert browse_lock(settings_of(tmp_path)).read_text() == ""
    assert [path for path in tmp_path.rglob("*") if path.name != "said" and path.stat().st_mode & 0o077] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_after_any_end_the_address_is_not_given_any_more(tmp_path: Path, number: signal.Signals) -> None:
    with browsing(tmp_path) as process:
        assert running_pages(settings_of(tmp_path))
        process.send_signal(number)
        assert process.wait(LIMIT_S) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert running_pages(settings_of(tmp_path)) is None


def test_on_every_address_it_asks_for_the_password(tmp_path: Path) -> None:
    """Also on IPv6, and whatever the host is called."""
    password = {"PREFECT_SERVER_API_AUTH_STRING": "eve:secret"}
    with browsing(tmp_path, "--host", "::", **password):
        url = str(running_pages(settings_of(tmp_path)))
        port = url.rpartition(":")[2]
        assert url == f"http://[::1]:{port}"
        for host in (f"http://127.0.0.1:{port}", url):
            assert (ask(host), ask(host, "eve:wrong"), ask(host, "eve:secret")) == (401, 401, 200)
        assert "secret" not in said_by(tmp_path)


def test_a_taken_port_is_an_error_before_anything_else(tmp_path: Path) -> None:
    with closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = again(tmp_path, "--port", str(port))
    assert failed.returncode == 1
    assert f"Cannot listen on 127.0.0.1, port {port}" in failed.stderr
    assert "Choose another --port or --host" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert not (tmp_path / "nightjar.db").exists()


def test_two_servers_cannot_have_one_port() -> None:
    """With SO_REUSEADDR both could bind it, if neither listened yet."""
    with closing(listen("127.0.0.1", 0)) as first, pytest.raises(NightjarError, match="Choose another --port"):
        listen("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.1", "::"])
def test_every_kind_of_host_can_be_listened_on(host: str) -> None:
    with closing(listen(host, 0)) as listener:
        name = "::1" if ":" in host else "127.0.0.1"
        with socket.create_connection((name, listener.getsockname()[1]), timeout=LIMIT_S) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getpeername()[1] == client.getsockname()[1]


@pytest.mark.parametrize("host", ["no such host", "256.1.1.1", "x" * 300, "192.0.2.1"])
def test_a_wrong_host_is_an_error_of_one_line(host: str) -> None:
    with pytest.raises(NightjarError, match="Cannot listen on") as caught:
        listen(host, 0)
    assert "\n" not in str(caught.value)


def videos_page(request: Request) -> Response:
    with reading(browse_of(request).site.engine) as connection:
        return PlainTextResponse(str(connection.execute(text("SELECT count(*) FROM videos")).scalar()))


def test_a_stopped_database_is_a_page_with_a_remedy_and_comes_back(tmp_path: Path) -> None:
    database = Database()
    try:
        database.start()
        app = create_app(open_browse(Settings(home=tmp_path, database_url=database.url, _env_file=None)))
        app.router.routes.insert(0, Route("/count", videos_page))
        client = TestClient(app, raise_server_exceptions=False)
        assert (client.get("/count").status_code, client.get("/count").text) == (200, "0")
        database.kill()
        stopped = client.get("/count")
        assert stopped.status_code == 503
        assert "Start the PostgreSQL server" in stopped.text
        assert make_url(database.url).password not in stopped.text
        database.start()
        assert (client.get("/count").status_code, client.get("/count").text) == (200, "0")
    finally:
        database.remove()
