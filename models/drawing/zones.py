"""Zones drawn on a picture, with their names. No files."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from models.drawing.people import OUTLINE, Color, Image, track_color
from models.drawing.text import fitting, font, put_text, text_width
from models.types import CameraZone

_SHADE = 0.25


def draw_zones(picture: Image, zones: Sequence[CameraZone]) -> Image:
    """Draw zones in place: areas shaded, lines with an arrow to their right side. Return the picture.

    picture: (height, width, 3) uint8 BGR, contiguous
    """
    size = np.array(picture.shape[1::-1])
    unit = max(1, round(float(np.sqrt(size.prod())) / 300))
    places = [np.array(zone.points, np.float64).reshape(-1, 2) * size for zone in zones]
    for number, (zone, points) in enumerate(zip(zones, places, strict=True), 1):
        _draw_shape(picture, points, zone.shape == "polygon", track_color(number), unit)
    for number, (zone, points) in enumerate(zip(zones, places, strict=True), 1):
        _draw_name(picture, zone.name, points, track_color(number))
    return picture


def _draw_shape(picture: Image, points: NDArray[np.float64], closed: bool, color: Color, unit: int) -> None:
    corners = [np.round(points).astype(np.int32)]
    if closed:
        shaded = cv2.fillPoly(picture.copy(), corners, color)
        picture[:] = cv2.addWeighted(picture, 1 - _SHADE, shaded, _SHADE, 0)
    strokes = [(OUTLINE, 3 * unit), (color, unit)]
    for stroke, width in strokes:
        cv2.polylines(picture, corners, closed, stroke, width, cv2.LINE_AA)
        for start, end in () if closed else pairwise(points):
            _draw_arrow(picture, start, end, stroke, width)


def _draw_arrow(picture: Image, start: NDArray[np.float64], end: NDArray[np.float64], color: Color, width: int) -> None:
    """Draw an arrow from the middle of a line to its right side."""
    along = end - start
    right = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    middle = (start + end) / 2
    tip = middle + right * min(picture.shape[:2]) / 16
    ends = [tuple(np.round(place).astype(int).tolist()) for place in (middle, tip)]
    cv2.arrowedLine(picture, ends[0], ends[1], color, width, cv2.LINE_AA, tipLength=0.35)


def _draw_name(picture: Image, name: str, points: NDArray[np.float64], color: Color) -> None:
    """Write a name on a strip of the zone's colour at its highest point, inside of the picture."""
    height, width = picture.shape[:2]
    size_px = max(10, min(height, width) // 28)
    ascent, descent = font(size_px).getmetrics()
    pad = max(2, size_px // 5)
    shown = fitting(name, width - 2 * pad, size_px)
    wide, high = text_width(shown, size_px) + 2 * pad, ascent + descent
    x, y = points[np.argmin(points[:, 1])]
    left = round(min(max(float(x) - wide / 2, 0), max(width - wide, 0)))
    top = round(min(max(float(y) - high - pad, 0), max(height - high, 0)))
    picture[top : top + high, left : left + wide] = color
    put_text(picture, shown, (left + pad, top + ascent), size_px, OUTLINE)
