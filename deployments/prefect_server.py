"""A Prefect server as a child process: it ends with its parent, however that ends. And: is there one at an address?

Prefect starts one by itself, but in the terminal's own process group: Ctrl-C kills it together with the flow, which
then waits minutes for an answer; and after SIGKILL it lives on for ever. Ours can be watched in a browser, too.
"""

import atexit
import base64
import ctypes
import fcntl
import http.client
import ipaddress
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

import click

from deployments.prefect_database import place_database
from models.types import NightjarError, refuse_credentials
from tasks.site.settings import (
    environment_with,
    prefect_api_url,
    prefect_home,
    prefect_password,
    up_lock,
    use_prefect_api,
)
from tasks.waiting.outages import ServerAwayError

HOST = "127.0.0.1"
HERE = "http://127.0.0.1:4200/api"
CLOUD = "//api.prefect.cloud/"
START_LIMIT_S = 120.0  # a Raspberry Pi takes its time
STOP_LIMIT_S = 10.0
ANSWER_LIMIT_S = 10.0
PR_SET_PDEATHSIG = 1
IDLE_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)


@dataclass(frozen=True)
class OwnServer:
    """A server that this process has started, maybe still on its way, and the address of its API."""

    process: "subprocess.Popen[bytes]"
    api_url: str


@cache
def begin_server() -> OwnServer | None:
    """Start a server of this process's own without waiting for it; None: there is one to use already.

    It takes seconds, in which this process can import and check. Prefect may be imported from now on.
    """
    if prefect_api_url() or running_up():
        return None
    port = _free_port()
    place_database(prefect_home())
    command = ["-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    server = start_child(command, quiet=True, environment=environment_with(_one_run_services()))
    atexit.register(stop_child, server, 0.0)  # until it is up, it has nothing to write
    use_prefect_api(f"http://{HOST}:{port}/api")
    return OwnServer(server, f"http://{HOST}:{port}/api")


@cache
def ensure_server() -> None:
    """Wait until Prefect's API answers, here until this process ends or at the address that the user has set.

    Raises NightjarError where the server does not start.
    """
    if own := begin_server():
        wait_until_up(own.process, own.api_url)
        atexit.unregister(stop_child)
        atexit.register(stop_child, own.process)
        click.echo(f"Watch it at {own.api_url.removesuffix('/api')} while it runs.", err=True)
        return
    url = find_api(server_address(None))
    refuse_wrong_password(url)
    require_ready(url)
    use_prefect_api(url)


def _one_run_services() -> dict[str, str]:
    """For the server of a single run: the recorders of task runs and events work, without which its pages show no
    tasks. All that looks after schedules, workers and old runs is off: it costs CPU that the run needs."""
    return {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES}


def start_child(
    arguments: Sequence[str], *, quiet: bool = False, environment: Mapping[str, str] | None = None, umask: int = -1
) -> subprocess.Popen[bytes]:
    """Start this Python as a child that ends with us. Its own session keeps Ctrl-C from it: we end it in order.

    quiet: it prints nothing; umask: of its files
    """
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
        env=environment,
        umask=umask,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def wait_until_up(server: subprocess.Popen[bytes], api_url: str) -> None:
    """Wait for the server. Raises NightjarError if it ends or stays silent."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise NightjarError(
                f"Prefect's server ended at its start with code {server.returncode}, expected it to run: "
                "'.venv/bin/prefect server start' says why"
            )
        if is_prefect(api_url):
            return
        time.sleep(0.2)
    raise NightjarError(f"Prefect's server did not answer in {START_LIMIT_S:.0f} s: is the machine very busy?")


def stop_child(child: subprocess.Popen[bytes], limit_s: float = STOP_LIMIT_S) -> None:
    """Asks it to end, and ends it when it has not by then."""
    child.terminate()
    try:
        child.wait(limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean anything


def is_prefect(api_url: str) -> bool:
    """Return True if a Prefect server answers there, whatever its password."""
    return _ask(f"{api_url}/health", None) == (200, b"true")


def server_address(given: str | None) -> str:
    """Return the given address, the user's own, that of this home's `nightjar up`, or its default."""
    return given or prefect_api_url() or running_up() or HERE


def running_up() -> str | None:
    """Address of the pages of the `nightjar up` that runs in this home, on whatever port; None: none does."""
    try:
        with up_lock().open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return up_lock().read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
    return None


def find_api(address: str) -> str:
    """Find the API's address from that of a server, its pages or its API. Raises NightjarError if none answers."""
    refuse_credentials(address)
    candidates = api_candidates(address)
    if CLOUD in address:  # Prefect's own service tells nobody its health
        return candidates[0]
    for candidate in candidates:
        if is_prefect(candidate):
            return candidate
    kind = NightjarError if _answers(candidates[0]) else ServerAwayError
    raise kind(
        f"no Prefect server answers at {address}. Start one with 'nightjar up', or correct --server or PREFECT_API_URL"
    )


def _answers(url: str) -> bool:
    """Return True if something else answers there or the host does not exist: waiting would be in vain."""
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except socket.gaierror as error:
        return error.errno == socket.EAI_NONAME
    except ValueError:
        return True
    status, _ = _ask(url, None)
    return 0 < status < http.HTTPStatus.INTERNAL_SERVER_ERROR


def api_candidates(address: str) -> list[str]:
    """Addresses at which the API may be, by one that a browser or a person has: with and without /api, a UI page."""
    parts = urlsplit(address.strip() if "://" in address else f"http://{address.strip()}")
    origin = f"{parts.scheme}://{parts.netloc}"
    names = [name for name in parts.path.split("/") if name]
    paths = ["/".join(names[:length]) for length in range(len(names), -1, -1)]
    found = [f"{origin}/{path}".rstrip("/") for path in paths[:1]]
    found += [f"{origin}/{path}".rstrip("/") + "/api" for path in paths]
    return list(dict.fromkeys(found))


def require_server(address: str) -> str:
    """Return its API's address. Raises NightjarError if no Prefect server answers or it refuses us."""
    api_url = find_api(address)
    refuse_wrong_password(api_url)
    return api_url


def refuse_wrong_password(api_url: str) -> None:
    """Raise NightjarError if a server answers that rejects our password; silence is no answer."""
    status, _ = _ask(f"{api_url}/admin/version", prefect_password("client"))
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise NightjarError(
            f"the Prefect server at {api_url} refused us: set PREFECT_API_AUTH_STRING to its 'user:password'"
        )


def require_ready(api_url: str) -> None:
    """Raise ServerAwayError if the server answers and its database does not."""
    status, _ = _ask(f"{api_url}/ready", prefect_password("client"))
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        raise ServerAwayError(
            f"the Prefect server at {api_url} cannot reach its database. Start that, or see the server's log"
        )


def _ask(url: str, password: str | None) -> tuple[int, bytes]:
    """Status and beginning of the answer; 0 where nobody answers."""
    request = urllib.request.Request(url)  # noqa: S310 (http is what Prefect speaks)
    if password:
        request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as answer:  # noqa: S310
            return int(answer.status), answer.read(1000)
    except urllib.error.HTTPError as error:
        return error.code, b""
    except (OSError, ValueError, http.client.HTTPException):
        return 0, b""


def _end_with_parent() -> None:
    """Ask the kernel to send SIGTERM to this child when its parent ends, even by SIGKILL. Linux only."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
