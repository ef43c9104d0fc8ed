"""Processes that run queries: one per query, bounded in number, the next one started ahead.

A query ends with its client: `unless_gone` cancels what waits for it, and `RunningQuery.end` ends its process, which
cancels the statement on PostgreSQL, too.
"""

import asyncio
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import IO, Any, TypeVar

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from deployments.browse.sql_box.request import FAILED, QueryFailed, QueryRequest
from models.types import NightjarError

log = logging.getLogger(__name__)

T = TypeVar("T")
COMMAND = [sys.executable, "-P", "-m", "deployments.browse.sql_box.child"]
MOST_QUERIES = 4  # at once, of all users together
WAIT_S = 10.0  # for one of them to end
GRACE_S = 15.0  # beyond its time limit, for a process that starts slowly or writes to a client that does not read
END_S = 3.0  # between an interrupt and the end
LOOK_EVERY_S = 0.2
CHUNK_BYTES = 1 << 16


class QueryProcesses:
    """The processes of one server."""

    def __init__(self, most: int = MOST_QUERIES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running = 0
        self._ahead: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Start a process for the next query, unless one is waiting."""
        with self._lock:
            if self._ahead is None or self._ahead.poll() is not None:
                self._ahead = _start()

    async def begin(self, request: QueryRequest) -> "RunningQuery":
        """Give a query to a process. Raises NightjarError where too many are running for too long."""
        deadline = time.monotonic() + WAIT_S
        while not self._take():
            if time.monotonic() > deadline:
                raise NightjarError(
                    f"{self._most} queries are running, the most that this server runs at once. Wait for one of them, "
                    "or stop one by closing its page."
                )
            await asyncio.sleep(LOOK_EVERY_S / 4)
        try:
            return RunningQuery(self._hand_over(request), request, self._release)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """End the process that waits."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            _close(ahead)

    def _take(self) -> bool:
        with self._lock:
            free = self._running < self._most
            self._running += free
            return free

    def _release(self) -> None:
        with self._lock:
            self._running -= 1

    def _hand_over(self, request: QueryRequest) -> subprocess.Popen[bytes]:
        with self._lock:
            ahead, self._ahead = self._ahead, None
        for process in (ahead, None):
            process = process or _start()
            try:
                _pipe(process.stdin).write(request.to_line())
                _pipe(process.stdin).flush()
            except BrokenPipeError:  # it has waited for too long, and ended
                _close(process)
            else:
                return process
        raise NightjarError("The process of the query ended at once. Look at the log of 'nightjar browse', and retry.")


class RunningQuery:
    """A process with its query. Its answer is read once; `end` is called in any case."""

    def __init__(self, process: subprocess.Popen[bytes], request: QueryRequest, release: Callable[[], None]) -> None:
        self._process, self._release = process, release
        self._deadline = time.monotonic() + request.limits.timeout_s + GRACE_S
        self._request = request

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def read(self) -> bytes:
        """Return the next bytes of the answer, none at its end. Raises QueryFailed where the query takes too long."""
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                return await _in_thread(_pipe(self._process.stdout).read, CHUNK_BYTES)
        except TimeoutError:
            raise QueryFailed(
                f"The query was ended, as its answer was not read within {self._request.limits.timeout_s:g} s.",
                "Ask for less, or use 'nightjar sql' with a longer --timeout.",
            ) from None

    async def finish(self) -> None:
        """Check at its end that the answer is whole. Raises QueryFailed."""
        told = await _in_thread(_pipe(self._process.stderr).read)
        status = await _in_thread(self._process.wait)
        if status == 0:
            return
        if status == FAILED:
            happened, remedy = json.loads(told.splitlines()[-1])
            raise QueryFailed(happened, remedy)
        log.error("A query's process ended with status %s: %s", status, told.decode(errors="replace"))
        raise QueryFailed(
            "The query's process ended, perhaps for lack of memory.",
            "Ask for less, or look at the log of 'nightjar browse'.",
        )

    async def whole(self) -> bytes:
        """Return the whole answer, which is small. Raises QueryFailed."""
        parts = [part async for part in self.parts()]
        return b"".join(parts)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the answer in parts. Raises QueryFailed, after some parts, too."""
        while part := await self.read():
            yield part
        await self.finish()

    def end(self) -> None:
        """End the process, whatever it does, and let another query run."""
        release, self._release = self._release, _nothing
        if release is not _nothing:
            threading.Thread(target=_end, args=(self._process, release), daemon=True).start()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. Cancels it and raises ClientDisconnect when the client goes away."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, gone):
            each.cancel()


async def _until_gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_EVERY_S)


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a blocking read in a thread. A cancelled one ends with its process."""
    return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


def _start() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, process_group=0)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _end(process: subprocess.Popen[bytes], release: Callable[[], None]) -> None:
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        _close(process)
    finally:
        release()


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            _pipe(stream).close()


def _nothing() -> None:
    """Release nothing: it is done."""
