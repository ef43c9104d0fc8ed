"""Values on a socket as JSON and raw arrays, so that reading them runs no code: the answers of a sandbox's child."""

import json
import math
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<II")  # bytes of JSON, bytes of arrays behind it
MOST_JSON_BYTES = 1 << 24
MOST_ARRAY_BYTES = 1 << 30  # the index of five million frames has 120 MB, the poses of a crowded hour some hundreds
AT_ONCE_BYTES = 1 << 16
NUMBER_BYTES = 8
MOST_NUMBERS = 64  # of a message without JSON
NUMBERS = "biuf"  # numpy's kinds, without objects, which would be unpickled


class WireError(Exception):
    """Bytes that are not a message."""


class Inbox:
    """A socket's receiving end that reads all that has arrived: small messages then cost a third of the calls."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._data = memoryview(b"")

    @property
    def waiting(self) -> bool:
        """Return whether data is buffered here, which the socket's own readability does not show."""
        return len(self._data) > 0

    def recv_into(self, view: memoryview) -> int:
        """Receive into a buffer, like a socket."""
        if not self._data:
            if len(view) >= AT_ONCE_BYTES:
                return self._channel.recv_into(view)
            self._data = memoryview(self._channel.recv(AT_ONCE_BYTES))
        count = min(len(view), len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def send(channel: socket.socket, value: Any) -> None:
    """Send None, bool, int, float, str, numeric arrays, and lists, tuples and dicts of them; else raise TypeError."""
    arrays: list[NDArray[Any]] = []

    def attach(item: Any) -> Any:
        if isinstance(item, np.generic):
            return item.item()
        if not isinstance(item, np.ndarray) or item.dtype.kind not in NUMBERS:
            raise TypeError(f"{type(item).__name__} cannot leave the sandbox. Return numbers, texts and arrays.")
        arrays.append(np.ascontiguousarray(item))
        return {"array": item.dtype.str, "shape": item.shape}

    text = json.dumps(value, default=attach).encode()
    channel.sendall(HEADER.pack(len(text), sum(array.nbytes for array in arrays)) + text)
    for array in arrays:
        channel.sendall(array.reshape(-1).view(np.uint8).data)


def send_numbers(channel: socket.socket, numbers: Sequence[float]) -> None:
    """Send a few numbers as float64, without JSON: one message per frame is worth it."""
    payload = struct.pack(f"<{len(numbers)}d", *numbers)
    channel.sendall(HEADER.pack(0, len(payload)) + payload)


def receive(channel: socket.socket | Inbox) -> Any:
    """Receive a value, tuples as lists; what `send_numbers` has sent is a tuple of finite floats.

    Raises WireError for an invalid message, EOFError where the peer is gone.
    """
    text_bytes, array_bytes = HEADER.unpack(receive_exactly(channel, HEADER.size))
    if not text_bytes:
        return _receive_numbers(channel, array_bytes)
    if text_bytes > MOST_JSON_BYTES or array_bytes > MOST_ARRAY_BYTES:
        raise WireError(f"a message of {text_bytes} + {array_bytes} bytes")
    text = receive_exactly(channel, text_bytes)
    payload = receive_exactly(channel, array_bytes)
    offset = 0

    def detach(item: dict[str, Any]) -> Any:
        nonlocal offset
        if item.keys() != {"array", "shape"}:
            return item
        dtype, shape = np.dtype(item["array"]), tuple(int(length) for length in item["shape"])
        if dtype.kind not in NUMBERS or min(shape, default=0) < 0:
            raise WireError(f"an array of {dtype} and shape {shape}")
        count = int(np.prod(shape, dtype=object))
        array = np.frombuffer(payload, dtype, count, offset).reshape(shape)
        offset += array.nbytes
        return array

    try:
        return json.loads(text, object_hook=detach)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"a message that cannot be read: {error}") from error


def _receive_numbers(channel: socket.socket | Inbox, size_bytes: int) -> tuple[float, ...]:
    count, rest = divmod(size_bytes, NUMBER_BYTES)
    if rest or count > MOST_NUMBERS:
        raise WireError(f"{size_bytes} bytes of numbers")
    numbers = struct.unpack(f"<{count}d", receive_exactly(channel, size_bytes))
    if not all(map(math.isfinite, numbers)):
        raise WireError(f"numbers that are not finite: {numbers}")
    return numbers


def receive_exactly(channel: socket.socket | Inbox, count: int) -> bytearray:
    """Receive exactly `count` bytes. Raises EOFError where the peer is gone before it sent them."""
    data = bytearray(count)
    view = memoryview(data)
    done = 0
    while done < count:
        got = channel.recv_into(view[done:])
        if not got:
            raise EOFError
        done += got
    return data
