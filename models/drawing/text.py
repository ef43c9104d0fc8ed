"""Words on pictures with OpenCV, for the drawings that hold a chart. No files.

OpenCV's fonts know ASCII: all else is drawn as `?`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.text import visible

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

INK, PALE, GRID, PAPER = (60, 60, 60), (130, 130, 130), (228, 228, 228), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def put_text(picture: Image, text: str, at: tuple[int, int], size: float, color: Color, thickness: int = 1) -> None:
    """at: (x, y) where the letters' base line begins"""
    cv2.putText(picture, as_drawn(text), at, FONT, size, color, thickness, cv2.LINE_AA)


def text_width(text: str, size: float, thickness: int) -> int:
    return int(cv2.getTextSize(as_drawn(text), FONT, size, thickness)[0][0])


def put_right(picture: Image, text: str, at: tuple[int, int], size: float, color: Color, thickness: int = 2) -> None:
    """Ends at `at`; smaller, and at last shorter, where it would leave the picture."""
    text, size = fitting(text, at[0] - 16, size, thickness, 0.45)
    put_text(picture, text, (at[0] - text_width(text, size, thickness), at[1]), size, color, thickness)


def fitting(text: str, width: int, size: float, thickness: int, least: float) -> tuple[str, float]:
    """A text and its size, made to fit a width in pixels: smaller down to `least`, then cut."""
    text = as_drawn(text)
    while text_width(text, size, thickness) > width and size > least:
        size -= 0.05
    while text_width(text, size, thickness) > width and len(text) > 3:
        text = text[:-4] + "..."
    return text, size


def put_centred(picture: Image, text: str, at: tuple[int, int], size: float, color: Color, thickness: int = 2) -> None:
    """at: (x, y) of the middle of the base line"""
    put_text(picture, text, (at[0] - text_width(text, size, thickness) // 2, at[1]), size, color, thickness)


def round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10 of its power of ten: its quarters are round."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(digit * power for digit in (1, 2, 4, 6, 8, 10) if value <= digit * power * 1.0001))


def as_drawn(text: str) -> str:
    """The text in the letters that OpenCV has, in one line."""
    return visible(text).encode("ascii", "replace").decode()
