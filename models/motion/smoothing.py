"""Gaps of keypoints filled, and keypoints smoothed by a parabola fitted around each time. numpy only.

At a constant frame rate this is the filter of A. Savitzky and M. Golay (Smoothing and differentiation of data by
simplified least squares procedures. Analytical Chemistry 36, 1964); at any other, local polynomial regression with
equal weights inside of a window of seconds (W. S. Cleveland and S. J. Devlin, Journal of the American Statistical
Association 83, 1988). It shifts nothing in time.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.motion.windows import (
    TICK_S,
    Pieces,
    Rows,
    each_neighbour,
    last_marked,
    next_marked,
    row_slabs,
    runs,
    window,
)

Array = NDArray[np.float64]

_SAME_S = 1e-5  # times that differ by less count as one: a parabola needs three


def fill_gaps(keypoints: Array, pieces: Pieces, limit_s: float) -> Array:
    """Return keypoints (17, 2, n) with straight lines over the NaN between two known places of a piece.

    limit_s: longest time between the two
    """
    known = ~np.isnan(keypoints[:, 0])
    before, after = last_marked(known), next_marked(known)
    inside = ~known & (before >= pieces.first) & (after <= pieces.last)
    keypoint, row = np.nonzero(inside)
    start, stop = before[keypoint, row], after[keypoint, row]
    span_s = pieces.t_s[stop] - pieces.t_s[start]
    short = span_s <= limit_s + TICK_S
    keypoint, row, start, stop, span_s = (each[short] for each in (keypoint, row, start, stop, span_s))
    share = np.divide(pieces.t_s[row] - pieces.t_s[start], span_s, out=np.zeros(len(row)), where=span_s > 0)
    complete = keypoints.copy()
    origin = keypoints[keypoint, :, start]
    complete[keypoint, :, row] = origin + share[:, None] * (keypoints[keypoint, :, stop] - origin)
    return complete


def smooth(keypoints: Array, pieces: Pieces, window_s: float) -> Array:
    """Return keypoints (17, 2, n), each on the parabola through its neighbours; NaN stay, and end a window.

    Near the end of a run of known places, the parabola is that of the nearest time whose window is whole, as
    scipy.signal.savgol_filter with mode="interp" has it; a shorter run has one parabola.
    """
    if not window_s or not len(pieces):
        return keypoints
    known = ~np.isnan(keypoints[:, 0])
    around = window(pieces, window_s / 2)
    first, last, alone = _windows(known, around, pieces, window_s / 2)
    smoothed = np.empty_like(keypoints)
    for part in row_slabs(len(pieces)):
        rows, windows = np.arange(part.start, part.stop), (around[0][part], around[1][part])
        smoothed[:, :, part] = _fit(pieces.t_s, rows, windows, lambda near: keypoints[:, :, near])
    keypoint, row = np.nonzero(known & alone)
    ends = (first[keypoint, row], last[keypoint, row])
    smoothed[keypoint, :, row] = _fit(pieces.t_s, row, ends, lambda near: keypoints[keypoint, :, near].T).T
    return np.where(known[:, None], smoothed, np.nan)


def _windows(
    known: NDArray[np.bool_], around: tuple[Rows, Rows], pieces: Pieces, half_s: float
) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """(17, n) first and last row of each keypoint's window, and True where these are not those of the row itself."""
    t_s, rows = pieces.t_s, np.arange(len(pieces))
    start, stop = runs(known, pieces)
    start, stop = np.where(known, start, rows), np.where(known, stop, rows)
    # The window is whole if one more frame before the run would lie outside.
    earlier_s = 2 * t_s[start] - t_s[np.minimum(start + 1, stop)]
    later_s = 2 * t_s[stop] - t_s[np.maximum(stop - 1, start)]
    begun = known & (t_s - earlier_s > half_s + TICK_S)
    lasting = known & (later_s - t_s > half_s + TICK_S)
    centre = np.where(~begun, next_marked(begun), np.where(~lasting, last_marked(lasting), rows))
    inside = (start <= centre) & (centre <= stop)
    centre = np.where(inside, centre, rows)
    whole = inside & np.take_along_axis(begun & lasting, centre, axis=1)
    first = np.where(whole, np.maximum(around[0][centre], start), start)
    last = np.where(whole, np.minimum(around[1][centre], stop), stop)
    return first, last, (first != around[0]) | (last != around[1])


def _fit(t_s: Array, rows: Rows, windows: tuple[Rows, Rows], values: Callable[[Rows], Array]) -> Array:
    """(..., n) values at the times of `rows` of the parabolas through the values in their windows.

    values: (..., n) values of the given rows, one per window
    Sums are made neighbour by neighbour, so that no sum depends on how many windows there are.
    """
    apart = [(near, inside, np.where(inside, t_s[near] - t_s[rows], 0.0)) for near, inside in each_neighbour(windows)]
    constant, linear, square = _first_row_of_inverse([(inside, u) for _, inside, u in apart], len(rows))
    total: Array = np.zeros(values(rows).shape)
    for near, inside, u in apart:
        total += np.where(inside, constant + u * (linear + u * square), 0.0) * values(near)
    return total


def _first_row_of_inverse(apart: list[tuple[NDArray[np.bool_], Array]], windows: int) -> tuple[Array, Array, Array]:
    """Return the coefficients of 1, u and u² in the weight of a neighbour that is u seconds apart.

    They are the first row of the inverse of the normal equations' matrix; of a line, or of a mean, where there are
    fewer than three or two distinct times.
    """
    s0, s1, s2, s3, s4 = (np.zeros(windows) for _ in range(5))
    distinct, previous = np.zeros(windows, np.intp), np.full(windows, -np.inf)
    for inside, u in apart:
        square = u * u
        s0, s1, s2, s3, s4 = s0 + inside, s1 + u, s2 + square, s3 + square * u, s4 + square * square
        distinct += inside & (u - previous > _SAME_S)
        previous = np.where(inside, u, previous)
    parabola, line = distinct >= 3, distinct == 2
    minors = s2 * s4 - s3 * s3, s2 * s3 - s1 * s4, s1 * s3 - s2 * s2
    whole = np.where(parabola, s0 * minors[0] + s1 * minors[1] + s2 * minors[2], 1.0)
    of_line = np.where(line, s0 * s2 - s1 * s1, 1.0)
    constant = np.where(parabola, minors[0] / whole, np.where(line, s2 / of_line, 1 / np.maximum(s0, 1)))
    linear = np.where(parabola, minors[1] / whole, np.where(line, -s1 / of_line, 0.0))
    return constant, linear, np.where(parabola, minors[2] / whole, 0.0)
