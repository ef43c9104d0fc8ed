"""People as lines and boxes for a drawing over a frame, in pixels of the displayed frame."""

from collections.abc import Sequence
from typing import NamedTuple

from models.decoders.skeleton import DRAWN_EDGES

Point = tuple[float, float]
MARGIN = 0.08  # of the box around the keypoints, of its longer side: hands and heads reach beyond them


class DrawnPerson(NamedTuple):
    """A person's skeleton. Only keypoints that were found are drawn.

    box: left, top, width, height; None without any keypoint
    limbs: pairs of points; joints: points
    """

    box: tuple[float, float, float, float] | None
    limbs: list[tuple[Point, Point]]
    joints: list[Point]


def drawn_person(keypoints: Sequence[Point | None]) -> DrawnPerson:
    """Return the lines of a person. keypoints: 17 in COCO's order, None = not found"""
    found = [(_tenth(point[0]), _tenth(point[1])) if point is not None else None for point in keypoints]
    ends = [(found[a], found[b]) for a, b in DRAWN_EDGES]
    limbs = [(a, b) for a, b in ends if a is not None and b is not None]
    joints = [point for point in found if point is not None]
    return DrawnPerson(_box(joints), limbs, joints)


def _box(joints: Sequence[Point]) -> tuple[float, float, float, float] | None:
    if not joints:
        return None
    left, right = min(x for x, _ in joints), max(x for x, _ in joints)
    top, bottom = min(y for _, y in joints), max(y for _, y in joints)
    margin = MARGIN * max(right - left, bottom - top)
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    return _tenth(left - margin), _tenth(top - margin), _tenth(width), _tenth(height)


def _tenth(number: float) -> float:
    return round(number, 1)
