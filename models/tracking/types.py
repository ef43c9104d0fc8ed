"""The rows that tracking works on, and those that it returns. numpy only."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import Poses

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


class TrackedPoses(NamedTuple):
    """Poses of whole frames with their tracks.

    track: (n,) int32, from 1 in the order of their first rows; 0 = belongs to no track
    """

    poses: Poses
    track: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Sightings:
    """People or boxes seen in some frames, ordered by frame.

    frame: (n,) int64; t_s: (n,) float64, seconds, never descending; scores: (n,) float64
    boxes: (n, 4) float64, left, top, right, bottom, pixels, finite
    centres: (n, 2) float64, pixels: of the found keypoints, or of the box; lengths: (n,) float64, pixels, above 0
    keypoints: (n, 17, 2) float32, pixels; NaN = not found; of boxes alone (n, 0, 2)
    """

    frame: NDArray[np.int64]
    t_s: Array
    scores: Array
    boxes: Array
    centres: Array
    lengths: Array
    keypoints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: slice | Rows) -> "Sightings":
        return Sightings(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list["Sightings"]) -> "Sightings":
        """Return the sightings of ascending frames as one; there must be a part."""
        columns = (np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls))
        return parts[0] if len(parts) == 1 else cls(*columns)


class Columns(NamedTuple):
    """Columns of sightings as plain lists, for decisions about a few of them.

    t_s, scores, lengths: see Sightings; x, y: of the centres
    first, after: the first row of each row's frame, and the first row behind it
    room: distance to the nearest other person of the same frame, in body lengths; inf = nobody
    """

    t_s: list[float]
    x: list[float]
    y: list[float]
    lengths: list[float]
    scores: list[float]
    first: list[int]
    after: list[int]
    room: list[float]


def of_boxes(frame: NDArray[np.int64], t_s: Array, scores: Array, boxes: Array) -> Sightings:
    """Return boxes as sightings."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Sightings(frame, t_s, scores, boxes, centres, _lengths(boxes), np.empty((len(frame), 0, 2), np.float32))


def of_poses(poses: Poses) -> tuple[Sightings, NDArray[np.bool_]]:
    """Return the people with at least one keypoint as sightings, and a mask of their rows."""
    # One row per keypoint and one column per person, so that every step runs along memory.
    axes = [np.ascontiguousarray(poses.keypoints[:, :, axis].T) for axis in (0, 1)]
    found = np.isfinite(axes[0]) & np.isfinite(axes[1])
    count = np.count_nonzero(found, axis=0)
    known = count > 0
    low = [np.where(found, axis, np.inf).min(axis=0) for axis in axes]
    high = [np.where(found, axis, -np.inf).max(axis=0) for axis in axes]
    middle = [_total(np.where(found, axis, 0)) / np.maximum(count, 1) for axis in axes]
    boxes = np.stack([*low, *high], axis=1)[known].astype(np.float64)
    centres = np.stack(middle, axis=1)[known]
    scores = np.nan_to_num(poses.scores[known].astype(np.float64))
    keypoints = poses.keypoints[known]
    sightings = Sightings(poses.frame[known], poses.t_s[known], scores, boxes, centres, _lengths(boxes), keypoints)
    return sightings, known


def _total(values: NDArray[np.float32]) -> Array:
    """Return the sums of columns, added in one order for any number of them."""
    total = np.zeros(values.shape[1])
    for row in values:
        total += row
    return total


def _lengths(boxes: Array) -> Array:
    return np.asarray(np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1.0), 1.0))
