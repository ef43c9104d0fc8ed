"""Rows of a track that lie within some seconds of each other. numpy only.

A piece is a part of a track without a gap that is too long to be filled. Nothing is computed across its ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.types import Floats

Rows = NDArray[np.intp]
Seconds = NDArray[np.float64]

TICK_S = 1e-3
"""Containers round time stamps to ticks of this length or less: two frames may seem nearer or farther by one tick."""
_CACHED_ROWS = 1 << 10
_SLAB = 1 << 18  # neighbours at once


@dataclass(frozen=True, eq=False)
class Pieces:
    """Rows in their order in time, piece by piece.

    t_s: (n,) ascending in each piece; first, last: (n,) first and last row of each row's piece
    """

    t_s: Seconds
    first: Rows
    last: Rows

    def __len__(self) -> int:
        return len(self.t_s)


def window(pieces: Pieces, reach_s: float) -> tuple[Rows, Rows]:
    """Return the first and the last row of each row's piece that are at most reach_s from it, give or take a tick.

    Compares differences of times only, so that a row's window does not depend on which other rows there are.
    """
    rows = np.arange(len(pieces))
    return rows - _count(pieces, rows, reach_s, -1), rows + _count(pieces, rows, reach_s, 1)


def _count(pieces: Pieces, rows: Rows, reach_s: float, way: int) -> Rows:
    """Return the number of rows before (way -1) or after (way 1) each row that are near enough."""
    room = rows - pieces.first if way < 0 else pieces.last - rows
    count = np.zeros(len(rows), np.intp)
    for distance in range(1, int(room.max(initial=0)) + 1):
        other = np.clip(rows + way * distance, 0, len(rows) - 1)
        near = (room >= distance) & (np.abs(pieces.t_s[other] - pieces.t_s) <= reach_s + TICK_S)
        if not near.any():
            break
        count += near
    return count


def runs(known: NDArray[np.bool_], pieces: Pieces) -> tuple[Rows, Rows]:
    """Return the first and the last row of the run of known values around each value; meaningless where not known.

    known: (..., n); returns arrays of that shape. A run does not leave its piece.
    """
    rows = np.arange(len(pieces))
    before, after = np.roll(known, 1, axis=-1), np.roll(known, -1, axis=-1)
    first = last_marked(known & (~before | (rows == pieces.first)))
    last = next_marked(known & (~after | (rows == pieces.last)))
    return first, last


def last_marked(marks: NDArray[np.bool_]) -> Rows:
    """Return the nearest marked row at or before each row, -1 where there is none. marks: (..., n)"""
    found: Rows = np.maximum.accumulate(np.where(marks, np.arange(marks.shape[-1]), -1), axis=-1)
    return found


def next_marked(marks: NDArray[np.bool_]) -> Rows:
    """Return the nearest marked row at or after each row, n where there is none. marks: (..., n)"""
    rows = marks.shape[-1]
    found = np.minimum.accumulate(np.where(marks, np.arange(rows), rows)[..., ::-1], axis=-1)
    return np.asarray(found[..., ::-1])


def each_neighbour(windows: tuple[Rows, Rows]) -> Iterator[tuple[Rows, NDArray[np.bool_]]]:
    """Yield the first neighbour of each of n windows, then the second, and so on: its row, and True if there is one."""
    first, last = windows
    for each in range(int((last - first).max(initial=-1)) + 1):
        yield np.minimum(first + each, last), first + each <= last


def neighbours(series: Floats, windows: tuple[Rows, Rows]) -> Floats:
    """(n, k): the values (rows,) in each of n windows in their order, then NaN."""
    found = [np.where(inside, series[near], np.nan) for near, inside in each_neighbour(windows)]
    return np.stack(found, axis=-1)


def median(values: Floats) -> Floats:
    """(n,) median of each row's values without NaN. values: (n, k)"""
    ordered = np.sort(values, axis=1)  # NaN come last
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    rows = np.arange(len(values))
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, values.shape[1] - 1)
    return np.asarray((ordered[rows, lower] + ordered[rows, upper]) / 2)


def row_slabs(rows: int) -> Iterator[slice]:
    """Yield rows in parts of which all 34 coordinates fit a processor's cache."""
    return (slice(start, min(start + _CACHED_ROWS, rows)) for start in range(0, rows, _CACHED_ROWS))


def slabs(windows: tuple[Rows, Rows]) -> Iterator[slice]:
    """Yield the windows in parts that together have a bounded number of neighbours."""
    rows = len(windows[0])
    at_once = max(1, _SLAB // (int((windows[1] - windows[0]).max(initial=0)) + 1))
    return (slice(start, min(start + at_once, rows)) for start in range(0, rows, at_once))


def rolling_median(series: Floats, windows: tuple[Rows, Rows]) -> Floats:
    """(n,) median of each window of a series, without NaN."""
    first, last = windows
    parts = [median(neighbours(series, (first[part], last[part]))) for part in slabs(windows)]
    return np.concatenate([np.empty(0), *parts])
