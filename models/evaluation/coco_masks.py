"""Area of a person's outline in a COCO file: polygons, or run lengths. Plain numbers, no picture.

pycocotools would draw each outline into a mask of the picture's size, which annotation files often lack.
"""

import math
from typing import Any

import numpy as np


def outline_area(segmentation: object) -> float:
    """Area in square pixels; NaN where there is no outline of one of COCO's kinds."""
    try:
        if isinstance(segmentation, dict):
            return _run_area(segmentation["counts"])
        if isinstance(segmentation, list) and segmentation:
            return sum(_polygon_area(polygon) for polygon in segmentation)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        pass
    return math.nan


def _polygon_area(polygon: Any) -> float:
    """Return the area of [x, y, x, y, …], by the shoelace formula."""
    x, y = np.array(polygon, np.float64).reshape(-1, 2).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _run_area(counts: Any) -> float:
    """Return the area of run lengths, a list or pycocotools' text of it, in which every second run is of the person."""
    return float(sum((_run_lengths(counts) if isinstance(counts, str) else counts)[1::2]))


def _run_lengths(text: str) -> list[int]:
    """Decode the lengths: six bits per letter, one of which marks a continuation; from the fourth on, differences.

    Source: rleFrString of pycocotools' maskApi.c.
    """
    lengths: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{letter!r} is not a letter of run lengths.")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            signed = value - (1 << shift) if bits & 16 else value
            lengths.append(signed + lengths[-2] if len(lengths) > 2 else signed)
            value, shift = 0, 0
    return lengths
