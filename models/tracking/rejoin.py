"""Chains joined across gaps, with a view of both sides of the gap."""

import math

from models.tracking.affinity import End
from models.tracking.chains import pairs
from models.tracking.params import TrackParams

_DIRECTION_S = 3.0  # a direction is kept for about this time
_LENGTH_SPREAD = 0.18  # of the logarithm of the ratio of two lengths of one person
_SPREAD, _SPREAD_PER_ROOT_S = 0.15, 0.375  # of the expected place, body lengths
_LEAST_LIKELIHOOD = 0.1


def rejoin(ends: list[End], starts: list[End], params: TrackParams, size: tuple[int, int]) -> int | None:
    """Return the index of the end that the first of the starts continues, given the others; None = a new person."""
    table = [[_likelihood(end, start, params, size) for start in starts] for end in ends]
    return next((row for row, column in pairs(table, _LEAST_LIKELIHOOD) if column == 0), None)


def _likelihood(end: End, start: End, params: TrackParams, size: tuple[int, int]) -> float:
    """Return the likelihood of the place and the length, 1 where they are the expected ones."""
    gap = start.t_s - end.t_s
    if not 0 < gap <= params.max_gap_s:
        return 0.0
    lasting_s = _DIRECTION_S * (1 - math.exp(-gap / _DIRECTION_S))
    off = math.hypot(*(_expected(end, start, axis, lasting_s, size) - start.place[axis] for axis in (0, 1)))
    distance = off / max(end.length, start.length) / (_SPREAD + _SPREAD_PER_ROOT_S * math.sqrt(gap))
    growth = math.log(start.length / end.length) / _LENGTH_SPREAD
    return math.exp(-(distance**2 + growth**2) / 2)


def _expected(end: End, start: End, axis: int, lasting_s: float, size: tuple[int, int]) -> float:
    """Return the coordinate of who moves on; who has left the picture is awaited at its edge."""
    moved = (end.velocity[axis] + start.velocity[axis]) / 2 * lasting_s
    return min(max(end.place[axis] + moved, 0.0), float(size[axis]))
