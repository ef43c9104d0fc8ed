"""MP4 and MOV: boxes."""

import struct
from io import BufferedReader

from models.types import VideoError
from storage.video.regular_file import UNFINISHED, read_at

MOV_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx", b"uuid", b"udta"}


def mov_promise(file: BufferedReader, size: int) -> int:
    """Bytes that the top-level boxes claim. Raises VideoError where the index (moov) never comes."""
    position, indexed = 0, False
    while position + 8 <= size:
        head = read_at(file, position, 16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        elif length == 0:
            length = size - position  # the last box, up to the end of the file
        beyond = indexed and kind not in MOV_BOXES and position + length > size
        if length < 8 or not kind.isascii() or beyond:
            break  # padding behind the last box
        indexed |= kind == b"moov"
        position += length
    if not indexed and position <= size:
        raise VideoError(
            f"The file is truncated: its {size} bytes lack the index (moov box) of an MP4/MOV file. {UNFINISHED}"
        )
    return position


def mov_ends(file: BufferedReader, size: int) -> bool:
    """Return whether an MP4/MOV marks its end: a fragmented one only by the index of its fragments, in its last box."""
    position, fragmented, kind = 0, False, b""
    while position + 8 <= size:
        head = read_at(file, position, 16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1:
            length = struct.unpack(">Q", head[8:])[0]
        fragmented |= kind == b"moof"
        position += length if length >= 8 else size
    return not fragmented or kind == b"mfra"
