"""The server of the pages, until Ctrl-C or SIGTERM."""

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click
import uvicorn

from deployments.browse.app import create_app
from deployments.browse.context import Browse
from deployments.prefect_server import address_host, is_loopback, running_up_address
from models.types import NightjarError
from storage.sql.browse.read_only import open_read_only
from storage.sql.database import open_database
from tasks.browse.links import DEFAULT_PORT, browse_lock, running_pages
from tasks.site.settings import Settings, prefect_password, prefect_ui_url, prepare_prefect, read_settings
from tasks.site.site import Site
from tasks.site.stores import artifact_store, keep_private
from tasks.text.log_lines import keep_log_lines_whole

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWERS_S = 2  # for answers that are being sent when the server stops
STOP_LIMIT_S = 5.0  # a query in a thread cannot be interrupted
LOCK_LIMIT_S = 1.0  # a command that looks for the pages holds the lock for a moment
QUEUE = 128


def serve(host: str, port: int | None, *, marks: bool = False) -> None:
    """Serve the pages until Ctrl-C or SIGTERM. If this home's are served already, say where. Raises NightjarError.

    port: 0 = any free one; None = DEFAULT_PORT, unless the pages are served elsewhere
    marks: let events be marked as right or wrong, which is the only thing that is written
    """
    settings = read_settings()
    prepare_prefect(settings)
    running = running_pages(settings)
    if running and port in (None, urlsplit(running).port):
        _say_where(running, marks)
        return
    password = _required_password(host)
    keep_private(settings)
    keep_log_lines_whole()
    with (
        closing(listen(host, DEFAULT_PORT if port is None else port)) as listener,
        _opened(settings, marks, password, host) as browse,
    ):
        url = f"http://{address_host(host)}:{listener.getsockname()[1]}"
        server = _Server(_config(browse))
        with server.capture_signals(), _announced(browse_lock(settings), url):  # from now on, not only while it runs
            click.echo(f"The pages are at {url}. Press Ctrl-C to stop.")
            server.run(sockets=[listener])
    click.echo("Stopped.")


def _say_where(running: str, marks: bool) -> None:
    if marks:
        raise NightjarError(
            f"The pages are already at {running}, and may be without marks. Stop them first, or choose another --port."
        )
    click.echo(f"The pages are already at {running}.")


@contextmanager
def _opened(settings: Settings, marks: bool, password: str | None, host: str) -> Iterator[Browse]:
    engine = open_read_only(settings.database)
    writable = open_database(settings.database) if marks else None
    try:
        hosts = () if password else (*LOOPBACK_NAMES, address_host(host.lower()))
        site = Site(settings, engine, artifact_store(settings))
        yield Browse(site, writable, password, hosts, _prefect_pages)
    finally:
        for each in (engine, writable):
            if each is not None:
                each.dispose()


def _prefect_pages() -> str | None:
    """Return the address of Prefect's pages: the configured one, or that of the `nightjar up` of this home."""
    return prefect_ui_url() or running_up_address()


def _required_password(host: str) -> str | None:
    """Return the password; None = there is none. Raises NightjarError beyond loopback without one."""
    password = prefect_password("server")
    if password is None and not is_loopback(host):
        raise NightjarError(
            f"--host {host} can be reached from other machines, and no password is set. Anyone who reaches the pages "
            "could watch the videos. Set PREFECT_SERVER_API_AUTH_STRING to user:password."
        )
    return password


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Return a socket that listens; port 0 = any free one. Raises NightjarError. option: that chose the port

    It listens at once: two processes may bind the same port before either of them does.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(QUEUE)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise NightjarError(
            f"Cannot listen on {host}, port {port} ({error}). Choose another {option} or --host."
        ) from None
    return listener


@contextmanager
def _announced(lock: Path, url: str) -> Iterator[None]:
    """Keep the address in a locked file while the server runs, for the links that commands print.

    A second server of the same home does not change it. The lock ends with this process, however that ends.
    """
    with lock.open("a+", encoding="utf-8") as file:
        if not _locked(file.fileno()):
            yield
            return
        try:
            file.truncate(0)
            file.write(url)
            file.flush()
            yield
        finally:
            file.truncate(0)


def _locked(file: int) -> bool:
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _config(browse: Browse) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(browse),
        log_level="warning",
        access_log=False,  # paths contain names of videos and texts of queries
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=ANSWERS_S,
    )


class _Server(uvicorn.Server):
    """A server that ends within STOP_LIMIT_S of the first signal, and at once at the second.

    uvicorn's own waits for queries, and raises the signal again at its end, which would skip the clean-up.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(1)
        self.should_exit = True
        watchdog = threading.Timer(STOP_LIMIT_S, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
