"""Numbers on the wire: they survive a round trip, and all other input is refused."""

import math
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.sandbox import wire


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    sender, receiver = socket.socketpair()
    receiver.settimeout(10)
    with sender, receiver:
        yield sender, receiver


FINITE = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))


@given(numbers=st.lists(FINITE, max_size=wire.MOST_NUMBERS))
def test_numbers_survive_a_round_trip(ends: tuple[socket.socket, socket.socket], numbers: list[float]) -> None:
    sender, receiver = ends
    wire.send_numbers(sender, numbers)
    wire.send(sender, {"end": True})
    assert wire.receive(receiver) == tuple(numbers)
    assert wire.receive(receiver) == {"end": True}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(ends: tuple[socket.socket, socket.socket], number: float) -> None:
    sender, receiver = ends
    wire.send_numbers(sender, (1, number))
    with pytest.raises(wire.WireError, match="not finite"):
        wire.receive(receiver)


@pytest.mark.parametrize("size_bytes", [1, 12, 8 * (wire.MOST_NUMBERS + 1), 1 << 30])
def test_an_invalid_size_is_refused_before_reading(size_bytes: int) -> None:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        receiver.settimeout(10)
        sender.sendall(wire.HEADER.pack(0, size_bytes))
        with pytest.raises(wire.WireError, match=f"{size_bytes} bytes"):
            wire.receive(receiver)
