"""Hampel's filter by time. numpy only.

Source: R. K. Pearson, Y. Neuvo, J. Astola, M. Gabbouj: Generalized Hampel filters. EURASIP Journal on Advances in
Signal Processing 2016:87. Its scale has a floor here, because the median absolute deviation of somebody who stands
still is so small that every movement would be an outlier.
"""

import numpy as np
from numpy.typing import NDArray

from models.motion.windows import Pieces, Rows, each_neighbour, median, neighbours, row_slabs, slabs, window

Array = NDArray[np.float64]

_SD_PER_MAD = 1.4826  # of a normal distribution
_FLOOR = 0.05  # of the person's longer side: less is movement, or a model's own inaccuracy
_FEWEST = 3


def replace_outliers(keypoints: Array, pieces: Pieces, window_s: float, deviations: float) -> Array:
    """Return the keypoints (17, 2, n), those that are far from the median of their neighbours in time replaced by it.

    window_s: 0 keeps all; deviations: times the standard deviation that follows from the median absolute deviation
    A keypoint is an outlier where x or y is.
    """
    if not window_s:
        return keypoints
    windows = window(pieces, window_s / 2)
    floor = _FLOOR * _longer_side(keypoints)
    keypoint, row = np.nonzero(_suspects(keypoints.reshape(34, -1), windows, floor).reshape(17, 2, -1).any(axis=1))
    replaced = keypoints.copy()
    for part in slabs((windows[0][row], windows[1][row])):
        which = keypoint[part], slice(None), row[part]
        middle, far = _compare(keypoints, (keypoint[part], row[part]), windows, floor, deviations)
        replaced[which] = np.where(far[:, None], middle, keypoints[which])
    return replaced


def _longer_side(keypoints: Array) -> Array:
    """(n,) longer side of the box around the known keypoints (17, 2, n), NaN where there is none."""
    return np.asarray((np.fmax.reduce(keypoints) - np.fmin.reduce(keypoints)).max(axis=0))


def _suspects(series: Array, windows: tuple[Rows, Rows], floor: Array) -> NDArray[np.bool_]:
    """(34, n) True where half of a value's neighbours are farther from it than the floor; elsewhere the median is not.

    Far cheaper than medians, which are left for the few values that remain.
    """
    first, last = windows
    until = np.cumsum(~np.isnan(series), axis=1)
    known = until[:, last] - until[:, first] + ~np.isnan(series[:, first])
    far = np.zeros(series.shape, np.int16)
    for part in row_slabs(series.shape[1]):
        here, allowed = series[:, part], floor[part]
        for near, inside in each_neighbour((first[part], last[part])):
            far[:, part] += inside & (np.abs(series[:, near] - here) > allowed)
    return np.asarray((known >= _FEWEST) & (2 * far >= known))


def _compare(
    keypoints: Array, suspects: tuple[Rows, Rows], windows: tuple[Rows, Rows], floor: Array, deviations: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the medians (k, 2) around k keypoints, given by keypoint and row, and (k,) True for outliers."""
    keypoint, row = suspects
    middle, far = np.empty((len(row), 2)), np.zeros(len(row), bool)
    for axis in (0, 1):
        offset = (2 * keypoint + axis) * keypoints.shape[2]
        near = neighbours(keypoints.ravel(), (offset + windows[0][row], offset + windows[1][row]))
        middle[:, axis] = median(near)
        spread = median(np.abs(near - middle[:, axis, None]))
        distance = np.abs(keypoints[keypoint, axis, row] - middle[:, axis])
        far |= (distance > floor[row]) & (distance > deviations * _SD_PER_MAD * spread)
    return middle, far
