"""A proxy on loopback that breaks some of an S3 server's responses, like bad networks and busy servers."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

FAULTS = ("503", "lost answer", "cut body", "stall")  # and "flipped bit", in the last byte: for GETs only
_HOP_BY_HOP = (b"expect:", b"connection:")


@dataclass
class FaultProxy:
    """rate: the share of requests with one of `faults`; stall_s: time for which a response stalls before it is lost

    refused: part of an object's address -> (status, code, message) of the response to each GET of it; "*": of all
    seen: number of times each fault occurred, and "none"
    """

    endpoint: str
    rate: float
    faults: tuple[str, ...] = FAULTS
    stall_s: float = 1.0
    refused: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    seen: Counter[str] = field(default_factory=Counter)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection, forwarded unchanged, so that its signature remains valid."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await _read_request(reader, writer)
            fault = self.chance.choice(self.faults) if self.chance.random() < self.rate else "none"
            self.seen[fault] += 1
            if own := self._refusal(request):
                writer.write(_error(*own))
            elif fault == "503":
                writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                writer.write(await self._answer(request, fault))
            await writer.drain()
        writer.close()

    def _refusal(self, request: bytes) -> tuple[int, str, str] | None:
        """True for a GET of an object; listings have a query."""
        method, target, _ = request.split(b"\r\n", 1)[0].decode().split(" ")
        path, _, asked = target.partition("?")
        if method != "GET" or path.count("/") < 2 or "list-type" in asked:
            return None
        return next((own for part, own in self.refused.items() if part == "*" or part in path), None)

    async def _answer(self, request: bytes, fault: str) -> bytes:
        """The part of the server's response that arrives; the server has executed the request in any case."""
        answer = await self._forward(request)
        if fault == "cut body":
            head, end, body = answer.partition(b"\r\n\r\n")
            return head + end + body[: (len(body) + 1) // 2] if body else answer[: len(answer) // 2]
        if fault == "flipped bit":
            return answer[:-1] + bytes([answer[-1] ^ 1])
        if fault == "stall":
            await asyncio.sleep(self.stall_s)
        return b"" if fault in ("stall", "lost answer") else answer

    async def _forward(self, request: bytes) -> bytes:
        server = urlsplit(self.endpoint)
        reader, writer = await asyncio.open_connection(server.hostname, server.port)
        writer.write(request)
        await writer.drain()
        answer = await reader.read(-1)
        writer.close()
        return answer


def _error(status: int, code: str, message: str) -> bytes:
    """An error response as in Amazon's API reference."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    length = sum(int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:"))
    if any(line.lower().startswith(b"expect:") for line in lines):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    kept = [line for line in lines if not line.lower().startswith(_HOP_BY_HOP)]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""]) + await reader.readexactly(length)


@contextmanager
def running(proxy: FaultProxy, port: int = 0) -> Iterator[str]:
    """Start the proxy in a thread of its own and return its address. port: 0 = a free one"""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(proxy.handle, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_cancel_all())
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
