"""`nightjar up`: run a Prefect server, the pages and a worker on this machine, and deploy the flows, until Ctrl-C.

Server, pages and workers are children with sessions of their own. The kernel ends them with their parent, even after
SIGKILL.
"""

import fcntl
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import click

from deployments.deploy import NightSchedule, check_schedule, deploy
from deployments.prefect_database import place_database
from deployments.prefect_server import (
    address_host,
    is_loopback,
    is_prefect,
    running_up_address,
    start_child,
    stop_child,
    wait_until_up,
)
from deployments.worker import STOP_LIMIT_S
from models.inference.devices import check_device
from models.types import NightjarError
from tasks.browse.links import running_pages
from tasks.site.settings import (
    prefect_home,
    prefect_password,
    prefect_server_environment,
    prepare_prefect,
    read_settings,
    up_lock,
    use_prefect_api,
    use_prefect_password,
)

CENTRAL_RUNS = 3  # a batch, a conversion and a training
OWNER_ONLY = 0o077
LOOK_EVERY_S = 0.5
PAGES = "pages"
RESTART_AFTER_S = 30.0  # a stopped database ends the pages, which the nights wait for


class StopRequested(Exception):
    """Ctrl-C or SIGTERM."""


@dataclass(frozen=True)
class Listeners:
    """The services that listen. marks: events can be marked on the pages"""

    host: str
    port: int
    browse_port: int
    marks: bool = False

    @property
    def url(self) -> str:
        """Address of Prefect's UI."""
        return f"http://{address_host(self.host)}:{self.port}"

    @property
    def pages_url(self) -> str:
        return f"http://{address_host(self.host)}:{self.browse_port}"


def bring_up(services: Listeners, night: NightSchedule, edge: str | None, fallback: str) -> None:
    """Run until Ctrl-C or SIGTERM. If it runs already, only update its deployments. Raises NightjarError.

    edge: device on which this machine processes segments, too
    """
    prepare_prefect(read_settings())
    if edge:
        check_device(edge)
    if running := running_up_address():
        _update_running(running, night, edge)
        return
    check_schedule(night)
    url = services.url
    _require_password(services.host)
    with _only_instance(prefect_home(), url), _stop_on_signals(), _stopping_children() as children:
        _check_port(services)
        pages = _serve_pages(services, children)
        children["prefect server"] = _start_server(services.host, services.port)
        wait_until_up(children["prefect server"], f"{url}/api")
        use_prefect_api(f"{url}/api")
        children["nightjar deploy"] = start_child(["-m", "deployments.cli", "deploy", *_deploy_options(night)])
        if children["nightjar deploy"].wait() != 0:
            raise NightjarError("The deployments were not created. Correct the error in the line above.")
        del children["nightjar deploy"]
        children["central worker"] = _start_worker("central", "CPU", "none", CENTRAL_RUNS)
        if edge:
            children["edge worker"] = _start_worker("edge", edge, fallback)
        click.echo(f"The pages of results are at {pages}.")
        click.echo(f"The UI is at {url}. Press Ctrl-C to stop everything.")
        _watch(children, services)


def _update_running(running: str, night: NightSchedule, edge: str | None) -> None:
    """Deploy the requested schedule to the server of the `nightjar up` that already runs in this home."""
    click.echo(f"'nightjar up' is already running here. The UI is at {running}.")
    if pages := running_pages(read_settings()):
        click.echo(f"The pages of results are at {pages}.")
    deploy(night, running)
    if edge:
        raise NightjarError(
            "The workers of the running 'nightjar up' were not changed. Start an edge worker with "
            f"'nightjar worker --pool edge --device {edge}', or stop the running 'nightjar up' first."
        )


def _deploy_options(night: NightSchedule) -> list[str]:
    """Return the options of `nightjar deploy`."""
    return [word for name, value in asdict(night).items() if value for word in (f"--{name}", value)]


def _require_password(host: str) -> None:
    """Require a password beyond loopback, and let workers started here use it."""
    password = prefect_password("server")
    if password and not prefect_password("client"):
        use_prefect_password(password)
    if not password and not is_loopback(host):
        raise NightjarError(
            f"--host {host} can be reached from other machines, and no password is set. Anyone who reaches Prefect's "
            "server could run code here. Set PREFECT_SERVER_API_AUTH_STRING to user:password, and "
            "PREFECT_API_AUTH_STRING to the same value for workers on other machines."
        )


@contextmanager
def _only_instance(folder: Path, url: str) -> Iterator[None]:
    """Hold the lock of this home: two servers on one SQLite file would start every scheduled run twice."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("prefect.db*"):
        file.chmod(0o600)  # older versions left them readable by all
    with up_lock().open("a+", encoding="utf-8") as lock:
        up_lock().chmod(0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise NightjarError(
                f"'nightjar up' is already running here, at {lock.read().strip()}. Run 'nightjar deploy' to update it. "
                "Give a second one another NIGHTJAR_HOME."
            ) from None
        lock.truncate(0)
        lock.write(url)
        lock.flush()
        yield


def _check_port(services: Listeners) -> None:
    reason = _why_taken(services.host, services.port)
    if reason is None:
        return
    if is_prefect(f"{services.url}/api"):
        raise NightjarError(
            f"A Prefect server is already running at {services.url}. Run 'nightjar deploy --server {services.url}/api' "
            "to update it, or choose another --port."
        )
    raise NightjarError(
        f"Cannot listen on {services.host}, port {services.port} ({reason}). Choose another --port or --host."
    )


def _why_taken(host: str, port: int) -> Exception | None:
    """Return the reason why a server cannot listen here; None = it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            return error
    return None


def _serve_pages(services: Listeners, children: dict[str, subprocess.Popen[bytes]]) -> str:
    """Start the pages and return their address, or that of the `nightjar browse` that runs in this home already."""
    if running := running_pages(read_settings()):
        return running
    if reason := _why_taken(services.host, services.browse_port):
        raise NightjarError(
            f"Cannot listen on {services.host}, port {services.browse_port} ({reason}). Choose another --browse-port."
        )
    children[PAGES] = _start_pages(services)
    return services.pages_url


def _start_pages(services: Listeners) -> subprocess.Popen[bytes]:
    arguments = ["browse", "--host", services.host, "--port", str(services.browse_port)]
    marks = ["--marks"] if services.marks else []
    return start_child(["-m", "deployments.cli", *arguments, *marks], silent=True)


def _start_server(host: str, port: int) -> subprocess.Popen[bytes]:
    place_database(prefect_home())
    arguments = ["server", "start", "--host", host, "--port", str(port), "--log-level", "WARNING"]
    return start_child(
        ["-m", "prefect", *arguments], environment=prefect_server_environment(), umask=OWNER_ONLY, quiet=True
    )


def _start_worker(pool: str, device: str, fallback: str, limit: int = 2) -> subprocess.Popen[bytes]:
    arguments = ["worker", "--pool", pool, "--device", device, "--fallback", fallback, "--limit", str(limit)]
    return start_child(["-m", "deployments.cli", *arguments])


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        for each in numbers:  # ignore further signals: stopping has a time limit
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    except StopRequested:
        click.echo("Stopped.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _stopping_children() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Stop the children in reverse order, so that a worker can report its runs to the server."""
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        yield children
    finally:
        for child in reversed(children.values()):
            stop_child(child, STOP_LIMIT_S + 5)


def _watch(children: dict[str, subprocess.Popen[bytes]], services: Listeners) -> None:
    """Look after the children until one ends. Only the pages may end: no night depends on them."""
    restart_at: float | None = None
    while True:
        for name, child in children.items():
            if child.poll() is not None and name != PAGES:
                raise NightjarError(
                    f"The process {name!r} ended with code {child.returncode}. Read its messages above, then run "
                    "'nightjar up' again."
                )
        restart_at = _revive_pages(children, services, restart_at)
        time.sleep(LOOK_EVERY_S)


def _revive_pages(
    children: dict[str, subprocess.Popen[bytes]], services: Listeners, restart_at: float | None
) -> float | None:
    """Start ended pages again after RESTART_AFTER_S. Returns the time of the restart, None if none is due."""
    child = children.get(PAGES)
    if child is None or child.poll() is None:
        return None
    if restart_at is None:
        what = f"The pages ended with code {child.returncode}. They start again in {RESTART_AFTER_S:.0f} s."
        click.echo(what, err=True)
        return time.monotonic() + RESTART_AFTER_S
    if time.monotonic() < restart_at:
        return restart_at
    children[PAGES] = _start_pages(services)
    return None
