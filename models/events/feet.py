"""Places of people: the middle of their feet. numpy only."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.events.zone_params import ZoneParams
from models.types import KEYPOINT_NAMES, Floats

ANKLES = [KEYPOINT_NAMES.index(name) for name in ("left_ankle", "right_ankle")]


@dataclass(frozen=True, eq=False)
class Feet:
    """Places of people, one row per frame and track, ascending in frame.

    track: (n,) int32, from 1; frame: (n,) int64; t_s: (n,) float64 seconds
    places: (n, 2) float64, x then y, pixels; heights: (n,) float64, of the box around the found keypoints, pixels
    """

    track: NDArray[np.int32]
    frame: NDArray[np.int64]
    t_s: NDArray[np.float64]
    places: NDArray[np.float64]
    heights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.track)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> "Feet":
        return Feet(*(getattr(self, field.name)[rows] for field in fields(self)))


def feet_of(
    track: NDArray[np.int32],
    frame: NDArray[np.int64],
    t_s: NDArray[np.float64],
    keypoints: Floats,
    keypoint_scores: Floats,
    ankle_score: float = ZoneParams.ankle_score,
) -> Feet:
    """Return the places of the people who belong to a track and have a keypoint: one row for each of them.

    A person stands in the middle of the ankles that have at least this score; of two, the sure one. Without any, at the
    middle of the lower edge of the box around all found keypoints.
    keypoints: (n, 17, 2), pixels, NaN = not found; keypoint_scores: (n, 17); track: 0 = belongs to none
    """
    found = np.isfinite(keypoints).all(axis=2)
    rows = np.flatnonzero((track > 0) & found.any(axis=1))
    points, seen = keypoints[rows].astype(np.float64), found[rows, :, None]
    low, high = np.where(seen, points, np.inf).min(axis=1), np.where(seen, points, -np.inf).max(axis=1)
    sure = seen[:, ANKLES, 0] & (keypoint_scores[rows][:, ANKLES] >= ankle_score)
    count = np.count_nonzero(sure, axis=1)
    ankles = np.where(sure[:, :, None], points[:, ANKLES], 0.0).sum(axis=1) / np.maximum(count, 1)[:, None]
    bottom = np.column_stack([(low[:, 0] + high[:, 0]) / 2, high[:, 1]])
    places = np.where(count[:, None] > 0, ankles, bottom)
    return Feet(track[rows], frame[rows], t_s[rows], places, high[:, 1] - low[:, 1])
