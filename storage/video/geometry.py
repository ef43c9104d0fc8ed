"""Transformation between a decoded frame and the picture that a player shows. No files, no decoding.

Coordinates are OpenCV's: (0, 0) is the centre of the top left pixel, and pictures of different sizes line up at their
outer edges.
"""

import dataclasses
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.types import Classifications, Rows, Video

# Real pixels are at most three times as wide as high, or as high as wide: beyond this the header is damaged.
MOST_ASPECT = 16
MOST_PIXELS = 1 << 16  # of a side: more than any container can say
Float = TypeVar("Float", np.float32, np.float64)

# By degrees clockwise: a place in the unit square, before and after the turn.
_TURNS: dict[int, Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], ...]]] = {
    0: lambda u, v: (u, v),
    90: lambda u, v: (1 - v, u),
    180: lambda u, v: (1 - u, 1 - v),
    270: lambda u, v: (v, 1 - u),
}


class Crop(NamedTuple):
    """Stored pixels at each edge that are not shown."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


NO_CROP = Crop()


class Box(NamedTuple):
    """A rectangle, in pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class DisplayGeometry:
    """A player's transformation of a decoded frame: cropped, its pixels made square, mirrored, turned, and fitted.

    stored_width, stored_height: pixels of the decoded frame
    crop: stored pixels that are cut off
    pixel_aspect: width of a stored pixel divided by its height; making pixels square changes the width
    mirrored: left and right are exchanged, before the turn
    rotation: degrees clockwise: 0, 90, 180 or 270
    reference: (width, height) of the video where this frame is shown in another size: it keeps its proportions, is as
        large as fits, and centred; None = the frame fills the picture
    """

    stored_width: int
    stored_height: int
    crop: Crop = NO_CROP
    pixel_aspect: float = 1.0
    mirrored: bool = False
    rotation: int = 0
    reference: tuple[int, int] | None = None

    @cached_property
    def own_size(self) -> tuple[int, int]:
        """(width, height) of the frame's picture before it is fitted into the video's."""
        width, height = self.cropped_size
        return self.turned(max(1, round(width * self.pixel_aspect)), height)

    @property
    def cropped_size(self) -> tuple[int, int]:
        """(width, height) of the stored pixels that are shown."""
        left, top, right, bottom = self.crop
        return self.stored_width - left - right, self.stored_height - top - bottom

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the shown picture: the frame of reference of all coordinates."""
        return self.reference or self.own_size

    def turned(self, width: int, height: int) -> tuple[int, int]:
        """Return the size after the turn for a size before it, and the other way round."""
        return (height, width) if self.rotation in (90, 270) else (width, height)

    @cached_property
    def box(self) -> Box:
        """Position of the frame in the shown picture."""
        (width, height), (own_width, own_height) = self.size, self.own_size
        scale = min(width / own_width, height / own_height)
        inner_width, inner_height = own_width * scale, own_height * scale
        return Box((width - inner_width) / 2, (height - inner_height) / 2, inner_width, inner_height)

    def box_in(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """left, top, width, height of the box, in whole pixels of the picture resized to (width, height) `size`."""
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        width = min(size[0], max(1, round(self.box.width * across)))
        height = min(size[1], max(1, round(self.box.height * down)))
        return (size[0] - width) // 2, (size[1] - height) // 2, width, height

    def to_shown(self, xy: NDArray[Float]) -> NDArray[Float]:
        """(..., 2) x, y in pixels of the decoded frame -> of the shown picture, of the same type; NaN stays NaN."""
        width, height = self.cropped_size
        x, y = _axes(xy)
        u, v = (x + 0.5 - self.crop.left) / width, (y + 0.5 - self.crop.top) / height
        u, v = _TURNS[self.rotation](1 - u if self.mirrored else u, v)
        x, y = u * self.box.width + self.box.left, v * self.box.height + self.box.top
        moved: NDArray[Float] = np.stack([x - 0.5, y - 0.5], axis=-1).astype(xy.dtype)
        return moved

    def to_stored(self, xy: NDArray[Float]) -> NDArray[Float]:
        """Invert `to_shown`. Points that were cut off, or lie next to a fitted frame, come back outside of it."""
        x, y = _axes(xy)
        u, v = (x + 0.5 - self.box.left) / self.box.width, (y + 0.5 - self.box.top) / self.box.height
        u, v = _TURNS[-self.rotation % 360](u, v)
        width, height = self.cropped_size
        x, y = (1 - u if self.mirrored else u) * width + self.crop.left, v * height + self.crop.top
        moved: NDArray[Float] = np.stack([x - 0.5, y - 0.5], axis=-1).astype(xy.dtype)
        return moved


def _axes(xy: NDArray[Float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return xy[..., 0].astype(np.float64), xy[..., 1].astype(np.float64)


def geometry_of(video: Video) -> DisplayGeometry:
    """Return the geometry of the video's first frame, and of all others that are stored in its size."""
    crop = Crop(video.crop_left, video.crop_top, video.crop_right, video.crop_bottom)
    return DisplayGeometry(
        video.stored_width, video.stored_height, crop, video.pixel_aspect, video.mirrored, video.rotation
    )


def moved(rows: Rows, found: DisplayGeometry, wanted: DisplayGeometry) -> Rows:
    """Convert the coordinates of rows to the shown picture of another geometry of the same video."""
    if found == wanted:
        return rows
    if isinstance(rows, Classifications):
        return rows if rows.regions is None else dataclasses.replace(rows, regions=_moved_regions(rows, found, wanted))
    return dataclasses.replace(rows, keypoints=wanted.to_shown(found.to_stored(rows.keypoints)))


def _moved_regions(rows: Classifications, found: DisplayGeometry, wanted: DisplayGeometry) -> NDArray[np.int32]:
    """Return the smallest regions of the wanted picture that hold those of the found one, inside of it."""
    assert rows.regions is not None
    corners = np.stack([rows.regions[:, :2], rows.regions[:, :2] + rows.regions[:, 2:]], axis=1) - 0.5
    moved_corners = wanted.to_shown(found.to_stored(corners)) + 0.5
    most = np.array(wanted.own_size)
    first = np.clip(np.floor(moved_corners.min(axis=1) + 1e-6), 0, most - 1)
    last = np.clip(np.ceil(moved_corners.max(axis=1) - 1e-6), first + 1, most)
    found_regions: NDArray[np.int32] = np.concatenate([first, last - first], axis=1).astype(np.int32)
    return found_regions


def check_geometry(video: Video) -> None:
    """Raise ValueError where the video's geometry contradicts itself: it may come from a worker's file."""
    geometry = geometry_of(video)
    stored = video.stored_width, video.stored_height
    possible = (
        all(1 <= side <= MOST_PIXELS for side in stored)
        and usable_crop(geometry.crop, stored) == geometry.crop
        and 1 / MOST_ASPECT <= video.pixel_aspect <= MOST_ASPECT
        and video.rotation in _TURNS
    )
    if not possible or geometry.own_size != (video.width, video.height):
        raise ValueError(f"{geometry} does not give the video's size of {video.width}x{video.height}.")


def orientation(matrix: bytes | None) -> tuple[bool, int]:
    """(mirrored, rotation) nearest to a display matrix: 3 x 3 int32 for row vectors, as ISO/IEC 14496-12 has it."""
    if matrix is None or len(matrix) < 20:
        return False, 0
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    quarters = round(math.atan2(b - c, a + d) / (math.pi / 2))
    return mirrored, quarters * 90 % 360


def usable_aspect(aspect: Fraction | None) -> float:
    """Return the pixels' aspect, or 1 where it is missing or implausible."""
    if aspect is None or not 1 / MOST_ASPECT <= aspect <= MOST_ASPECT:
        return 1.0
    return float(aspect)


def usable_crop(crop: Crop, stored_size: tuple[int, int]) -> Crop:
    """Return the crop, or none where it would leave nothing."""
    width, height = stored_size
    left, top, right, bottom = crop
    return crop if min(crop) >= 0 and left + right < width and top + bottom < height else NO_CROP
