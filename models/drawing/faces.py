"""Faces made unrecognizable where people were found. OpenCV on arrays.

A head is estimated from the keypoints of the face, or from shoulders and hips where the model did not see the face. A
person whom the model did not find keeps the face.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES

Image = NDArray[np.uint8]
Places = NDArray[np.float32]

_FACE = [KEYPOINT_NAMES.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_SHOULDERS = [KEYPOINT_NAMES.index(f"{side}_shoulder") for side in ("left", "right")]
_HIPS = [KEYPOINT_NAMES.index(f"{side}_hip") for side in ("left", "right")]
# Of a head with hair and chin, as shares of distances between keypoints; wide, as keypoints are some pixels off.
_OF_FACE, _OF_SHOULDERS, _OF_TORSO, _OF_BODY = 2.2, 0.55, 0.34, 0.13
_ABOVE_SHOULDERS = 0.42  # centre of the head, as a share of the torso's length
_CELLS = 4  # per side of a hidden head: no feature of a face is left
_SMALLEST_PX = 3.0


def hide_faces(image: Image, keypoints: Places) -> Image:
    """Blur the heads of people in place, and return the picture.

    image: (h, w, 3) uint8; keypoints: (n, 17, 2) x, y in its pixels, NaN = not found
    """
    for person in keypoints:
        if (head := head_of(person)) is not None:
            _hide(image, *head)
    return image


def head_of(person: Places) -> tuple[NDArray[np.float64], float] | None:
    """Estimate the circle around a person's head: centre (x, y) and radius, pixels; None without any keypoint for it.

    person: (17, 2) x, y, NaN = not found
    """
    face, shoulders, hips = (_found(person[places]) for places in (_FACE, _SHOULDERS, _HIPS))
    if not len(face) and not len(shoulders):
        return None
    neck, up = _neck_and_torso(shoulders, hips)
    centre = face.mean(axis=0) if len(face) else neck + _ABOVE_SHOULDERS * up
    spread = float(np.linalg.norm(face - centre, axis=1).max()) if len(face) > 1 else 0.0
    width = float(np.linalg.norm(shoulders[0] - shoulders[1])) if len(shoulders) == 2 else 0.0
    body = float(np.ptp(_found(person), axis=0).max())
    torso = float(np.linalg.norm(up))
    return centre, max(*(_OF_FACE * spread, _OF_SHOULDERS * width, _OF_TORSO * torso, _OF_BODY * body), _SMALLEST_PX)


def _found(places: Places) -> NDArray[np.float64]:
    return np.asarray(places[np.isfinite(places).all(axis=1)], np.float64)


def _neck_and_torso(shoulders: NDArray[np.float64], hips: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the middle of the shoulders, and the way from the hips to it; upright where no hip is found."""
    if not len(shoulders):
        return np.zeros(2), np.zeros(2)
    neck = shoulders.mean(axis=0)
    if len(hips):
        return neck, neck - hips.mean(axis=0)
    width = float(np.linalg.norm(shoulders[0] - shoulders[-1]))
    return neck, np.array([0.0, -1.5 * width])


def _hide(image: Image, centre: NDArray[np.float64], radius: float) -> None:
    height, width = image.shape[:2]
    radius = min(radius, float(max(height, width)))
    left, top = (int(max(0, np.floor(place - radius))) for place in np.clip(centre, -1e6, 1e6))
    right, bottom = (int(np.ceil(place + radius)) + 1 for place in np.clip(centre, -1e6, 1e6))
    part = image[top : max(top, bottom), left : max(left, right)]
    if not part.size:
        return
    coarse = cv2.resize(part, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(coarse, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    inside = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2
    part[inside] = smooth[inside]
