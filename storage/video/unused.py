"""Bytes of a file after its film that the container does not explain: reserved space, or an appended file.

Meant for a child process (storage/sandbox/parent.py), as it reads untrusted files.
"""

import os
import struct
from collections.abc import Iterator
from io import BufferedReader

import av

from storage.video.containers.matroska import ebml_number
from storage.video.frame_index import Film
from storage.video.frames import open_container
from storage.video.streams import all_packets

LEAST_BYTES = 1 << 20  # fewer are an index, tags, or a recorder's padding
LEAST_SHARE = 0.02  # of the file: Matroska's index, or a long film's sound that ends later
SEGMENT = 0x18538067
# Matroska's elements other than clusters: SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags, Void
MATROSKA_EXPLAINED = {
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC),
}


def unused_bytes(file: BufferedReader, film: Film, last_frame: int) -> int:
    """Count the bytes after the last packet of all streams that are not an index, metadata or declared room.

    Returns 0 where they are few.
    last_frame: byte where the film's last packet begins, -1 = unknown. The other streams are read only where
    much follows it.
    """
    size = os.fstat(file.fileno()).st_size
    least = max(LEAST_BYTES, int(size * LEAST_SHARE))
    if last_frame < 0 or size - last_frame < least:
        return 0
    behind = size - _end_of_packets(film, size)
    explained = EXPLAINED.get(film.container)
    if explained and behind >= least:
        behind -= sum(explained(file, size, size - behind))
    return behind if behind >= least else 0


def _end_of_packets(film: Film, size: int) -> int:
    """Return the byte after the last whole packet of any stream; the file's end where that is unknown."""
    end = -1
    try:
        with open_container(film.name, film.container) as opened:
            for packet in all_packets(opened, *opened.streams):
                if packet.pos is not None and not packet.is_corrupt:
                    end = max(end, packet.pos + packet.size)
    except av.error.FFmpegError:
        return size
    return min(end, size) if end >= 0 else size


def _mov_explained(file: BufferedReader, size: int, start: int) -> Iterator[int]:
    """Lengths of the boxes behind this byte that hold no frames: index, metadata, free room, a dashcam's positions."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if length < 8 or position + length > size:
            return
        if not kind.replace(b" ", b"").isalnum():
            return
        if position >= start:
            yield length
        position += length


def _avi_explained(file: BufferedReader, size: int, start: int) -> Iterator[int]:
    """Lengths of the indexes behind this byte: chunks of the RIFF lists, which follow each other."""
    position = 0
    while position + 12 <= size:
        file.seek(position)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind == b"RIFF":
            position += 12
            continue
        length += 8 + (length & 1)
        if not kind.isalnum() or position + length > size:
            return
        if position >= start and kind == b"idx1":
            yield length
        position += length


def _matroska_explained(file: BufferedReader, size: int, start: int) -> Iterator[int]:
    """Lengths of the elements behind this byte that are no clusters. A cluster without a length ends the search."""
    position = 0
    while position < size:
        identifier, after_id = ebml_number(file, position, keep_marker=True)
        length, content = ebml_number(file, after_id, keep_marker=False)
        if identifier == SEGMENT:
            position = content
            continue
        if length is None or content + length > size:
            return
        if position >= start and identifier in MATROSKA_EXPLAINED:
            yield content + length - position
        position = content + length


EXPLAINED = {"mov": _mov_explained, "avi": _avi_explained, "matroska": _matroska_explained}
