"""Completeness of a file by its container's own lengths."""

import errno
import os
import struct
from io import BufferedReader

from models.types import VideoError
from storage.video.containers.avi import avi_ends, avi_promise
from storage.video.containers.matroska import matroska_ends, matroska_promise
from storage.video.containers.mov import mov_ends, mov_promise
from storage.video.containers.mpeg import mpeg_promise, ts_promise
from storage.video.containers.packets import (
    asf_promise,
    dv_promise,
    flv_promise,
    mxf_ends,
    mxf_promise,
    ogg_ends,
    ogg_promise,
)
from storage.video.containers.signatures import HEAD_BYTES, NAMES, UNSUPPORTED, container_of, describe
from storage.video.regular_file import UNFINISHED, disk_faults, read_at

SPARSE_BYTES = 1 << 28  # smaller files are read quickly anyway
LEAST_WRITTEN = 0.5  # of a file's bytes; the rest are holes, left by downloads and recorders that reserve room
MOST_EXTENTS = 10_000


def check_whole(file: BufferedReader, size: int) -> str:
    """Check that a file is a complete video. Returns the container's name in libavformat.

    Raises VideoError where it is not a video, or incomplete; AttemptError where the disk does not deliver it.
    """
    with disk_faults():
        return _check_whole(file, size)


def _check_whole(file: BufferedReader, size: int) -> str:
    if size == 0:
        raise VideoError("The file is empty (0 bytes). Copy it again.")
    _check_written(file, size)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    container = container_of(head)
    if container is None:
        for magic, name in UNSUPPORTED.items():
            if head.startswith(magic):
                raise VideoError(
                    f"This is {name}, which is not supported. Convert it to MP4 ('ffmpeg -i FILE FILE.mp4')."
                )
        raise VideoError(f"This is {describe(head)}, not a video. Remove it from the archive, or give {NAMES}.")
    try:
        promised = PROMISES[container](file, size)
    except (struct.error, IndexError):
        promised = size + 1  # the file ends inside a header
    if promised > size:
        raise VideoError(
            f"The file is truncated: it has {size} bytes, and its container promises {promised} or more. {UNFINISHED}"
        )
    return container


def _check_written(file: BufferedReader, size: int) -> None:
    """Refuse a file that consists mostly of holes before it is read: its zeros are not film, despite its header."""
    written = _written_bytes(file.fileno(), size) if size >= SPARSE_BYTES else size
    if written < size * LEAST_WRITTEN:
        raise VideoError(
            f"The file is sparse: of {size / 1e9:,.1f} GB only {written / 1e6:,.1f} MB are written. {UNFINISHED}"
        )


def _written_bytes(descriptor: int, size: int) -> int:
    """Count the file's bytes outside of holes; all where the disk reports no holes or too many to be a reserve."""
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    written, stop = 0, 0
    try:
        for _ in range(MOST_EXTENTS):
            start = os.lseek(descriptor, stop, os.SEEK_DATA)
            stop = os.lseek(descriptor, start, os.SEEK_HOLE)
            written += stop - start
    except OSError as error:
        return written if error.errno == errno.ENXIO else size  # ENXIO: no data behind this byte
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
    return size


def _no_promise(_file: BufferedReader, size: int) -> int:
    """Promise nothing, for streams of packets without lengths, which may end anywhere."""
    return size


PROMISES = {
    "mov": mov_promise,
    "matroska": matroska_promise,
    "avi": avi_promise,
    "asf": asf_promise,
    "flv": flv_promise,
    "mpegts": ts_promise,
    "mpeg": mpeg_promise,
    "ogg": ogg_promise,
    "mxf": mxf_promise,
    "dv": dv_promise,
    "dhav": _no_promise,
    "ivf": _no_promise,
    "mpegvideo": _no_promise,
    "m4v": _no_promise,
    "h264": _no_promise,
    "hevc": _no_promise,
}


def tells_its_end(file: BufferedReader, size: int) -> bool:
    """Return whether an incomplete file would be noticed: otherwise any part of a recording looks complete."""
    container = container_of(read_at(file, 0, HEAD_BYTES))
    check = ENDS.get(container or "")
    try:
        return container is None or (check is not None and check(file, size))
    except (struct.error, IndexError):
        return False


def _always_ends(_file: BufferedReader, _size: int) -> bool:
    return True


ENDS = {
    "mov": mov_ends,
    "matroska": matroska_ends,
    "avi": avi_ends,
    "ogg": ogg_ends,
    "mxf": mxf_ends,
    "asf": _always_ends,
}
