"""`nightjar up`: a Prefect server, the deployments, a worker here; Ctrl-C or SIGTERM ends all of it.

Each is a child of ours with a session of its own, which the kernel ends when we are gone, even by SIGKILL.
"""

import fcntl
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from deployments.deploy import NightSchedule, check_schedule, deploy
from deployments.prefect_database import place_database
from deployments.prefect_server import is_loopback, is_prefect, running_up, start_child, stop_child, wait_until_up
from deployments.worker import STOP_LIMIT_S
from models.inference.devices import check_device
from models.types import NightjarError
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


class Ended(Exception):
    """Ctrl-C or SIGTERM."""


def bring_up(host: str, port: int, night: NightSchedule, edge: str | None, fallback: str) -> None:
    """Run until Ctrl-C or SIGTERM. Where it runs already, bring that one up to date. Raises NightjarError.

    edge: a device to do segments with on this machine, too
    """
    prepare_prefect(read_settings())
    if edge:
        check_device(edge)
    if running := running_up():
        _bring_up_to_date(running, night, edge)
        return
    check_schedule(night)
    url = f"http://{_address(host)}:{port}"
    _lock_the_door(host)
    with _alone(prefect_home(), url), _signals_end_us(), _children() as children:
        _refuse_a_taken_port(host, port, url)
        children["Prefect's server"] = _start_server(host, port)
        wait_until_up(children["Prefect's server"], f"{url}/api")
        use_prefect_api(f"{url}/api")
        children["nightjar deploy"] = start_child(["-m", "deployments.cli", "deploy", *_words(night)])
        if children["nightjar deploy"].wait() != 0:
            raise NightjarError("the deployments were not made: the line above says why")
        del children["nightjar deploy"]
        children["the central worker"] = _start_worker("central", "CPU", "none", CENTRAL_RUNS)
        if edge:
            children["the edge worker"] = _start_worker("edge", edge, fallback)
        click.echo(f"The UI is at {url}. Ctrl-C ends all of it.")
        _watch(children)


def _bring_up_to_date(running: str, night: NightSchedule, edge: str | None) -> None:
    """Deploy the requested schedule to the server of the `nightjar up` that already runs in this home."""
    click.echo(f"'nightjar up' runs here already. The UI is at {running}.")
    deploy(night, running)
    if edge:
        raise NightjarError(
            "its workers stay as they are. Start one more with "
            f"'nightjar worker --pool edge --device {edge}', or end the first 'nightjar up' before this one"
        )


def _words(night: NightSchedule) -> list[str]:
    """Return the options of `nightjar deploy`."""
    return [word for name, value in asdict(night).items() if value for word in (f"--{name}", value)]


def _lock_the_door(host: str) -> None:
    """Beyond loopback there must be a password, and what we start here shows it."""
    password = prefect_password("server")
    if password and not prefect_password("client"):
        use_prefect_password(password)
    if not password and not is_loopback(host):
        raise NightjarError(
            f"--host {host} can be reached from other machines and no password is set, expected one: whoever reaches "
            "Prefect's server can run code here. Set PREFECT_SERVER_API_AUTH_STRING=user:password, and "
            "PREFECT_API_AUTH_STRING to the same for workers elsewhere"
        )


def _address(host: str) -> str:
    """Return the host as part of a URL; a server that listens everywhere listens on loopback, too."""
    if host in ("", "0.0.0.0"):  # noqa: S104 (compared, not listened on)
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


@contextmanager
def _alone(folder: Path, url: str) -> Iterator[None]:
    """Two servers on one SQLite file do every scheduled thing twice."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("prefect.db*"):
        file.chmod(0o600)  # older ones are readable by all
    with up_lock().open("a+", encoding="utf-8") as lock:
        up_lock().chmod(0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise NightjarError(
                f"'nightjar up' runs here already, at {lock.read().strip()}: 'nightjar deploy' brings it up to date, "
                "another NIGHTJAR_HOME gives you a second one"
            ) from None
        lock.truncate(0)
        lock.write(url)
        lock.flush()
        yield


def _refuse_a_taken_port(host: str, port: int, url: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return
        except (OSError, OverflowError) as error:
            reason = error
    if is_prefect(f"{url}/api"):
        raise NightjarError(
            f"a Prefect server answers at {url} already, expected nobody: 'nightjar deploy --server {url}/api' brings "
            "it up to date, --port takes another"
        )
    raise NightjarError(f"cannot listen on {host}, port {port} ({reason}): choose another --port or --host")


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
def _signals_end_us() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        for each in numbers:  # once is enough, and the end has its limits
            signal.signal(each, signal.SIG_IGN)
        raise Ended

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    except Ended:
        click.echo("Ended.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _children() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """End the children in reverse order: a worker tells the server the outcome of its runs."""
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        yield children
    finally:
        for child in reversed(children.values()):
            stop_child(child, STOP_LIMIT_S + 5)


def _watch(children: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                raise NightjarError(
                    f"{name} ended with code {child.returncode}, expected it to run: see above, and start again"
                )
        time.sleep(LOOK_EVERY_S)
