"""Arrays to bytes and back, and bytes that are refused."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import checkpoints
from models.checkpoints import Layout, read_arrays, write_arrays

_PAIR = np.dtype([("number", "<i8"), ("place", "<f8", (2,))])
LAYOUT: Layout = {"times": ("<f8", ()), "places": ("<f4", (17, 2)), "pairs": (_PAIR, ())}


def arrays(rows: int = 3) -> checkpoints.Arrays:
    rng = np.random.default_rng(rows)
    pairs = np.zeros(rows, _PAIR)
    pairs["number"], pairs["place"] = np.arange(rows), rng.normal(size=(rows, 2))
    times = np.where(rng.random(rows + 1) < 0.5, np.nan, 1.5)
    return {"times": times, "places": rng.normal(size=(rows, 17, 2)).astype(np.float32), "pairs": pairs}


@given(st.integers(0, 300))
def test_arrays_come_back_to_the_bit_and_can_be_written(rows: int) -> None:
    written = write_arrays("me", arrays(rows))
    assert written == write_arrays("me", arrays(rows))
    found = read_arrays(written, "me", LAYOUT)
    assert found.keys() == LAYOUT.keys()
    for name, expected in arrays(rows).items():
        assert found[name].tobytes() == expected.tobytes()
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        found[name][:] = found[name]


def test_numpy_reads_them_without_pickle() -> None:
    with np.load(io.BytesIO(write_arrays("me", arrays())), allow_pickle=False) as found:
        assert found["places"].shape == (3, 17, 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"times": np.zeros(3, np.float32)},
        {"places": np.zeros((3, 17, 3), np.float32)},
        {"places": np.asfortranarray(np.zeros((3, 17, 2), np.float32))},
        {"pairs": np.zeros(3, [("number", "<i8"), ("place", "<f8", (3,))])},
        {"more": np.zeros(3)},
    ],
)
def test_other_arrays_are_refused(changed: checkpoints.Arrays) -> None:
    with pytest.raises(ValueError, match="The checkpoint is damaged"):
        read_arrays(write_arrays("me", {**arrays(), **changed}), "me", LAYOUT)


def test_a_missing_array_and_objects_are_refused() -> None:
    missing = {name: each for name, each in arrays().items() if name != "pairs"}
    pickled = io.BytesIO()
    maker = np.frombuffer(b"me", np.uint8)
    np.savez_compressed(pickled, maker=maker, **{**arrays(), "times": np.array([{}], object)})  # type: ignore[arg-type]
    for data in (write_arrays("me", missing), pickled.getvalue()):
        with pytest.raises(ValueError, match="The checkpoint is damaged"):
            read_arrays(data, "me", LAYOUT)


def test_those_of_another_maker_are_refused() -> None:
    with pytest.raises(ValueError, match="other parameters or another version"):
        read_arrays(write_arrays("you", arrays()), "me", LAYOUT)


def test_few_bytes_that_expand_to_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_arrays("me", {**arrays(), "times": np.zeros(1 << 20)})
    assert len(written) < 20_000
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="more than 1,048,576 bytes"):
        read_arrays(written, "me", LAYOUT)


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="The checkpoint is damaged"):
        read_arrays(data, "me", LAYOUT)


@given(st.data())
def test_damage_is_found_or_without_effect(data: st.DataObject) -> None:
    """Some bytes of the format mean nothing, such as dates."""
    whole = write_arrays("me", arrays())
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.sampled_from([len(whole), len(whole) // 2, len(whole) - 1]))])
    try:
        found = read_arrays(cut, "me", LAYOUT)
    except ValueError:
        return
    for name, expected in arrays().items():
        assert found[name].tobytes() == expected.tobytes()


def test_members_of_other_kinds_are_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in ("maker", *LAYOUT):
            archive.writestr(f"{name}.npy", b"")
    with pytest.raises(ValueError, match="The checkpoint is damaged"):
        read_arrays(file.getvalue(), "me", LAYOUT)
