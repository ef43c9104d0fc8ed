"""Children of the sandbox that are forked from a process with all imports done, for tests that need many of them.

A child as users start it imports for 0.3 s, and 4 s for TensorFlow. A forked one has the same working folder,
environment, umask, standard output and error as a started one, and is limited and confined by the same code. The tests
of the sandbox itself, and all commands that tests start as processes, use children as users start them.
"""

import gc
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from storage.sandbox.child import serve
from storage.sandbox.parent import Sandbox

NUMBER = struct.Struct("<i")
MESSAGE_BYTES = 1 << 17
VIDEOS = ("storage.video.probe", "tasks.segment.sandboxed", "storage.parquet")
CONVERSIONS = ("tasks.model.confined_conversion", "models.conversion.convert")
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tests.forked_sandboxes import run_template; "
    "run_template(int(sys.argv[2]), sys.argv[3:])"
)


class ForkedProcess:
    """A forked child, with the meanings of subprocess.Popen. The template's keeper of it sends its exit status."""

    def __init__(self, status: socket.socket) -> None:
        """status: receives the child's process id, and when it has ended its wait status"""
        self._status = status
        self._code: int | None = None
        self.pid = self._number(None)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0.0 if self._code is None and _runs(self.pid) else None)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(self._number(timeout))
            self._status.close()
        return self._code

    def kill(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, signal.SIGKILL)

    def _number(self, timeout: float | None) -> int:
        self._status.settimeout(timeout)
        try:
            message = self._status.recv(NUMBER.size)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired("a forked sandbox", timeout or 0.0) from None
        if not message:
            raise RuntimeError("The template or a child's keeper has ended. Its error is on standard error.")
        return int(NUMBER.unpack(message)[0])


class Template:
    """A process that has imported these modules and has one thread, which forks a copy of itself for each request."""

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Template":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._control.close()
            self._process.wait(10)

    def start_process(self, channel_fd: int, lifeline_fd: int) -> ForkedProcess:
        """Replace Sandbox.start_process. The template starts with the first child."""
        mine, status = socket.socketpair()
        with status, self._lock:
            if self._process is None:
                self._begin()
            request = json.dumps({"folder": str(Path.cwd()), "environment": dict(os.environ), "umask": _umask()})
            descriptors = [channel_fd, lifeline_fd, status.fileno(), 1, 2]
            socket.send_fds(self._control, [request.encode()], descriptors)
        return ForkedProcess(mine)

    def _begin(self) -> None:
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            descriptor = control.fileno()
            # One thread, as a fork copies only the thread that calls it.
            one_thread = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(sys.path), str(descriptor), *self._modules],
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                env={**os.environ, **one_thread},
            )


def run_template(control_fd: int, modules: list[str]) -> None:
    """Fork for each request until the tests have ended."""
    before = set(os.environ)
    for module in modules:
        importlib.import_module(module)
    added = {name: value for name, value in os.environ.items() if name not in before}  # by the imports
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"The template has {threads} threads, and a fork would copy one.")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then end this process
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=control_fd)
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 5)
        if not request:
            return
        if not os.fork():
            control.close()
            _keep(json.loads(request), added, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(
    request: dict[str, Any], added: dict[str, str], channel_fd: int, lifeline_fd: int, status_fd: int, *output: int
) -> None:
    """Fork the child, wait for its end, and report both. Ends this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.close(status_fd)
        request["environment"].update(added)
        _run_child(request, output, lambda: serve(channel_fd, lifeline_fd))
    for descriptor in (channel_fd, lifeline_fd, *output):
        os.close(descriptor)
    with suppress(BrokenPipeError):  # a closed sandbox does not ask how its child ended
        os.write(status_fd, NUMBER.pack(pid))
        os.write(status_fd, NUMBER.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _run_child(request: dict[str, Any], output: tuple[int, ...], run: Callable[[], None]) -> None:
    """Become what a started child would be, and run. Ends this process."""
    code = 1
    try:
        for number, descriptor in enumerate(output, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        with suppress(FileNotFoundError):
            os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.umask(request["umask"])
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _runs(pid: int) -> bool:
    """Return False for a process that has ended, also if its end was not reported yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _umask() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("Umask:")[2].split()[0], 8)


@contextmanager
def forked(monkeypatch: pytest.MonkeyPatch, videos: Template, conversions: Template) -> Iterator[None]:
    """Fork the children of this process's sandboxes: of conversions from the second template."""

    class ConversionSandbox(Sandbox):
        start_process = staticmethod(conversions.start_process)

    with monkeypatch.context() as patched:
        patched.setattr(Sandbox, "start_process", staticmethod(videos.start_process))
        patched.setattr("tasks.model.confined_conversion.Sandbox", ConversionSandbox)
        yield


@pytest.fixture(scope="session")
def sandbox_templates() -> Iterator[tuple[Template, Template]]:
    """Processes to fork sandboxes from, which start when they are needed."""
    with Template(*VIDEOS) as videos, Template(*CONVERSIONS) as conversions:
        yield videos, conversions


@pytest.fixture
def forked_sandboxes(sandbox_templates: tuple[Template, Template], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fork the sandboxes that this process starts during the test."""
    with forked(monkeypatch, *sandbox_templates):
        yield
