"""MPEG program and transport streams."""

import struct
from io import BufferedReader

from storage.video.containers.file_end import TAIL_BYTES
from storage.video.containers.signatures import HEAD_BYTES, TS_PACKETS, ts_packets
from storage.video.regular_file import read_at


def ts_promise(file: BufferedReader, size: int) -> int:
    """Return the bytes of the next whole number of packets. A time code before each 0x47 belongs to its packet.

    Recorders reserve space ahead: zeros, or other bytes that are not packets, after the last one promise nothing.
    """
    tail = read_at(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
    if len(tail) - len(tail.rstrip(b"\0")) >= TS_PACKETS[-1] or ts_packets(tail[-HEAD_BYTES:]) is None:
        return size
    length, offset = ts_packets(read_at(file, 0, HEAD_BYTES)) or (TS_PACKETS[0], 0)
    before = offset - 4 if length == 192 and offset >= 4 else offset
    return before + -(-(size - before) // length) * length


def mpeg_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last packet that begins in the file's tail: the only promise of this format.

    For a Video CD's file, the size in its RIFF header.
    """
    name, length = struct.unpack("<4sI", read_at(file, 0, 8))
    if name == b"RIFF":
        return 8 + int(length)
    start = max(0, size - TAIL_BYTES)
    tail = read_at(file, start, TAIL_BYTES)
    position = tail.rfind(b"\x00\x00\x01\xba")
    if position < 0:
        return size
    position += (
        12 if tail[position + 4] >> 4 == 2 else 14 + (tail[position + 13] & 7) if len(tail) > position + 13 else 14
    )
    while position + 6 <= len(tail) and tail[position : position + 3] == b"\x00\x00\x01" and tail[position + 3] >= 0xBB:
        position += 6 + int.from_bytes(tail[position + 4 : position + 6], "big")
    return max(start + position, size)
