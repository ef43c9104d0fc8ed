"""Links between sightings of frames that follow each other that leave no doubt, for many frames at once.

The double threshold of Huang, Wu and Nevatia, Robust object tracking by hierarchical association of detection
responses (ECCV 2008): near enough, and nobody else nearly as near.
"""

import numpy as np
from numpy.typing import NDArray

from models.tracking.params import TrackParams
from models.tracking.types import Array, Rows, Sightings

_LEAST_RATIO = 0.67  # of two lengths of one person in successive frames
_NOBODY = -1


def sure_links(seen: Sightings, params: TrackParams, longest_s: float) -> Rows:
    """Return the row (n,) of the next frame with people that is beyond doubt the same person; -1 = none.

    A link depends on the two frames alone. longest_s: the longest time between them
    """
    successor = np.full(len(seen), _NOBODY, np.intp)
    before, after = _sure(seen, *_pairs(seen.frame), params, longest_s)
    successor[before] = after
    return successor


def _sure(seen: Sightings, before: Rows, after: Rows, params: TrackParams, longest_s: float) -> tuple[Rows, Rows]:
    """Return those of the pairs that leave no doubt."""
    elapsed = seen.t_s[after] - seen.t_s[before]
    a, b = seen.lengths[before], seen.lengths[after]
    off = seen.centres[after] - seen.centres[before]
    distance = np.sqrt(off[:, 0] ** 2 + off[:, 1] ** 2) / np.maximum(a, b)
    rivals = (_nearest_rival(distance, rows, len(seen)) for rows in (before, after))
    clear = np.minimum(next(rivals), next(rivals))
    travelled = params.max_speed * elapsed
    sure = distance <= params.position_noise + travelled
    sure &= clear >= distance + params.position_noise + travelled / 2
    sure &= (np.minimum(a, b) >= _LEAST_RATIO * np.maximum(a, b)) & (elapsed <= longest_s)
    return before[sure], after[sure]


def room(seen: Sightings) -> Array:
    """Return the distance (n,) to the nearest other person of the same frame, in body lengths; inf = nobody."""
    nearest = np.full(len(seen), np.inf)
    step = _steps(seen.frame)
    before, after = _partners(step, step)
    before, after = before[before != after], after[before != after]
    off = seen.centres[after] - seen.centres[before]
    np.minimum.at(nearest, before, np.sqrt(off[:, 0] ** 2 + off[:, 1] ** 2) / seen.lengths[before])
    return nearest


def _pairs(frame: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """All pairs of a row and a row of the next frame that has any, ordered by the first."""
    step = _steps(frame)
    return _partners(step, step + 1)


def _steps(frame: NDArray[np.int64]) -> Rows:
    """Return each row's frame counted from 0, without the frames that have no rows."""
    return np.asarray(np.cumsum(np.diff(frame, prepend=frame[:1]) > 0, dtype=np.intp))


def _partners(step: Rows, wanted: Rows) -> tuple[Rows, Rows]:
    first = np.searchsorted(step, wanted)
    partners = np.searchsorted(step, wanted, side="right") - first
    before = np.repeat(np.arange(len(step)), partners)
    after = np.arange(len(before)) - (np.cumsum(partners) - partners - first)[before]
    return before, after


def _nearest_rival(distance: Array, rows: Rows, count: int) -> Array:
    """For each pair, the smallest distance of any other pair of the same row."""
    nearest = np.full(count, np.inf)
    np.minimum.at(nearest, rows, distance)
    is_nearest = distance == nearest[rows]
    ties = np.bincount(rows[is_nearest], minlength=count) > 1
    second = np.full(count, np.inf)
    np.minimum.at(second, rows[~is_nearest], distance[~is_nearest])
    second[ties] = nearest[ties]
    return np.where(is_nearest, second[rows], nearest[rows])
