"""Range and conditional headers, compared with slices of the bytes."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.browse.ranges import ByteRange, is_known, range_still_holds, requested_range

SIZES = st.integers(0, 50)
NUMBERS = st.integers(0, 60) | st.integers(2**60, 2**70)
ETAG = '"abc"'


@given(SIZES, NUMBERS, NUMBERS)
def test_a_range_is_the_slice_that_the_rfc_names(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    found = requested_range(f"bytes={first}-{last}", size)
    if last < first:
        assert found is None  # invalid: the whole file
    elif first >= size:
        assert found == "unsatisfiable"
    else:
        assert isinstance(found, ByteRange)
        assert data[found.start : found.stop] == data[first : last + 1]


@given(SIZES, NUMBERS)
def test_an_open_range_and_the_last_bytes(size: int, number: int) -> None:
    data = bytes(range(size))
    rest, end = requested_range(f"Bytes={number}-", size), requested_range(f"bytes=-{number}", size)
    assert rest == ("unsatisfiable" if number >= size else ByteRange(number, size))
    if not number or not size:
        assert end == "unsatisfiable"
    else:
        assert isinstance(end, ByteRange)
        assert data[end.start : end.stop] == data[-min(number, size) :]


@given(SIZES, st.sampled_from(["", "bytes=", " Bytes =", "x="]), st.text("-0123456789, ٣xX+_.", max_size=20))
def test_any_header_gives_bytes_of_the_file_or_none(size: int, unit: str, value: str) -> None:
    found = requested_range(unit + value, size)
    if isinstance(found, ByteRange):
        assert 0 <= found.start < found.stop <= size
    else:
        assert found in (None, "unsatisfiable")


def test_several_or_malformed_ranges_are_ignored() -> None:
    headers = (
        "bytes=0-1,3-4",
        "bytes=-",
        "bytes=",
        "items=0-1",
        "bytes=+1-2",
        "bytes=1_0-2",
        "bytes=٣-",
        "0-1",
        "",
        None,
    )
    for header in (*headers, f"bytes=0-{'9' * 5000}"):
        assert requested_range(header, 10) is None, header


def test_tags_decide_conditions() -> None:
    assert is_known('"x", W/"abc"', ETAG)
    assert is_known(" * ", ETAG)
    for other in (None, "", '"abcd"', "abc", '"x"', "W/abc"):
        assert not is_known(other, ETAG)
    assert range_still_holds(None, ETAG)
    assert range_still_holds(ETAG, ETAG)
    for other in ('W/"abc"', '"x"', "Sat, 28 Nov 2026 10:00:00 GMT", ""):  # a weak tag is no proof of equal bytes
        assert not range_still_holds(other, ETAG)
