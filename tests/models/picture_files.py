"""Tiny picture files of every format, written byte by byte where OpenCV cannot write the format."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.datasets.picture import Picture

Image = NDArray[np.uint8]


def scene(seed: int, height: int = 48, width: int = 64) -> Image:
    """A smooth RGB picture, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def encoded(image: NDArray, kind: str = ".png", *params: int) -> bytes:
    """image: grey, RGB or RGBA; uint8 or uint16."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    bgr = image if image.ndim == 2 else np.ascontiguousarray(image[..., order[image.shape[2]]])
    done, content = cv2.imencode(kind, bgr, params)
    assert done
    return content.tobytes()


def animated(images: list[Image], kind: str) -> bytes:
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    animation.durations = [100] * len(images)
    done, content = cv2.imencodeanimation(kind, animation)
    assert done
    return content.tobytes()


def with_exif(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """The same JPEG with an EXIF segment right after its start."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0) + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def cmyk_jpeg(inks: tuple[int, int, int, int]) -> bytes:
    """8 x 8 pixels of one colour, four components as Adobe writes them: 255 = no ink."""
    bits = ""
    for value in inks:  # the block's mean, quantised by 8, is the value less 128; then "end of block"
        mean = value - 128
        size = abs(mean).bit_length()
        bits += f"{size:04b}" + (f"{mean if mean > 0 else mean + (1 << size) - 1:0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    segments = (
        (0xEE, b"Adobe\0\x64\0\0\0\0\0"),
        (0xDB, b"\0" + b"\x08" * 64),
        (0xC0, b"\x08\0\x08\0\x08\x04" + b"".join(bytes((n, 0x11, 0)) for n in (1, 2, 3, 4))),
        (0xC4, b"\0" + b"\0\0\0\x09" + bytes(12) + bytes(range(9))),
        (0xC4, b"\x10" + b"\x01" + bytes(15) + b"\0"),
        (0xDA, b"\x04" + b"".join(bytes((n, 0)) for n in (1, 2, 3, 4)) + b"\0\x3f\0"),
    )
    head = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from its raw rows (each begins with a 0 for "no filter"); chunks: such as PLTE and tRNS."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    every = ((b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in every
    )


def put(path: Path, content: bytes, car: bool = True, **fields: object) -> Picture:
    """The file written, and its Picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Picture(path, car, "made-up", **fields)  # type: ignore[arg-type]
