"""Polygons and lines: points inside, distances and crossings. Coordinates are pixels, x to the right and y down."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def inside_polygon(places: Points, corners: Points) -> NDArray[np.bool_]:
    """Return which places (n, 2) lie inside a polygon (m, 2), by the parity of the edges to their right.

    A place on the edge belongs to one side, always the same.
    """
    x, y = places[:, :1], places[:, 1:]
    (x_1, y_1), (x_2, y_2) = corners.T, np.roll(corners, -1, axis=0).T
    spans = (y_1 > y) != (y_2 > y)
    rise = np.where(y_1 == y_2, 1.0, y_2 - y_1)
    right = x < (x_2 - x_1) * (y - y_1) / rise + x_1
    return np.asarray(np.count_nonzero(spans & right, axis=1) % 2 == 1)


def distance_to(places: Points, points: Points, closed: bool) -> NDArray[np.float64]:
    """Return the distance of each place (n, 2) to a line (m, 2). closed: it returns to its first point"""
    start = points if closed else points[:-1]
    along = np.roll(points, -1, axis=0) - points if closed else np.diff(points, axis=0)
    offset = places[:, None, :] - start
    length = np.maximum(np.square(along).sum(axis=1), 1e-12)
    share = np.clip((offset * along).sum(axis=2) / length, 0.0, 1.0)
    return np.asarray(np.sqrt(np.square(offset - share[:, :, None] * along).sum(axis=2)).min(axis=1))


def net_crossings(start: Points, end: Points, line: Points) -> NDArray[np.int64]:
    """Return the net number of crossings from left to right on each way from start to end (n, 2), straight.

    line: (m, 2). Left and right are those of somebody who looks from each point to the next one, in the picture.
    """
    first, second = line[:-1], line[1:]
    before, after = (_is_right(places[:, None, :], first, second) for places in (start, end))
    one, other = (_is_right(corners, start[:, None, :], end[:, None, :]) for corners in (first, second))
    crossed = (before != after) & (one != other)
    return np.asarray(np.where(crossed, np.where(after, 1, -1), 0).sum(axis=1), np.int64)


def _is_right(places: Points, first: Points, second: Points) -> NDArray[np.bool_]:
    """Return whether places lie to the right of the lines from `first` to `second`; on them is left."""
    along, offset = second - first, places - first
    return np.asarray(along[..., 0] * offset[..., 1] - along[..., 1] * offset[..., 0] > 0)
