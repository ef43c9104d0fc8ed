"""A picture of a data set: its file, class and split, and reading it. No network, no training."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.text import visible
from models.types import NightjarError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

MAX_PIXELS = 100_000_000  # 300 MB of RGB; the largest of Stanford Cars has 42 million
MAX_BYTES = 200_000_000
STRIPE_PIXELS = 1 << 20
_FORMATS = "JPEG, PNG, WebP, GIF or BMP"
# Common formats that are not supported, by their first bytes and by the brands of ISO 23008-12.
_SIGNATURES = {
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "Photoshop": (b"8BPS",),
    "PDF": (b"%PDF",),
}
_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}


class PictureError(NightjarError):
    """A file that is not a usable picture, or an invalid data set.

    Names of files may contain bytes that are not UTF-8. They are escaped, so that the text can be stored and sent.
    """

    def __init__(self, text: str) -> None:
        super().__init__(visible(text))


class UnsupportedFormat(PictureError):
    """A picture of a format that is not supported. format: such as AVIF"""

    def __init__(self, text: str, format: str) -> None:
        super().__init__(text)
        self.format = format


@dataclass(frozen=True)
class Picture:
    """One picture of a data set.

    car: it shows a car; source: the data set's name; split: None where it is still to be drawn
    box: (left, top, right, bottom) pixels to cut out, right and bottom exclusive; None = the whole picture
    sha256: of the file's bytes, empty until the file was read
    """

    path: Path
    car: bool
    source: str
    split: Split | None = None
    box: tuple[int, int, int, int] | None = None
    sha256: str = ""


def pictures_sha256(pictures: Sequence[Picture]) -> str:
    """Hash all that affects a training: bytes, box, class and split of each, in order. Paths of files do not count."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.sha256} {picture.box} {picture.car} {picture.split}\n".encode())
    return digest.hexdigest()


def read_picture(picture: Picture) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB as a viewer shows it, cut to its box. Raises PictureError with the reason.

    Grey, palette, CMYK and 16-bit pictures become RGB. Transparent ones are put on white, without regard to their EXIF;
    others are rotated by EXIF. Of an animation the first frame counts.
    """
    return decode_picture(read_bytes(picture.path), picture)


def read_bytes(path: Path) -> bytes:
    """Read a picture file: a regular file (or a link to one) of a sane size, never a pipe, device or folder."""
    try:
        if not path.is_file():
            found = "is not a regular file" if path.exists() else "does not exist"
            raise PictureError(f"{path} {found}. Leave it out.")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BYTES:
            raise PictureError(f"{path} has {size_bytes:,} bytes, more than {MAX_BYTES:,}. Leave it out.")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(
            f"{path} cannot be read ({error.strerror}). Correct its permissions, or check its disk."
        ) from error


def decode_picture(content: bytes, picture: Picture) -> NDArray[np.uint8]:
    """Decode the bytes of a file that were read before, like read_picture."""
    path = picture.path
    try:
        kind, width, height = picture_header(content)
    except (IndexError, ValueError) as error:
        what = f"starts with {content[:8]!r}" if content else "is empty"
        if found := _unsupported(content):
            text = f"{path} {what}, as {found} does, which is not supported. Convert it to JPEG or PNG."
            raise UnsupportedFormat(text, found) from error
        raise PictureError(f"{path} {what}, which is not a {_FORMATS}. Fetch it again or leave it out.") from error
    if not 0 < width * height <= MAX_PIXELS:
        raise PictureError(
            f"{path} has {width} x {height} by its header, more than {MAX_PIXELS:,} pixels. Leave it out."
        )
    image = _decode(kind, content)
    if image is None:
        raise PictureError(f"{path} is a {kind} that is truncated or damaged. Fetch it again or leave it out.")
    return np.ascontiguousarray(_cut(image, picture))


def picture_header(content: bytes) -> tuple[str, int, int]:
    """Return format, width and height, before anything is decoded.

    This is an allow-list, and the guard against decompression bombs. Raises ValueError or IndexError for other formats.
    """
    if content.startswith(b"\xff\xd8\xff"):
        at = _jpeg_frame(content)
        return "JPEG", _big(content[at + 7 : at + 9]), _big(content[at + 5 : at + 7])
    if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
        return "PNG", _big(content[16:20]), _big(content[20:24])
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF", _little(content[6:8]), _little(content[8:10])
    if content.startswith(b"BM"):
        return "BMP", abs(_little(content[18:22], signed=True)), abs(_little(content[22:26], signed=True))
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP", *_webp_size(content)
    raise ValueError("This is none of the formats.")


def _unsupported(content: bytes) -> str | None:
    """Return the name of the format, of those that are known and not supported."""
    if content[4:8] == b"ftyp":  # the box's size, ftyp, the major brand, its version, compatible brands
        brands = {content[at : at + 4] for at in (8, *range(16, min(_big(content[:4]), 256), 4))}
        return next((name for name, known in _BRANDS.items() if brands & known), None)
    return next((name for name, starts in _SIGNATURES.items() if content.startswith(starts)), None)


def _jpeg_frame(content: bytes) -> int:
    """Position of a JPEG's frame header (SOFn). EXIF's own small JPEG is inside a segment, which is skipped."""
    at = 2
    while True:
        if content[at] != 0xFF:
            raise ValueError("There is no marker where one should be.")
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # not DHT, JPG, DAC
            return at
        else:
            at += 2 + _big(content[at + 2 : at + 4])


def _webp_size(content: bytes) -> tuple[int, int]:
    """Read the size from the first chunk, as RFC 9649 lays out its three kinds."""
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + _little(content[24:27]), 1 + _little(content[27:30])
    if kind == b"VP8L":
        bits = _little(content[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return _little(content[26:28]) & 0x3FFF, _little(content[28:30]) & 0x3FFF
    raise ValueError("This kind of WebP is unknown.")


def _big(part: bytes) -> int:
    return int.from_bytes(part, "big")


def _little(part: bytes, *, signed: bool = False) -> int:
    return int.from_bytes(part, "little", signed=signed)


def _decode(kind: str, content: bytes) -> NDArray[np.uint8] | None:
    """Decode the picture; None = the file is truncated or damaged.

    From memory and not by imread: from a file OpenCV lets libjpeg fill missing parts with grey.
    """
    if kind == "JPEG" and content.find(b"\xff\xd9", _jpeg_frame(content)) < 0:
        return None  # no end: a download whose missing part is zeros, which libjpeg decodes to grey
    buffer = np.frombuffer(content, np.uint8)
    try:
        if kind not in ("JPEG", "BMP"):
            raw = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
            if raw is None or (raw.ndim == 3 and raw.shape[2] == 4):
                return None if raw is None else _on_white(raw)
        return cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]
    except cv2.error:
        return None


def _on_white(bgra: NDArray[Any]) -> NDArray[np.uint8]:
    """Put a transparent picture on white, as cut-out pictures are shown: transparent pixels may have any colour.

    In stripes, because a large picture takes gigabytes as floats.
    """
    rgb = np.empty((*bgra.shape[:2], 3), np.uint8)
    rows = max(1, STRIPE_PIXELS // bgra.shape[1])
    for top in range(0, len(bgra), rows):
        rgb[top : top + rows] = _stripe_on_white(bgra[top : top + rows])
    return rgb


def _stripe_on_white(bgra: NDArray[Any]) -> NDArray[np.uint8]:
    most = 255 if bgra.dtype == np.uint8 else 65535
    alpha = bgra[..., 3:].astype(np.float32) / most
    shown = bgra[..., 2::-1].astype(np.float32) * (255 / most) * alpha + 255 * (1 - alpha)
    rounded: NDArray[np.uint8] = (shown + 0.5).astype(np.uint8)
    return rounded


def _cut(image: NDArray[np.uint8], picture: Picture) -> NDArray[np.uint8]:
    if picture.box is None:
        return image
    left, top, right, bottom = picture.box
    part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not part.size:
        height, width = image.shape[:2]
        raise PictureError(f"The box {picture.box} is outside of {picture.path} ({width} x {height}). Correct the box.")
    return part
