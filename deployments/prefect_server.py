"""A Prefect server for one command, where the user has none: it ends with the command, however that ends.

Prefect starts one by itself, but in the terminal's own process group: Ctrl-C kills it together with the flow, which
then waits minutes for an answer; and after SIGKILL it lives on for ever. Ours can be watched in a browser, too.
"""

import atexit
import ctypes
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import cache

import click

from models.types import NightjarError
from tasks.settings import prefect_api_url, use_prefect_api

HOST = "127.0.0.1"
START_LIMIT_S = 120.0  # a Raspberry Pi takes its time
STOP_LIMIT_S = 10.0
PR_SET_PDEATHSIG = 1


@cache
def ensure_server() -> None:
    """Prefect's API can be reached from now on until this process ends. Before Prefect is first imported.

    Raises NightjarError where the server does not start.
    """
    if prefect_api_url():
        return
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port), "--no-services"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the flow, which needs the server to say that it was cancelled
        preexec_fn=_end_with_parent,
    )
    atexit.register(_stop, server)
    _wait_until_up(server, port)
    use_prefect_api(f"http://{HOST}:{port}/api")
    click.echo(f"Watch it at http://{HOST}:{port} while it runs.", err=True)


def _end_with_parent() -> None:
    """In the child: SIGTERM when the parent is gone, even by SIGKILL. Linux only, like the devices."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_up(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise NightjarError(
                f"Prefect's server ended at its start with code {server.returncode}, expected it to run: "
                "'.venv/bin/prefect server start' says why"
            )
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise NightjarError(f"Prefect's server did not answer in {START_LIMIT_S:.0f} s: is the machine very busy?")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
