"""Ranges and conditions of HTTP requests for a file (RFC 9110). Texts and numbers only."""

import re
from typing import Literal, NamedTuple

# One range. Any other form, also of several ranges, may be ignored (14.2), so that nobody is sent overlapping copies.
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,400})-([0-9]{0,400})[ \t]*", re.IGNORECASE | re.ASCII)
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class ByteRange(NamedTuple):
    """Bytes [start, stop) of a file."""

    start: int
    stop: int


def requested_range(header: str | None, size: int) -> ByteRange | Literal["unsatisfiable"] | None:
    """Return the bytes that a Range header asks for; None = the whole file. size: of the file, bytes"""
    found = _RANGE.fullmatch(header or "")
    first, last = found.groups() if found else ("", "")
    if not first and not last:
        return None
    if not first:
        count = min(int(last), size)
        return ByteRange(size - count, size) if count else "unsatisfiable"
    start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < int(first):
        return None  # invalid, and so to be ignored (14.1.1)
    return ByteRange(start, stop) if start < size else "unsatisfiable"


def range_still_holds(if_range: str | None, etag: str) -> bool:
    """Return whether a range may be sent: If-Range is absent or names this very content (13.1.5). etag: quoted"""
    return if_range is None or if_range.strip() == etag


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client has the content already (13.1.2). etag: quoted"""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or any(tag == etag for _, tag in _TAG.findall(if_none_match))
