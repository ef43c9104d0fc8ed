"""Words on pictures and video frames, in one line, by Pillow: any letter that DejaVu Sans has. No files.

OpenCV's fonts know ASCII only. matplotlib brings the font, and is loaded when the first word is drawn.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.text import visible

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Image = NDArray[np.uint8]
Color = tuple[int, int, int]


@cache
def font(size_px: int) -> "FreeTypeFont":
    """Load DejaVu Sans."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size_px)


def put_text(picture: Image, text: str, at: tuple[int, int], size_px: int, color: Color) -> None:
    """Write in place, cut at the picture's edge. at: x, y of the left end of the base line; color: BGR"""
    from PIL import Image as Picture
    from PIL import ImageDraw

    face = font(size_px)
    ascent, descent = face.getmetrics()
    top, bottom = max(0, at[1] - ascent), at[1] + descent
    strip = picture[top:bottom]
    drawn = Picture.fromarray(strip)
    ImageDraw.Draw(drawn).text((at[0], at[1] - top), visible(text), color, face, anchor="ls")
    strip[:] = np.asarray(drawn)


def text_width(text: str, size_px: int) -> int:
    return int(np.ceil(font(size_px).getlength(visible(text))))


def fitting(text: str, width: int, size_px: int) -> str:
    """Cut the beginning of a text that is wider than `width` pixels: names of files differ at their ends."""
    plain = shown = visible(text)
    while len(shown) > 1 and text_width(shown, size_px) > width:
        plain = plain[max(1, len(plain) // 50) :]
        shown = f"…{plain}"
    return shown
