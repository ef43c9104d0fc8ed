"""Run functions on hostile files in a child process with limits on memory and CPU. Knows nothing of videos.

One child serves many calls; after its death the next call starts another. The child's answers are read as JSON and raw
numbers (storage/sandbox/wire.py), never unpickled: a compromised decoder can lie, but it runs nothing here.
The child is `python -c`, so that no main module, console script or worker is imported a second time, and no thread of
the parent is forked. It ends with its parent; the memory they share has no name, so nothing is left behind.
"""

import fcntl
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.types import AttemptError, NightjarError, TooSlowError, VideoError
from storage.sandbox import wire
from storage.sandbox.child import (
    CLOSE,
    CPU_SIGNAL,
    RELEASE,
    Request,
    send_request,
    shared_slots,
    slot_bytes,
    slot_views,
)
from storage.sandbox.entry_points import ENTRY_POINTS

MEMORY_BYTES = 4 << 30
IDLE_S = 300.0  # a child that owes an answer and uses no CPU for this time is stuck, perhaps on a dead network disk
CLOSE_S = 2.0  # time for a stream that is closed early to stop, before its child is ended
RELEASES_PER_ROUND = 4  # messages about released slots, each of a quarter of them
REPLACE_FILE = "Replace the file: it is damaged, too large, or made to harm."
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from storage.sandbox.child import serve; serve({}, {})"
)
F_ADD_SEALS, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1033, 1, 2, 4  # Linux, not in the fcntl module of Python 3.11


# Signals of a program's own faults, on any processor (a failed assertion is SIGILL or SIGTRAP): the input's fault.
# Every other signal comes from outside, SIGKILL from the kernel that is out of memory, SIGTERM from earlyoom.
OWN_SIGNALS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGTRAP,
        CPU_SIGNAL,
        signal.SIGSYS,
    }
)


class SandboxError(NightjarError):
    """The input of a call made the child crash, exceed a limit or send nonsense. The text is a reason for users."""


class SandboxKilled(AttemptError):
    """The child was ended from outside, or waited for a disk that did not answer: its input may be fine."""


class ChildProcess(Protocol):
    """A running child, with the meanings of subprocess.Popen."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


class _Child(NamedTuple):
    process: ChildProcess
    channel: socket.socket
    inbox: wire.Inbox
    lifeline: socket.socket


class Sandbox:
    """A context manager for calls in a child, which starts at the first call. For one thread at a time."""

    def __init__(
        self, memory_bytes: int = MEMORY_BYTES, entry_points: Collection[tuple[str, str]] = ENTRY_POINTS
    ) -> None:
        """Set the limits. memory_bytes: address space that a call may take beyond that of the loaded libraries.

        entry_points: functions that may be run, as (module, name)
        """
        self._memory_bytes = memory_bytes
        self._entry_points = entry_points
        self._child: _Child | None = None
        self._stream: Stream | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the current child; None before the first call."""
        return self._child.process.pid if self._child else None

    def close(self) -> None:
        """End the child, whatever it does."""
        if self._child is not None:
            self._end()

    def call(self, function: Callable[..., Any], *args: Any, cpu_s: float, wall_s: float = math.inf) -> Any:
        """Call a module-level function. It returns numbers, texts, numeric arrays, lists and dicts (tuples as lists).

        Raises VideoError or AttemptError as the function raised it, TooSlowError after wall_s,
        SandboxKilled where the child was killed from outside, SandboxError where the function failed otherwise,
        crashed or exceeded a limit.
        """
        return self.begin(function, *args, cpu_s=cpu_s, wall_s=wall_s)()

    def begin(
        self, function: Callable[..., Any], *args: Any, cpu_s: float, wall_s: float = math.inf
    ) -> Callable[[], Any]:
        """Start a call and return a function that waits for its result, as `call` does and with the same errors.

        Both processes work meanwhile. Wait for the result before the next call.
        """
        self._ask(function, args, cpu_s, None, 0)
        return partial(self._result, cpu_s, wall_s)

    def _result(self, cpu_s: float, wall_s: float) -> Any:
        answer = self._receive(cpu_s, wall_s)
        if "result" not in answer:
            self._raise(answer)
        return answer["result"]

    def stream(
        self, function: Callable[..., Any], *args: Any, shape: tuple[int, ...], slots: int, cpu_s: float
    ) -> "Stream":
        """Stream the items of a module-level generator `function(slots, *args)` through `slots` arrays of `shape`.

        For each item the generator calls `next(slots)` once, which waits for a free array, (shape) uint8; fills it; and
        yields a tuple of numbers. See Stream for this side. cpu_s: for the whole stream.
        """
        descriptor = os.memfd_create("nightjar", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, slots * slot_bytes(shape))
            # Sealed: a child that shrank it would crash this process at the next read.
            fcntl.fcntl(descriptor, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
            shared = shared_slots(descriptor, slots, shape)
            self._ask(function, args, cpu_s, shape, slots, descriptor)
        finally:
            os.close(descriptor)
        self._stream = Stream(self, slot_views(shared, shape), cpu_s)
        return self._stream

    def _ask(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        cpu_s: float,
        shape: tuple[int, ...] | None,
        slots: int,
        descriptor: int | None = None,
    ) -> None:
        if self._stream is not None:
            raise RuntimeError("The sandbox serves a stream. Close it first.")
        module, name = function.__module__, function.__qualname__
        if (module, name) not in self._entry_points:
            raise ValueError(
                f"{module}.{name} is not an entry point of the sandbox. List it in storage/sandbox/entry_points.py."
            )
        request = Request(module, name, args, self._memory_bytes, cpu_s, shape, slots)
        if self._child is not None and self._child.process.poll() is not None:
            self._end()  # it died between two calls, which lost nothing
        if self._child is None:
            self._child = self._start()
        try:
            send_request(self._child.channel, request, descriptor)
        except ConnectionError:
            raise self._death(cpu_s) from None

    def _start(self) -> _Child:
        channel, child_channel = socket.socketpair()
        lifeline, child_lifeline = socket.socketpair()
        with child_channel, child_lifeline:
            process = self.start_process(child_channel.fileno(), child_lifeline.fileno())
        channel.settimeout(IDLE_S)
        return _Child(process, channel, wire.Inbox(channel), lifeline)

    @staticmethod
    def start_process(channel_fd: int, lifeline_fd: int) -> ChildProcess:
        """Start a process that runs storage.sandbox.child.serve on copies of these descriptors."""
        descriptors = channel_fd, lifeline_fd
        command = [sys.executable, "-c", PROGRAM.format(*descriptors), json.dumps(sys.path)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors)

    def _receive(self, cpu_s: float, wall_s: float = math.inf, kind: type | UnionType = dict) -> Any:
        """Receive the child's next message, which is of this kind.

        Raises SandboxError, SandboxKilled or TooSlowError where none comes.
        """
        child = self._child
        if child is None:
            raise SandboxError("The sandbox was closed. Open another one.")
        try:
            _wait(child, wall_s)
        except AttemptError:
            self._end()
            raise
        try:
            answer = wire.receive(child.inbox)
        except (EOFError, ConnectionError):
            raise self._death(cpu_s) from None
        except (wire.WireError, TimeoutError) as error:
            self._end()
            raise SandboxError(f"The process that read this file sent nonsense ({error}). {REPLACE_FILE}") from error
        if not isinstance(answer, kind):
            self._end()
            raise SandboxError(f"The process that read this file sent nonsense. {REPLACE_FILE}")
        return answer

    def _raise(self, answer: dict[str, Any]) -> None:
        kind, text = answer.get("failure"), str(answer.get("text"))
        if kind == "video":
            raise VideoError(text)
        if kind == "attempt":
            raise AttemptError(text)
        if kind == "memory":
            self._end()  # its remaining memory is fragmented
            raise SandboxError(
                f"The process that read this file took more than {self._memory_bytes / 2**30:g} GB of memory. "
                f"{REPLACE_FILE}"
            )
        # The child's trace is shown as the cause; a note on the error would need Python 3.11.
        raise SandboxError(f"The process that read this file failed: {text}. {REPLACE_FILE}") from RuntimeError(
            f"In the sandbox: {answer.get('trace')}"
        )

    def _death(self, cpu_s: float) -> SandboxError | SandboxKilled:
        code = self._end(patience_s=CLOSE_S)
        if code == -CPU_SIGNAL:
            return SandboxError(f"The process that read this file took more than {cpu_s:g} s of CPU. {REPLACE_FILE}")
        if code < 0 and -code not in OWN_SIGNALS:
            return SandboxKilled(
                f"The process that read this file was killed (signal {-code}). Check whether the machine is out of "
                "memory."
            )
        if code < 0:
            return SandboxError(f"The process that read this file crashed (signal {-code}). {REPLACE_FILE}")
        return SandboxError(f"The process that read this file ended by itself (exit code {code}). {REPLACE_FILE}")

    def _end(self, patience_s: float = 0.0) -> int:
        """End the child; kill it if it still runs after the patience. Returns its exit code, or minus its signal."""
        child, self._child, self._stream = self._child, None, None
        assert child is not None
        try:
            return child.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            child.process.kill()
            return child.process.wait()
        finally:
            child.channel.close()
            child.lifeline.close()


class Stream(Iterator[tuple[tuple[float, ...], NDArray[np.uint8]]]):
    """Items (numbers, array) in order. The array is the shared memory that the child wrote, not a copy.

    An array belongs to this side until `release()`, which returns the oldest one held for the child to overwrite. So
    up to `slots` inferences may read at once, and each ends in order with one `release()`, from any thread.
    Asking for one more while all are held raises RuntimeError instead of waiting forever. Close it, or use `with`.
    """

    def __init__(self, sandbox: Sandbox, views: list[NDArray[np.uint8]], cpu_s: float) -> None:
        self._sandbox = sandbox
        self._views = views
        self._cpu_s = cpu_s
        self._given = 0
        self._released = 0
        self._reported = 0  # released slots that the child knows of
        self._open = True
        self._lock = threading.Lock()  # release() and close() may meet

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def held(self) -> int:
        """Number of arrays that were yielded and not released."""
        return self._given - self._released

    def __next__(self) -> tuple[tuple[float, ...], NDArray[np.uint8]]:
        if not self._open:
            raise StopIteration
        if self.held == len(self._views):
            raise RuntimeError(f"All {len(self._views)} slots are held. Call release() for the oldest first.")
        with self._lock:
            if self._given - self._reported == len(self._views):  # otherwise the child has a free one
                self._report_released()
        answer = self._receive()
        if isinstance(answer, dict):
            self._finish()
            if "end" in answer:
                raise StopIteration
            self._sandbox._raise(answer)
        view = self._views[self._given % len(self._views)]
        self._given += 1
        return answer, view

    def release(self) -> None:
        """Return the oldest held array to the child. Raises RuntimeError where none is held."""
        with self._lock:
            if self._released == self._given:
                raise RuntimeError("No slot is held. Take one from the stream first.")
            self._released += 1
            if self._released - self._reported >= len(self._views) // RELEASES_PER_ROUND:
                self._report_released()

    def close(self) -> None:
        """Stop the child's generator. Arrays already yielded stay readable. The sandbox can serve the next call."""
        if not self._open:
            return
        child = self._sandbox._child
        if child is not None:
            self._finish()
            self._drain(child)

    def _report_released(self) -> None:
        """Report released slots to the child, with the lock held. Several at once, as each message wakes the child."""
        if self._open:
            self._send(RELEASE * (self._released - self._reported))
        self._reported = self._released

    def _receive(self) -> Any:
        try:
            return self._sandbox._receive(self._cpu_s, kind=tuple | dict)
        except (SandboxError, SandboxKilled):
            self._open = False
            raise

    def _finish(self) -> None:
        """Send CLOSE, the last message of a stream on the channel, once."""
        with self._lock:
            self._open = False
            self._sandbox._stream = None
            self._send(CLOSE)

    def _send(self, word: bytes) -> None:
        child = self._sandbox._child
        if child is not None:
            try:
                child.channel.sendall(word)
            except ConnectionError:
                return  # it died: the next receive reports the reason

    def _drain(self, child: _Child) -> None:
        """Read up to the end of the child's stream. A child that does not stop soon, deep in a decoder, is killed."""
        readable = select.poll()
        readable.register(child.channel, select.POLLIN)
        try:
            while child.inbox.waiting or readable.poll(CLOSE_S * 1000):
                answer = wire.receive(child.inbox)
                if "end" in answer:
                    return
                if not isinstance(answer, tuple):
                    break
        except (EOFError, OSError, TypeError, wire.WireError):
            pass
        self._sandbox.close()


def _wait(child: _Child, wall_s: float) -> None:
    """Wait until the child sends a message or ends.

    Raises SandboxKilled where it used no CPU for too long, stopped or waiting; TooSlowError after wall_s.
    """
    if child.inbox.waiting:
        return
    readable = select.poll()
    readable.register(child.channel, select.POLLIN)
    used, deadline = None, time.monotonic() + wall_s
    while not readable.poll(max(0.0, min(IDLE_S, deadline - time.monotonic())) * 1000):
        if time.monotonic() >= deadline:
            raise TooSlowError(f"Reading this file took more than {wall_s:,.0f} s. Check its disk or network share.")
        used, before = _cpu_ticks(child.process.pid), used
        if used == before:
            raise SandboxKilled(
                f"The process that read this file did nothing for {IDLE_S:g} s. Check its disk or network share."
            )


def _cpu_ticks(pid: int) -> int:
    """Return user and system time, fields 14 and 15 of proc(5)'s stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
