"""The child's side of the sandbox: runs the parent's requests within limits. Started by parent.py only."""

import ctypes
import errno
import fcntl
import gc
import importlib
import itertools
import mmap
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import AttemptError, VideoError
from storage.sandbox import wire

RELEASE, CLOSE = b"r", b"c"
CPU_SIGNAL = signal.SIGPROF  # of ITIMER_PROF
F_SETSIG = 10  # Linux, not in the fcntl module
REQUEST = struct.Struct("<I")
M_ARENA_MAX = -8  # glibc's malloc.h
OPENCV_NO_MEMORY = -4  # OpenCV's Error::StsNoMem


class Request(NamedTuple):
    """One call. shape and slots: of a stream's shared memory, with the descriptor sent next; None for a plain call."""

    module: str
    function: str
    args: tuple[Any, ...]
    memory_bytes: int
    cpu_s: float
    shape: tuple[int, ...] | None
    slots: int


class _Closed(BaseException):
    """The parent closed the stream. Not an Exception, so that no generator treats it as a fault of the video."""


def serve(channel_fd: int, lifeline_fd: int) -> None:
    """Answer requests until the parent has ended."""
    _die_with_parent(lifeline_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    signal.signal(CPU_SIGNAL, signal.SIG_DFL)  # a parent that ignores it would have made this process ignore it, too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)  # each arena reserves 64 MB of the address space that is limited
    channel = socket.socket(fileno=channel_fd)
    base_bytes = _address_space_bytes()
    while True:
        try:
            request = receive_request(channel)
        except (EOFError, ConnectionError):
            return
        base_bytes = _answer(channel, request, base_bytes)
        gc.collect()  # a container of PyAV is part of a cycle, and keeps all pictures of its decoder until then


def send_request(channel: socket.socket, request: Request, shared_fd: int | None) -> None:
    """Send a request, pickled: in this direction the sender is the parent, and the child trusts it."""
    data = pickle.dumps(request)
    channel.sendall(REQUEST.pack(len(data)) + data)
    if shared_fd is not None:
        socket.send_fds(channel, [RELEASE], [shared_fd])


def receive_request(channel: socket.socket) -> Request:
    size = REQUEST.unpack(wire.receive_exactly(channel, REQUEST.size))[0]
    request = pickle.loads(wire.receive_exactly(channel, size))  # noqa: S301 - sent by the parent
    assert isinstance(request, Request)
    return request


def _die_with_parent(lifeline_fd: int) -> None:
    """Let the kernel kill this process when the parent's end of the lifeline closes, whatever is running here.

    PR_SET_PDEATHSIG is not enough: it signals the end of the starting thread, and a parent's threads are short-lived.
    """
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline_fd, 0)
    if poll.poll(0):  # the parent ended before this request to the kernel
        os._exit(1)


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


def _answer(channel: socket.socket, request: Request, base_bytes: int) -> int:
    """Run the request and send its outcome. Returns the address space in bytes that the loaded libraries take."""
    allowed_bytes = sys.maxsize
    try:
        _lift_limits()
        before = _address_space_bytes()
        function = getattr(importlib.import_module(request.module), request.function)
        base_bytes += _address_space_bytes() - before
        gc.freeze()  # what was imported stays, and need not be looked at by each collection
        shared = _map_shared(channel, request) if request.shape is not None else None
        allowed_bytes = base_bytes + request.memory_bytes + (shared.nbytes if shared is not None else 0)
        _limit(request, allowed_bytes)
        if shared is None:
            result = function(*request.args)
            _check_memory(allowed_bytes)
            wire.send(channel, {"result": result})
        else:
            _stream(channel, function, request, shared, allowed_bytes)
    except ConnectionError:
        os._exit(1)
    except BaseException as error:
        _lift_limits()
        wire.send(channel, _failure(error, too_much=_peak_bytes() > allowed_bytes))
        if request.shape is not None:
            _await_close(channel)
    return base_bytes


def _limit(request: Request, allowed_bytes: int) -> None:
    """Limit memory beyond what is loaded and CPU beyond what is used so far. At the CPU limit the kernel kills.

    The timer counts the CPU of this call alone. RLIMIT_CPU would count from the start of the process, in whole seconds
    and by another clock than getrusage, so that the limit of a late call would be wrong by all that the two differ.

    A decoder that is refused memory may report a damaged video and skip frames. So the kernel's limit is a quarter
    higher, and a call beyond the allowed memory is recognised by its peak, whatever its outcome.
    """
    most = allowed_bytes + request.memory_bytes // 4
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, request.cpu_s)


def _lift_limits() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, 0)


def _peak_bytes() -> int:
    """Return the peak address space of this process. A child that exceeded its limit serves no further call."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmPeak:")[2].split()[0]) * 1024


def _check_memory(allowed_bytes: int) -> None:
    if _peak_bytes() > allowed_bytes:
        raise MemoryError


def _map_shared(channel: socket.socket, request: Request) -> NDArray[np.uint8]:
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    with os.fdopen(descriptors[0], "r+b", buffering=0) as file:
        return shared_slots(file.fileno(), request.slots, request.shape or ())


def shared_slots(descriptor: int, slots: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Map the descriptor's memory as (slots, bytes per slot) uint8. A slot begins on a page and holds one `shape`."""
    return np.frombuffer(mmap.mmap(descriptor, slots * slot_bytes(shape)), np.uint8).reshape(slots, -1)


def slot_bytes(shape: tuple[int, ...]) -> int:
    return -(-int(np.prod(shape, dtype=np.int64)) // mmap.PAGESIZE) * mmap.PAGESIZE


def slot_views(shared: NDArray[np.uint8], shape: tuple[int, ...]) -> list[NDArray[np.uint8]]:
    count = int(np.prod(shape, dtype=np.int64))
    return [slot[:count].reshape(shape) for slot in shared]


class Slots(Iterator[NDArray[np.uint8]]):
    """Iterator over the slots in turn, for a generator that fills one and yields. Waits for its release."""

    def __init__(self, channel: socket.socket, views: list[NDArray[np.uint8]]) -> None:
        self._channel = channel
        self._views = itertools.cycle(views)
        self._free = len(views)

    def __next__(self) -> NDArray[np.uint8]:
        self._receive(socket.MSG_DONTWAIT)
        while not self._free:
            self._receive(0)
        self._free -= 1
        return next(self._views)

    def _receive(self, flags: int) -> None:
        try:
            words = self._channel.recv(4096, flags)
        except BlockingIOError:
            return
        if not words:
            os._exit(1)
        if CLOSE in words:
            raise _Closed
        self._free += len(words)


def _stream(
    channel: socket.socket,
    function: Callable[..., Any],
    request: Request,
    shared: NDArray[np.uint8],
    allowed_bytes: int,
) -> None:
    slots = Slots(channel, slot_views(shared, request.shape or ()))
    closed = False
    try:
        with closing(function(slots, *request.args)) as metas:
            for meta in metas:
                wire.send_numbers(channel, meta)
    except _Closed:
        closed = True
    _check_memory(allowed_bytes)
    wire.send(channel, {"end": True})
    if not closed:
        _await_close(channel)


def _await_close(channel: socket.socket) -> None:
    while wire.receive_exactly(channel, 1) != CLOSE:
        pass


def _failure(error: BaseException, *, too_much: bool) -> dict[str, str]:
    no_memory = getattr(error, "code", None) == OPENCV_NO_MEMORY or getattr(error, "errno", None) == errno.ENOMEM
    if too_much or no_memory or isinstance(error, MemoryError):
        return {"failure": "memory", "text": ""}
    if isinstance(error, VideoError):
        return {"failure": "video", "text": str(error)}
    if isinstance(error, AttemptError):
        return {"failure": "attempt", "text": str(error)}
    text = "".join(traceback.format_exception(error))
    return {"failure": "error", "text": f"{type(error).__name__}: {error}", "trace": text}
