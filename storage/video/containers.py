"""Kind of a file by its first bytes, and its completeness by its container's own lengths.

Plain bytes only: nothing is demuxed or decoded here, so a hostile file reaches no foreign code yet.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from models.files import sha256_of
from models.types import AttemptError, VideoError

HEAD_BYTES = 4096
TAIL_BYTES = 1 << 18
ZEROS_BYTES = 4096  # at a container's end: more than any padding
AVI_FLAGS, AVI_HAS_INDEX = 44, 0x10  # dwFlags of the main header; the index is the last chunk
TS_PACKETS = (188, 192, 204)  # bytes from 0x47 to 0x47: MPEG-TS, Blu-ray's with a time code, DVB's with a checksum
FLV_TAGS, FLV_ENCRYPTED = {8, 9, 18}, 0x20  # first byte: sound, picture, data; the last 3 of 11 are always 0
MAX_PIXELS = 8192 * 4320  # of a frame: 8K
SPARSE_BYTES = 1 << 28  # smaller files are read quickly anyway
LEAST_WRITTEN = 0.5  # of a file's bytes; the rest are holes, left by downloads and recorders that reserve room
MOST_EXTENTS = 10_000
UNFINISHED = "Copy it again, or wait for the end of the copy."
CHANGED = "The file changed while it was read. Let its copy finish: the next batch reads it again."

VIDEO_MAGIC = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02": "mxf",
    b"\x1f\x07\x00\x3f": "dv",
    b"\x1f\x07\x00\xbf": "dv",
    b"DHAV": "dhav",
    b"DAHUA": "dhav",
    b"DKIF": "ivf",
    b"\x00\x00\x01\xb3": "mpegvideo",
    b"\x00\x00\x01\xb0": "m4v",
}
# NAL units that a bare stream begins with, after its start code: ITU-T H.264, table 7-1; H.265, table 7-1.
H264_FIRST = {6, 7, 9}
HEVC_FIRST = {32, 33, 34, 35, 39}
HIKVISION = b"IMKH"  # before an MPEG program stream
VIDEO_CD = b"CDXA"  # one in a CD's sectors, as its file system shows them
# Known to be videos, but not supported here.
UNSUPPORTED = {
    b".RMF": "a RealMedia video",
    b"nut/multimedia": "a NUT video",
    b"YUV4MPEG2": "raw video",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11": "a Windows TV recording",
    b"BIKi": "a Bink video",
    b"GIF8": "a GIF picture or animation",
}
NAMES = (
    "MP4/MOV, Matroska/WebM, AVI, MPEG, MPEG-TS, WMV, FLV, Ogg, MXF, DV, Dahua's DAV, IVF or a bare MPEG, H.264 or "
    "HEVC stream"
)
MOV_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx", b"uuid", b"udta"}
PICTURE_BRANDS = {b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"}
OTHER_MAGIC = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"II*\x00": "a TIFF picture",
    b"MM\x00*": "a TIFF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"ID3": "an MP3 sound file",
    b"\xff\xfb": "an MP3 sound file",
    b"fLaC": "a FLAC sound file",
}
# Of the disk or share below a file. FFmpeg reports EIO for some damaged files too: only reading shows the cause.
READ_FAULTS = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO})
PLAYLISTS = ("#EXTM3U", "ffconcat", "file '", "v=0", "[playlist]", "<?xml", "<asx", "<smil")


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BufferedReader, str]]:
    """Open a file. Yields it and a name by which the demuxer opens the same file, whatever its real name.

    A symlink is followed, because archives contain them and its target is only read as a video; a pipe, a device or
    a folder is refused (O_NONBLOCK: a pipe without a writer would block the batch for ever). The name refers to the
    descriptor, so that a file swapped in between is not opened, and no name is ever read as a protocol.
    Raises VideoError where it is not a file, AttemptError where it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AttemptError(
            f"The file cannot be opened ({error.strerror}). Check the file and its permissions."
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise VideoError("This is a folder, a pipe or a device, not a file. Remove it from the archive.")
    with os.fdopen(descriptor, "rb") as file:
        yield file, f"file:/proc/self/fd/{descriptor}"


@contextmanager
def confirmed(file: BufferedReader, before: os.stat_result, sha256: str) -> Iterator[None]:
    """Pass a video's error on only if its file can be read and still has these bytes.

    A demuxer reports a failing disk, or a file that is being overwritten, like a damaged video: then AttemptError is
    raised instead. A file of which only the time of change is new is the same file.
    """
    try:
        yield
    except Exception as error:
        doubtful = getattr(error.__cause__ or error, "errno", None) in READ_FAULTS
        if (doubtful or _is_touched(file, before)) and digest(file) != sha256:
            raise AttemptError(CHANGED) from error
        raise
    if _is_touched(file, before) and digest(file) != sha256:
        raise AttemptError(CHANGED)


def _is_touched(file: BufferedReader, before: os.stat_result) -> bool:
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def digest(file: BufferedReader, count: int | None = None) -> str:
    """SHA-256 of the first count bytes, None = of the whole file. Raises AttemptError where the disk fails."""
    with _disk_faults():
        file.seek(0)
        return sha256_of(file, count)


@contextmanager
def _disk_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AttemptError(f"The file cannot be read ({error.strerror}). Check its disk.") from error


def check_whole(file: BufferedReader, size: int) -> str:
    """Check that a file is a complete video. Returns the container's name in libavformat.

    Raises VideoError where it is not a video, or incomplete; AttemptError where the disk does not deliver it.
    """
    with _disk_faults():
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


def container_of(head: bytes) -> str | None:
    """Name of the container by its first bytes; None where it is not one that may be opened."""
    for magic, name in VIDEO_MAGIC.items():
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in MOV_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in PICTURE_BRANDS):
        return "mov"
    if head.startswith(HIKVISION) or (head[:4] == b"RIFF" and head[8:12] == VIDEO_CD):
        return "mpeg"
    return "mpegts" if _ts_packets(head) else _bare_stream(head)


def _bare_stream(head: bytes) -> str | None:
    """H.264 and HEVC without a container, by the two bytes after the first start code."""
    start = 4 if head.startswith(b"\x00\x00\x00\x01") else 3 if head.startswith(b"\x00\x00\x01") else None
    if start is None or len(head) < start + 2 or head[start] & 0x80:
        return None
    first, second = head[start], head[start + 1]
    if first >> 1 & 63 in HEVC_FIRST and first & 1 == 0 and second == 1:
        return "hevc"
    return "h264" if first & 31 in H264_FIRST else None


def describe(head: bytes) -> str:
    """Describe the kind of a file that is not a video, for users."""
    if head[4:8] == b"ftyp":
        return "a HEIF or AVIF picture"
    if head[:4] == b"RIFF":
        return {b"WAVE": "a WAV sound file", b"WEBP": "a WebP picture"}.get(head[8:12], "a RIFF file of another kind")
    for magic, name in OTHER_MAGIC.items():
        if head.startswith(magic):
            return name
    if not head.strip(b"\x00"):
        return "nothing but zero bytes, as of reserved space that was never filled"
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff \r\n\t")
    if text.lower().startswith(tuple(start.lower() for start in PLAYLISTS)):
        return "a playlist or description that names other files"
    if text.isascii() and all(char.isprintable() or char.isspace() for char in text):
        return "a text file"
    return f"unknown data (it begins with {head[:8].hex(' ')})"


def _ts_packets(head: bytes) -> tuple[int, int] | None:
    """(length, offset of the first one); a recording may begin inside a packet. None where it is not MPEG-TS."""
    for length in TS_PACKETS:
        for offset in range(min(length, len(head))):
            syncs = head[offset::length]
            if len(syncs) >= 3 and set(syncs) == {0x47}:
                return length, offset
    return None


def _read_at(file: BufferedReader, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _mov_promise(file: BufferedReader, size: int) -> int:
    """Bytes that the top-level boxes claim. Raises VideoError where the index (moov) never comes."""
    position, indexed = 0, False
    while position + 8 <= size:
        head = _read_at(file, position, 16)
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


def _matroska_promise(file: BufferedReader, size: int) -> int:
    """Bytes that the Segment claims; the size itself where it was written live, without a length."""
    position = 0
    while position < size:
        identifier, after_id = ebml_number(file, position, keep_marker=True)
        length, start = ebml_number(file, after_id, keep_marker=False)
        if length is None:
            return size
        if identifier == 0x18538067:
            _refuse_zeros(file, start + length, size)
            return start + length
        position = start + length
    return position


def _refuse_zeros(file: BufferedReader, stop: int, size: int) -> None:
    """Raise VideoError where the end, which holds an index in a whole file, is space that a copy reserved."""
    tail = _read_at(file, stop - ZEROS_BYTES, ZEROS_BYTES) if ZEROS_BYTES <= stop <= size else b""
    if tail and not tail.strip(b"\0"):
        raise VideoError(
            f"The file is truncated: there are only zeros before byte {stop}, where its container ends. {UNFINISHED}"
        )


def ebml_number(file: BufferedReader, position: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """(value, position behind it); None = unknown length or no number at all."""
    raw = _read_at(file, position, 8)
    width = 9 - raw[0].bit_length() if raw and raw[0] else 0
    if not width or len(raw) < width:
        return None, position
    value = int.from_bytes(raw[:width], "big")
    payload = value & ((1 << 7 * width) - 1)
    unknown = payload == (1 << 7 * width) - 1
    return (value if keep_marker else None if unknown else payload), position + width


def _avi_promise(file: BufferedReader, size: int) -> int:
    """Bytes that the RIFF chunks claim; a length of 0 or all ones was never filled in and claims nothing."""
    position = 0
    while position + 12 <= size:
        kind, length = struct.unpack("<4sI", _read_at(file, position, 8))
        if kind != b"RIFF" or length in (0, 0xFFFFFFFF):
            return size
        position += 8 + length + (length & 1)
    if _read_at(file, AVI_FLAGS, 1)[0] & AVI_HAS_INDEX:
        _refuse_zeros(file, position, size)
    return position - 1 if position == size + 1 else position  # the last padding byte is often left out


def _asf_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the data object, which follows the header object."""
    position = int(struct.unpack("<Q", _read_at(file, 16, 8))[0])
    head = _read_at(file, min(position, size), 24)
    if len(head) < 24:
        return max(position + 24, size + 1)
    return position + int(struct.unpack("<Q", head[16:])[0])


def _flv_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last tag that begins in the file. Other bytes promise nothing."""
    position = struct.unpack(">I", _read_at(file, 5, 4))[0] + 4
    while position + 11 <= size:
        head = _read_at(file, position, 11)
        if head[0] & ~FLV_ENCRYPTED not in FLV_TAGS or any(head[8:]):
            return size
        position += 11 + int.from_bytes(head[1:4], "big") + 4
    return position if position > size else size


def _ts_promise(file: BufferedReader, size: int) -> int:
    """Return the bytes of the next whole number of packets. A time code before each 0x47 belongs to its packet.

    Recorders reserve space ahead: zeros, or other bytes that are not packets, after the last one promise nothing.
    """
    tail = _read_at(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
    if len(tail) - len(tail.rstrip(b"\0")) >= TS_PACKETS[-1] or _ts_packets(tail[-HEAD_BYTES:]) is None:
        return size
    length, offset = _ts_packets(_read_at(file, 0, HEAD_BYTES)) or (TS_PACKETS[0], 0)
    before = offset - 4 if length == 192 and offset >= 4 else offset
    return before + -(-(size - before) // length) * length


def _mpeg_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last packet that begins in the file's tail: the only promise of this format.

    For a Video CD's file, the size in its RIFF header.
    """
    name, length = struct.unpack("<4sI", _read_at(file, 0, 8))
    if name == b"RIFF":
        return 8 + int(length)
    start = max(0, size - TAIL_BYTES)
    tail = _read_at(file, start, TAIL_BYTES)
    position = tail.rfind(b"\x00\x00\x01\xba")
    if position < 0:
        return size
    position += (
        12 if tail[position + 4] >> 4 == 2 else 14 + (tail[position + 13] & 7) if len(tail) > position + 13 else 14
    )
    while position + 6 <= len(tail) and tail[position : position + 3] == b"\x00\x00\x01" and tail[position + 3] >= 0xBB:
        position += 6 + int.from_bytes(tail[position + 4 : position + 6], "big")
    return max(start + position, size)


def _ogg_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last page that begins in the file's tail (RFC 3533, 6)."""
    start = max(0, size - TAIL_BYTES)
    tail = _read_at(file, start, TAIL_BYTES)
    position = tail.rfind(b"OggS\x00")
    if position < 0:
        return size
    lacing = tail[position + 27 : position + 27 + tail[position + 26]]
    if len(lacing) < tail[position + 26]:
        return size + 1
    return max(start + position + 27 + len(lacing) + sum(lacing), size)


def _mxf_promise(file: BufferedReader, size: int) -> int:
    """Bytes up to the end of the last of the KLV packets (SMPTE ST 377-1), which follow each other from the start."""
    position = 0
    while position + 17 <= size:
        head = _read_at(file, position, 25)
        if head[:4] != b"\x06\x0e\x2b\x34":
            return size
        first = head[16]
        width = first & 0x7F if first & 0x80 else 0
        length = int.from_bytes(head[17 : 17 + width], "big") if width else first
        position += 17 + width + length
    rest = _read_at(file, position, 17) if position < size else b""
    return size + 1 if rest.startswith(b"\x06\x0e\x2b\x34") else max(position, size)


def _dv_promise(file: BufferedReader, size: int) -> int:
    """Return the size in whole frames: 120,000 bytes in 60 Hz, 144,000 in 50 Hz (the bit behind 1f 07 00)."""
    frame_bytes = 144_000 if _read_at(file, 3, 1)[0] & 0x80 else 120_000
    return -(-size // frame_bytes) * frame_bytes


def _no_promise(_file: BufferedReader, size: int) -> int:
    """Promise nothing, for streams of packets without lengths, which may end anywhere."""
    return size


PROMISES = {
    "mov": _mov_promise,
    "matroska": _matroska_promise,
    "avi": _avi_promise,
    "asf": _asf_promise,
    "flv": _flv_promise,
    "mpegts": _ts_promise,
    "mpeg": _mpeg_promise,
    "ogg": _ogg_promise,
    "mxf": _mxf_promise,
    "dv": _dv_promise,
    "dhav": _no_promise,
    "ivf": _no_promise,
    "mpegvideo": _no_promise,
    "m4v": _no_promise,
    "h264": _no_promise,
    "hevc": _no_promise,
}


def tells_its_end(file: BufferedReader, size: int) -> bool:
    """Return whether an incomplete file would be noticed: otherwise any part of a recording looks complete."""
    container = container_of(_read_at(file, 0, HEAD_BYTES))
    check = ENDS.get(container or "")
    try:
        return container is None or (check is not None and check(file, size))
    except (struct.error, IndexError):
        return False


def _mov_ends(file: BufferedReader, size: int) -> bool:
    """Return whether an MP4/MOV marks its end: a fragmented one only by the index of its fragments, in its last box."""
    position, fragmented, kind = 0, False, b""
    while position + 8 <= size:
        head = _read_at(file, position, 16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1:
            length = struct.unpack(">Q", head[8:])[0]
        fragmented |= kind == b"moof"
        position += length if length >= 8 else size
    return not fragmented or kind == b"mfra"


def _matroska_ends(file: BufferedReader, size: int) -> bool:
    position = 0
    while position < size:
        identifier, after_id = ebml_number(file, position, keep_marker=True)
        length, start = ebml_number(file, after_id, keep_marker=False)
        if identifier == 0x18538067 or length is None:
            return length is not None
        position = start + length
    return False


def _avi_ends(file: BufferedReader, _size: int) -> bool:
    return struct.unpack("<I", _read_at(file, 4, 4))[0] not in (0, 0xFFFFFFFF)


def _ogg_ends(file: BufferedReader, size: int) -> bool:
    """Return whether the flag of a stream's last page is set."""
    tail = _read_at(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
    position = tail.rfind(b"OggS\x00")
    return position >= 0 and bool(tail[position + 5] & 4)


def _mxf_ends(file: BufferedReader, _size: int) -> bool:
    """Return whether an MXF is complete by the first partition's status: closed (2 and 4 of byte 14 of its key)."""
    return _read_at(file, 14, 1) in (b"\x02", b"\x04")


def _always_ends(_file: BufferedReader, _size: int) -> bool:
    return True


ENDS = {
    "mov": _mov_ends,
    "matroska": _matroska_ends,
    "avi": _avi_ends,
    "ogg": _ogg_ends,
    "mxf": _mxf_ends,
    "asf": _always_ends,
}
