"""AVI: RIFF chunks."""

import struct
from io import BufferedReader

from storage.video.containers.file_end import refuse_zeros
from storage.video.regular_file import read_at

AVI_FLAGS, AVI_HAS_INDEX = 44, 0x10  # dwFlags of the main header; the index is the last chunk


def avi_promise(file: BufferedReader, size: int) -> int:
    """Bytes that the RIFF chunks claim; a length of 0 or all ones was never filled in and claims nothing."""
    position = 0
    while position + 12 <= size:
        kind, length = struct.unpack("<4sI", read_at(file, position, 8))
        if kind != b"RIFF" or length in (0, 0xFFFFFFFF):
            return size
        position += 8 + length + (length & 1)
    if read_at(file, AVI_FLAGS, 1)[0] & AVI_HAS_INDEX:
        refuse_zeros(file, position, size)
    return position - 1 if position == size + 1 else position  # the last padding byte is often left out


def avi_ends(file: BufferedReader, _size: int) -> bool:
    return struct.unpack("<I", read_at(file, 4, 4))[0] not in (0, 0xFFFFFFFF)
