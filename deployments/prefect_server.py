"""Start a Prefect server as a child process that ends with its parent, and find a server at an address.

Prefect's own temporary server shares the terminal's process group: Ctrl-C kills it together with the flow, which then
waits minutes for an answer, and after SIGKILL the server keeps running. This one also has a UI.
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
START_LIMIT_S = 120.0  # a Raspberry Pi is slow
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
    """A server that this process has started, which may still be starting, and the address of its API."""

    process: "subprocess.Popen[bytes]"
    api_url: str


def has_server() -> bool:
    """Return True if a server is configured, or that of this home's `nightjar up` runs. Call prepare_prefect first."""
    return bool(prefect_api_url() or running_up_address())


@cache
def begin_server() -> OwnServer | None:
    """Start a server for this process without waiting for it; None: another server is configured or running.

    The start takes seconds, in which this process can import and check. Prefect may be imported from now on.
    """
    if has_server():
        return None
    port = _free_port()
    place_database(prefect_home())
    command = ["-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    server = start_child(command, quiet=True, environment=environment_with(_one_run_services()))
    atexit.register(stop_child, server, 0.0)  # until it is up, it has nothing to write
    use_prefect_api(f"http://{HOST}:{port}/api", of_one_command=True)
    return OwnServer(server, f"http://{HOST}:{port}/api")


@cache
def ensure_server() -> None:
    """Wait until Prefect's API answers: that of this process's own server, or that of the configured one.

    Raises NightjarError if the server does not start or cannot be used.
    """
    if own := begin_server():
        wait_until_up(own.process, own.api_url)
        atexit.unregister(stop_child)
        atexit.register(stop_child, own.process)
        click.echo(f"The run can be watched at {own.api_url.removesuffix('/api')} until it ends.", err=True)
        return
    url = find_api(server_address(None))
    refuse_wrong_password(url)
    require_ready(url)
    use_prefect_api(url)


def _one_run_services() -> dict[str, str]:
    """Return the settings of a server for a single run.

    Services for schedules, workers and old runs are off, to save CPU time. The recorders of task runs and events stay
    on, since the UI shows no tasks without them.
    """
    return {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES}


def start_child(
    arguments: Sequence[str],
    *,
    quiet: bool = False,
    silent: bool = False,
    environment: Mapping[str, str] | None = None,
    umask: int = -1,
) -> subprocess.Popen[bytes]:
    """Start this Python as a child that ends with this process. A session of its own protects it from Ctrl-C.

    quiet: discard its output; silent: discard its standard output, but not its errors
    umask: permissions that its files lack
    """
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet or silent else None,
        stderr=subprocess.DEVNULL if quiet else None,
        env=environment,
        umask=umask,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def wait_until_up(server: subprocess.Popen[bytes], api_url: str) -> None:
    """Wait until the server answers. Raises NightjarError if it ends or does not answer in time."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise NightjarError(
                f"Prefect's server ended with code {server.returncode} while it started. Run "
                "'.venv/bin/prefect server start' to see the reason."
            )
        if is_prefect(api_url):
            return
        time.sleep(0.2)
    raise NightjarError(
        f"Prefect's server did not answer within {START_LIMIT_S:.0f} s. Check the load of this machine and try again."
    )


def stop_child(child: subprocess.Popen[bytes], limit_s: float = STOP_LIMIT_S) -> None:
    """Send SIGTERM, and SIGKILL after limit_s."""
    child.terminate()
    try:
        child.wait(limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach a server that listens on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a host name may have any address


def address_host(host: str) -> str:
    """Return the host for a URL; loopback for a server that listens on all addresses."""
    if host in ("", "0.0.0.0"):  # noqa: S104 (compared, not listened on)
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def is_prefect(api_url: str) -> bool:
    """Return True if a Prefect server answers at this address, whatever its password."""
    return _ask(f"{api_url}/health", None) == (200, b"true")


def server_address(given: str | None) -> str:
    """Return the given address, PREFECT_API_URL, the address of this home's `nightjar up`, or the default."""
    return given or prefect_api_url() or running_up_address() or HERE


def running_up_address() -> str | None:
    """Return the UI's address of the `nightjar up` that runs in this home; None if none runs."""
    try:
        with up_lock().open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return up_lock().read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
    return None


def find_api(address: str) -> str:
    """Find the API from the address of a server, its UI or its API. Raises NightjarError if none answers."""
    refuse_credentials(address)
    candidates = api_candidates(address)
    if CLOUD in address:  # Prefect Cloud has no public health check
        return candidates[0]
    for candidate in candidates:
        if is_prefect(candidate):
            return candidate
    kind = NightjarError if _answers(candidates[0]) else ServerAwayError
    raise kind(
        f"No Prefect server answers at {address}. Start one with 'nightjar up', or correct --server or PREFECT_API_URL."
    )


def _answers(url: str) -> bool:
    """Return True if waiting is useless: another server answers, or the host does not exist."""
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except socket.gaierror as error:
        return error.errno == socket.EAI_NONAME
    except ValueError:
        return True
    status, _ = _ask(url, None)
    return 0 < status < http.HTTPStatus.INTERNAL_SERVER_ERROR


def api_candidates(address: str) -> list[str]:
    """Return possible addresses of the API for a given one, which may be a UI page, with or without /api."""
    parts = urlsplit(address.strip() if "://" in address else f"http://{address.strip()}")
    origin = f"{parts.scheme}://{parts.netloc}"
    names = [name for name in parts.path.split("/") if name]
    paths = ["/".join(names[:length]) for length in range(len(names), -1, -1)]
    found = [f"{origin}/{path}".rstrip("/") for path in paths[:1]]
    found += [f"{origin}/{path}".rstrip("/") + "/api" for path in paths]
    return list(dict.fromkeys(found))


def require_server(address: str) -> str:
    """Return the API's address. Raises NightjarError if no Prefect server answers or it refuses the password."""
    api_url = find_api(address)
    refuse_wrong_password(api_url)
    return api_url


def refuse_wrong_password(api_url: str) -> None:
    """Raise NightjarError if a server rejects the password. A server that does not answer is ignored."""
    status, _ = _ask(f"{api_url}/admin/version", prefect_password("client"))
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise NightjarError(
            f"The Prefect server at {api_url} refused the password. Set PREFECT_API_AUTH_STRING to its 'user:password'."
        )


def require_ready(api_url: str) -> None:
    """Raise ServerAwayError if the server answers but its database does not."""
    status, _ = _ask(f"{api_url}/ready", prefect_password("client"))
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        raise ServerAwayError(
            f"The Prefect server at {api_url} cannot reach its database. Start the database, or read the server's log."
        )


def _ask(url: str, password: str | None) -> tuple[int, bytes]:
    """Return status and start of the answer; status 0 if there is no answer."""
    request = urllib.request.Request(url)  # noqa: S310 (Prefect uses http)
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
