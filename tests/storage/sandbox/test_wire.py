"""Numbers on the wire: what is sent comes out, and whatever else arrives is refused."""

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
def test_numbers_come_out_as_they_went_in(ends: tuple[socket.socket, socket.socket], numbers: list[float]) -> None:
    sender, receiver = ends
    wire.send_numbers(sender, numbers)
    wire.send(sender, {"end": True})
    assert wire.receive(receiver) == tuple(numbers)
    assert wire.receive(receiver) == {"end": True}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(ends: tuple[socket.socket, socket.socket], number: float) -> None:
    sender, receiver = ends
    wire.send_numbers(sender, (1, number))
    with pytest.raises(wire.WireError, match="not finite"):
        wire.receive(receiver)


@pytest.mark.parametrize("size_bytes", [1, 12, 8 * (wire.MOST_NUMBERS + 1), 1 << 30])
def test_a_size_that_numbers_do_not_have_is_refused_before_it_is_read(size_bytes: int) -> None:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        receiver.settimeout(10)
        sender.sendall(wire.HEADER.pack(0, size_bytes))
        with pytest.raises(wire.WireError, match=f"{size_bytes} bytes"):
            wire.receive(receiver)
