"""Kind of a file by its first bytes.

Plain bytes only: nothing is demuxed or decoded here, so a hostile file reaches no foreign code yet.
"""

from storage.video.containers.mov import MOV_BOXES

HEAD_BYTES = 4096

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
TS_PACKETS = (188, 192, 204)  # bytes from 0x47 to 0x47: MPEG-TS, Blu-ray's with a time code, DVB's with a checksum
PLAYLISTS = ("#EXTM3U", "ffconcat", "file '", "v=0", "[playlist]", "<?xml", "<asx", "<smil")


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
    return "mpegts" if ts_packets(head) else _bare_stream(head)


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


def ts_packets(head: bytes) -> tuple[int, int] | None:
    """(length, offset of the first one); a recording may begin inside a packet. None where it is not MPEG-TS."""
    for length in TS_PACKETS:
        for offset in range(min(length, len(head))):
            syncs = head[offset::length]
            if len(syncs) >= 3 and set(syncs) == {0x47}:
                return length, offset
    return None
