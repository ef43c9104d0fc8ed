"""Containers that are chains of packets with lengths: ASF, FLV, Ogg, MXF, and DV of frames of one size."""

import struct
from io import BufferedReader

from storage.video.containers.file_end import TAIL_BYTES
from storage.video.regular_file import read_at

FLV_TAGS, FLV_ENCRYPTED = {8, 9, 18}, 0x20  # first byte: sound, picture, data; the last 3 of 11 are always 0


def asf_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the data object, which follows the header object."""
    position = int(struct.unpack("<Q", read_at(file, 16, 8))[0])
    head = read_at(file, min(position, size), 24)
    if len(head) < 24:
        return max(position + 24, size + 1)
    return position + int(struct.unpack("<Q", head[16:])[0])


def flv_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last tag that begins in the file. Other bytes promise nothing."""
    position = struct.unpack(">I", read_at(file, 5, 4))[0] + 4
    while position + 11 <= size:
        head = read_at(file, position, 11)
        if head[0] & ~FLV_ENCRYPTED not in FLV_TAGS or any(head[8:]):
            return size
        position += 11 + int.from_bytes(head[1:4], "big") + 4
    return position if position > size else size


def ogg_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last page that begins in the file's tail (RFC 3533, 6)."""
    start = max(0, size - TAIL_BYTES)
    tail = read_at(file, start, TAIL_BYTES)
    position = tail.rfind(b"OggS\x00")
    if position < 0:
        return size
    lacing = tail[position + 27 : position + 27 + tail[position + 26]]
    if len(lacing) < tail[position + 26]:
        return size + 1
    return max(start + position + 27 + len(lacing) + sum(lacing), size)


def mxf_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last of the KLV packets (SMPTE ST 377-1), which follow each other from the start."""
    position = 0
    while position + 17 <= size:
        head = read_at(file, position, 25)
        if head[:4] != b"\x06\x0e\x2b\x34":
            return size
        first = head[16]
        width = first & 0x7F if first & 0x80 else 0
        length = int.from_bytes(head[17 : 17 + width], "big") if width else first
        position += 17 + width + length
    rest = read_at(file, position, 17) if position < size else b""
    return size + 1 if rest.startswith(b"\x06\x0e\x2b\x34") else max(position, size)


def dv_promise(file: BufferedReader, size: int) -> int:
    """Return the size in whole frames: 120,000 bytes in 60 Hz, 144,000 in 50 Hz (the bit behind 1f 07 00)."""
    frame_bytes = 144_000 if read_at(file, 3, 1)[0] & 0x80 else 120_000
    return -(-size // frame_bytes) * frame_bytes


def ogg_ends(file: BufferedReader, size: int) -> bool:
    """Return whether the flag of a stream's last page is set."""
    tail = read_at(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
    position = tail.rfind(b"OggS\x00")
    return position >= 0 and bool(tail[position + 5] & 4)


def mxf_ends(file: BufferedReader, _size: int) -> bool:
    """Return whether an MXF is complete by the first partition's status: closed (2 and 4 of byte 14 of its key)."""
    return read_at(file, 14, 1) in (b"\x02", b"\x04")
