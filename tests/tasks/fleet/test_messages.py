"""Messages from the store are untrusted input."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.objects.artifacts import FolderArtifacts
from storage.objects.places import ObjectError, StoreError
from tasks.fleet.messages import (
    MESSAGE_LIMIT_BYTES,
    Call,
    Done,
    Fault,
    File,
    Order,
    OrderError,
    Piece,
    Status,
    call_key,
    order_key,
    read_call,
    read_order,
    read_status,
    status_key,
    write,
)

NAME, SHA = "0123456789abcdef", "a" * 64
FILE = {"key": "one.mp4", "size_bytes": 1, "etag": "e", "sha256": SHA}
PIECE = {"file": 0, "start_frame": 0, "stop_frame": 5, "attempt": 1}
STATUS = {"worker": "pi-1", "device": "CPU"}


@pytest.fixture
def store(tmp_path: Path) -> FolderArtifacts:
    return FolderArtifacts(tmp_path)


def test_messages_survive_a_round_trip(store: FolderArtifacts) -> None:
    call = Call(version_sha256=SHA, archive="s3://videos/tonight", precision="bf16")
    order = Order(files=[File(**FILE)], pieces=[Piece(**PIECE)])
    done, fault = Done(piece=0, key="k", sha256=SHA), Fault(piece=1, kind="other", reason="ß \u3042")
    status = Status(worker="pi", device="CPU", done=[done], faults=[fault], current=1, slowest_fps=2.5, fastest_fps=30)
    for key, message, read in (
        (call_key(NAME), call, read_call),
        (order_key(NAME), order, read_order),
        (status_key(NAME), status, read_status),
    ):
        assert read(store, NAME) is None, "not written yet"
        write(store, key, message)
        assert read(store, NAME) == message


@pytest.mark.parametrize(
    "order",
    [
        {"files": [FILE], "pieces": [{**PIECE, "file": 1}]},
        {"files": [], "pieces": [PIECE]},
        {"files": [FILE], "pieces": [{**PIECE, "file": -1}]},
        {"files": [FILE], "pieces": [{**PIECE, "start_frame": 5}]},
        {"files": [FILE], "pieces": [{**PIECE, "start_frame": -1}]},
        {"files": [FILE], "pieces": [{**PIECE, "attempt": 0}]},
        {"files": [{**FILE, "sha256": "../../etc/passwd"}], "pieces": []},
        {"files": [{**FILE, "size_bytes": -1}], "pieces": []},
        {"files": [FILE], "pieces": [PIECE], "run": "this, too"},
        {"files": {"0": FILE}},
        [],
        None,
    ],
)
def test_invalid_orders_are_refused(store: FolderArtifacts, order: object) -> None:
    store.put_bytes(order_key(NAME), json.dumps(order).encode())
    with pytest.raises(OrderError, match=r"order|Order"):
        read_order(store, NAME)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {**STATUS, "done": [{"piece": -1, "key": "k", "sha256": SHA}]},
        {**STATUS, "done": [{"piece": 0, "key": "k", "sha256": "short"}]},
        {**STATUS, "faults": [{"piece": 0, "kind": "mine", "reason": ""}]},
        {**STATUS, "progress": "1e999"},
        {**STATUS, "progress": 10**400},
        {**STATUS, "frames": -1},
        {**STATUS, "current": -1},
        {**STATUS, "slowest_fps": 1e999},
        {**STATUS, "done": "all"},
        {**STATUS, "worker": "pi\0"},
        {**STATUS, "worker": "pi\x1b[2J"},
        {**STATUS, "worker": "pi\n12:00 | INFO | all is well"},
        {**STATUS, "worker": "\u202egpj.pi"},
        {**STATUS, "worker": ""},
        {**STATUS, "device": "x" * 1000},
        {**STATUS, "done": [{"piece": 2**70, "key": "k", "sha256": SHA}]},
        {**STATUS, "faults": [{"piece": 0, "kind": "input", "reason": ""}] * 5000},
        {**STATUS, "fastest_fps": 1e300},
    ],
)
def test_invalid_statuses_are_refused(store: FolderArtifacts, status: object) -> None:
    store.put_bytes(status_key(NAME), json.dumps(status).encode())
    with pytest.raises(OrderError, match="not a valid Status"):
        read_status(store, NAME)


@given(
    st.binary(max_size=200)
    | st.text().map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*STATUS, "done", "faults", "ready"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_give_a_message_or_one_error(data: bytes) -> None:
    class Store:
        def get_bytes(self, key: str, limit_bytes: int) -> bytes:
            return data

        def exists(self, key: str) -> bool:
            return True

    with suppress(OrderError):
        assert isinstance(read_status(Store(), NAME), Status)  # type: ignore[arg-type]


def test_deep_nesting_is_refused_without_a_crash(store: FolderArtifacts) -> None:
    store.put_bytes(status_key(NAME), b'{"done":' + b"[" * 100_000)
    with pytest.raises(OrderError):
        read_status(store, NAME)


def test_an_unavailable_store_is_not_a_missing_order() -> None:
    class Away:
        def get_bytes(self, key: str, limit_bytes: int) -> bytes:
            raise StoreError("The store does not answer.", "Wait.")

    with pytest.raises(StoreError):
        read_order(Away(), NAME)  # type: ignore[arg-type]


def test_a_message_written_during_the_request_is_read(store: FolderArtifacts) -> None:
    class Slow(FolderArtifacts):
        asked = 0

        def get_bytes(self, key: str, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> bytes:
            self.asked += 1
            if self.asked == 1:
                raise ObjectError("There is no object.", "Wait.")
            return super().get_bytes(key, limit_bytes)

    write(store, order_key(NAME), Order())
    assert read_order(Slow(store.root), NAME) == Order()


def test_texts_for_people_are_shortened_and_escaped(store: FolderArtifacts) -> None:
    """The text comes from a decoder or a driver and may contain anything: it becomes one printable line."""
    reason = "bad\r\n00:00 | INFO | \x1b[2Jforged\0\u202e" + "x" * 100_000
    status = {**STATUS, "ended": True, "error": reason, "faults": [{"piece": 0, "kind": "other", "reason": reason}]}
    store.put_bytes(status_key(NAME), json.dumps(status).encode())
    found = read_status(store, NAME)
    assert found is not None
    for words in (found.error, found.faults[0].reason):
        assert words is not None
        assert words.isprintable()
        assert words.startswith("bad 00:00 | INFO | ")
        assert len(words) <= 2000


def test_an_oversized_message_is_never_read(store: FolderArtifacts) -> None:
    store.put_bytes(status_key(NAME), json.dumps({**STATUS, "error": "x" * MESSAGE_LIMIT_BYTES}).encode())
    with pytest.raises(ObjectError, match="at most"):
        read_status(store, NAME)
