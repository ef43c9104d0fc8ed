"""People drawn on pictures, and pictures side by side. OpenCV on arrays: no files, no video, no decoding of poses.

A person with a track has the track's colour and number. Without tracks, left is orange and right is blue for everybody:
people are ordered by score, so a colour per person would change from frame to frame.
"""

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoders.skeleton import DRAWN_EDGES
from models.drawing.text import fitting, font, put_text, text_width
from models.types import KEYPOINT_NAMES

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

LEFT: Color = (60, 140, 255)  # BGR: orange
RIGHT: Color = (255, 190, 60)  # sky blue
MIDDLE: Color = (210, 240, 210)
OUTLINE: Color = (30, 25, 25)
PAPER: Color = (34, 30, 28)
INK: Color = (240, 240, 240)

_SUBPIXEL_BITS = 4
_GOLDEN = (math.sqrt(5) - 1) / 2  # steps of this part of a circle come near each other as late as possible
_SMALLEST_PX = 7  # of a caption's letters


def draw_poses(
    image_bgr: Image,
    keypoints: NDArray[np.float32],
    keypoint_scores: NDArray[np.float32],
    caption: str = "",
    tracks: NDArray[np.int32] | None = None,
) -> Image:
    """Draw people and a caption in place, and return the picture.

    image_bgr: (h, w, 3) uint8, contiguous; keypoints: (n, 17, 2) x, y in its pixels, NaN = not found
    keypoint_scores: (n, 17), sure ones get larger dots; caption: see draw_caption
    tracks: (n,) number of each person, drawn above the head; 0 = none. None = nobody has one
    """
    unit = _line_width_px(image_bgr)
    numbers = [0] * len(keypoints) if tracks is None else tracks.tolist()
    for person, scores, number in zip(keypoints, keypoint_scores, numbers, strict=True):
        _draw_person(image_bgr, person, scores, unit, track_color(number) if number else None)
    for person, number in zip(keypoints, numbers, strict=True):
        if number:
            _draw_number(image_bgr, person, number)
    if caption:
        draw_caption(image_bgr, caption)
    return image_bgr


def track_color(track: int) -> Color:
    """Return a bright colour, BGR. Successive numbers have very different ones."""
    hue, value = (track * _GOLDEN) % 1.0, 1.0 if track % 2 else 0.82
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def _draw_number(image: Image, person: NDArray[np.float32], number: int) -> None:
    """Draw a track's number above the highest keypoint, on a strip of the track's colour."""
    found = person[np.isfinite(person).all(axis=1)]
    if not len(found):
        return
    height, width = image.shape[:2]
    size_px = max(9, min(height, width) // 28)
    ascent, descent = font(size_px).getmetrics()
    text, pad = str(number), max(1, size_px // 6)
    wide, high = text_width(text, size_px) + 2 * pad, ascent + descent
    middle, top = float(found[:, 0].mean()), float(found[:, 1].min())
    left = round(min(max(middle - wide / 2, 0), max(width - wide, 0)))
    upper = round(min(max(top - 1.5 * high, 0), max(height - high, 0)))
    strip = image[upper : upper + high, left : left + wide]
    strip[:] = track_color(number)
    put_text(image, text, (left + pad, upper + ascent), size_px, OUTLINE)


def draw_caption(image: Image, caption: str) -> None:
    """Draw, in place, light letters on a darkened strip at the bottom, never wider than the picture.

    image: (h, w, 3) uint8, contiguous; caption: shrunk, then without its beginning, if it is too wide
    """
    height, width = image.shape[:2]
    size_px = max(11, min(height, width) // 32)
    pad = size_px // 3
    room = width - 2 * pad
    if (wide := text_width(caption, size_px)) > room:
        size_px = max(_SMALLEST_PX, size_px * room // wide)
    ascent, descent = font(size_px).getmetrics()
    shown = fitting(caption, room, size_px)
    strip = image[max(0, height - ascent - descent - pad) :, : text_width(shown, size_px) + 2 * pad]
    strip[:] = (strip * 0.35).astype(np.uint8)
    put_text(strip, shown, (pad, strip.shape[0] - descent - pad // 2), size_px, INK)


def contact_sheet(images: Sequence[Image], columns: int, width_px: int, names: Sequence[str] = ()) -> Image:
    """Arrange pictures of any size as tiles of 4:3 with a margin, `columns` per row, each picture whole.

    names: one per picture, above its tile, in any script of DejaVu Sans; a long one loses its beginning
    Returns (height, width_px, 3) uint8 BGR. Raises ValueError without pictures, or without room for the tiles.
    """
    columns, margin = min(columns, len(images)), max(2, width_px // 160)
    width = (width_px - margin * (columns + 1)) // columns if columns > 0 else 0
    height, line = width * 3 // 4, 3 * margin if names else 0
    if height < 1:
        raise ValueError(
            f"{len(images)} pictures do not fit into {columns} columns on {width_px} pixels. Give some pictures, and "
            "more width."
        )
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (line + height + margin) + margin, width_px, 3), PAPER, np.uint8)
    corners = [
        (margin + number % columns * (width + margin), margin + number // columns * (line + height + margin))
        for number in range(len(images))
    ]
    for image, (left, top) in zip(images, corners, strict=True):
        _paste(sheet, image, (left, top + line), (width, height))
    size_px = max(6, line * 2 // 3)
    for name, (left, top) in zip(names, corners, strict=False):
        put_text(sheet, fitting(name, width, size_px), (left, top + size_px), size_px, INK)
    return sheet


def _paste(sheet: Image, image: Image, corner: tuple[int, int], size: tuple[int, int]) -> None:
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR  # AREA: no moiré when shrinking
    left, top = corner[0] + (size[0] - width) // 2, corner[1] + (size[1] - height) // 2
    sheet[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=method)


def _line_width_px(image: Image) -> int:
    """Width that does not hide a person and is visible in a thumbnail: 2 at 640x480, 5 at 1768x994."""
    return max(1, round(math.sqrt(image.shape[0] * image.shape[1]) / 270))


def _draw_person(
    image: Image, keypoints: NDArray[np.float32], scores: NDArray[np.float32], unit: int, color: Color | None
) -> None:
    """Draw a person, all outlines first, so that no outline crosses a limb's colour. color: None = by side"""
    places = [_subpixel(place, image) for place in keypoints]
    lines = [(places[a], places[b], color or _color(a, b)) for a, b in DRAWN_EDGES]
    drawn = [(start, end, line_color) for start, end, line_color in lines if start and end]
    for start, end, _ in drawn:
        cv2.line(image, start, end, OUTLINE, unit + max(2, unit), cv2.LINE_AA, _SUBPIXEL_BITS)
    for start, end, line_color in drawn:
        cv2.line(image, start, end, line_color, unit, cv2.LINE_AA, _SUBPIXEL_BITS)
    for keypoint, place in enumerate(places):
        if place:
            radius = unit * (0.7 + 0.9 * float(np.nan_to_num(scores[keypoint])))
            _draw_dot(image, place, radius + unit / 2, OUTLINE)
            _draw_dot(image, place, radius, color or _color(keypoint, keypoint))


def _draw_dot(image: Image, place: tuple[int, int], radius_px: float, color: Color) -> None:
    cv2.circle(image, place, round(radius_px * 2**_SUBPIXEL_BITS), color, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _subpixel(place: NDArray[np.float32], image: Image) -> tuple[int, int] | None:
    """OpenCV's fixed point, clipped far outside of the picture; None for a keypoint that is not found."""
    if not np.isfinite(place).all():
        return None
    height, width = image.shape[:2]
    x, y = np.clip(place, (-width, -height), (2 * width, 2 * height)) * 2**_SUBPIXEL_BITS
    return round(float(x)), round(float(y))


def _color(a: int, b: int) -> Color:
    sides = {KEYPOINT_NAMES[keypoint].partition("_")[0] for keypoint in (a, b)} - {"nose"}
    return {frozenset({"left"}): LEFT, frozenset({"right"}): RIGHT}.get(frozenset(sides), MIDDLE)
