"""Regions of a frame in which the picture has changed since an earlier frame. OpenCV, and no video."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import Region

_LONGER_SIDE = 192  # pixels of the picture in which changes are looked for
_CHANGE = 14.0  # grey levels of 255 more than the picture as a whole: the noise of small cameras stays below
_JOINED = 9  # pixels of that picture: what lies closer together is one thing
_SMALLEST_AREA = 120  # pixels of that picture, grown by _JOINED
_MARGIN = 1.1
SMALLEST_SHARE = 1 / 9  # of the frame's shorter side, the side of a region at least

Grey = NDArray[np.float32]


def shrink(picture: NDArray[np.uint8]) -> Grey:
    """Return a picture (h, w, 3) uint8 RGB small, grey and smooth, for `moving_regions`."""
    height, width = picture.shape[:2]
    scale = min(1.0, _LONGER_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.GaussianBlur(grey, (5, 5), 0), np.float32)


def moving_regions(before: Grey, now: Grey, frame_size: tuple[int, int], most: int) -> list[Region]:
    """Return squares around what has changed, the largest change first. They lie inside the frame.

    before, now: two frames by `shrink`; frame_size: (width, height) of the displayed frame in pixels
    A change of the whole picture, such as of the exposure, does not count. Where the camera moves, everything does.
    """
    change = now - before
    mask = (np.abs(change - np.median(change)) > _CHANGE).astype(np.uint8)
    grown = cv2.dilate(mask, np.ones((_JOINED, _JOINED), np.uint8))
    boxes = cv2.connectedComponentsWithStats(grown)[2][1:].tolist()  # the first is what did not change
    largest = sorted((box for box in boxes if box[4] >= _SMALLEST_AREA), key=lambda box: (-box[4], *box[:2]))[:most]
    scale = max(frame_size) / max(now.shape)
    return [_square(box, scale, frame_size) for box in largest]


def _square(box: list[int], scale: float, frame_size: tuple[int, int]) -> Region:
    """Place a square around a box (left, top, width, height, area) of the shrunken picture."""
    left, top, width, height, _ = box
    side = (max(width, height) - _JOINED + 1) * scale * _MARGIN
    side = round(min(max(side, smallest_side(frame_size)), min(frame_size)))
    centre = ((left + width / 2) * scale, (top + height / 2) * scale)
    left, top = (
        round(min(max(middle - side / 2, 0), length - side)) for middle, length in zip(centre, frame_size, strict=True)
    )
    return Region(left, top, side, side)


def smallest_side(frame_size: tuple[int, int]) -> int:
    """Return the side of the smallest region that may be found in a frame of this size."""
    return max(1, round(min(frame_size) * SMALLEST_SHARE))


def frames_before(timestamps_s: NDArray[np.float64], numbers: NDArray[np.int64], gap_s: float) -> NDArray[np.int64]:
    """Return for each frame number the newest frame that is gap_s older; the first frame where there is none."""
    found = np.searchsorted(timestamps_s, timestamps_s[numbers] - gap_s + 1e-6, side="right") - 1
    return np.maximum(found, 0).astype(np.int64)
