"""Matroska and WebM: EBML."""

from io import BufferedReader

from storage.video.containers.file_end import refuse_zeros
from storage.video.regular_file import read_at


def matroska_promise(file: BufferedReader, size: int) -> int:
    """Bytes that the Segment claims; the size itself where it was written live, without a length."""
    position = 0
    while position < size:
        identifier, after_id = ebml_number(file, position, keep_marker=True)
        length, start = ebml_number(file, after_id, keep_marker=False)
        if length is None:
            return size
        if identifier == 0x18538067:
            refuse_zeros(file, start + length, size)
            return start + length
        position = start + length
    return position


def ebml_number(file: BufferedReader, position: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """(value, position behind it); None = unknown length or no number at all."""
    raw = read_at(file, position, 8)
    width = 9 - raw[0].bit_length() if raw and raw[0] else 0
    if not width or len(raw) < width:
        return None, position
    value = int.from_bytes(raw[:width], "big")
    payload = value & ((1 << 7 * width) - 1)
    unknown = payload == (1 << 7 * width) - 1
    return (value if keep_marker else None if unknown else payload), position + width


def matroska_ends(file: BufferedReader, size: int) -> bool:
    position = 0
    while position < size:
        identifier, after_id = ebml_number(file, position, keep_marker=True)
        length, start = ebml_number(file, after_id, keep_marker=False)
        if identifier == 0x18538067 or length is None:
            return length is not None
        position = start + length
    return False
