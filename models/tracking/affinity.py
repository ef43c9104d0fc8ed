"""Similarity of people whom one of two frames shows, where they are expected to be in the other.

In plain Python, as most decisions are about two or three people, for whom each call of numpy takes longer than the
arithmetic; in numpy for many.
"""

import math
from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

import numpy as np

from models.decoders.skeleton import COCO_SIGMAS
from models.tracking.params import TrackParams
from models.tracking.types import Array, Columns, Rows, Sightings

_AREA_OF_BOX = 0.53  # of a person, as a share of the box; mmpose's value
_LEAST_COMMON = 3  # keypoints in both sightings, for their similarity to count
_VARIANCES = (2 * COCO_SIGMAS.astype(np.float64)) ** 2
_VARIANCE_OF_EACH: list[float] = _VARIANCES.tolist()
# Of a slope: error of a position by usual speed, squared: 0.06 and 0.8 body lengths per second.
_SHRINKAGE_S2 = (0.06 / 0.8) ** 2
# Spread of the centre of a box around the expected place, body lengths: feet that are hidden move it vertically.
_NARROWER, _WIDER = 0.08, 0.12
_SPREAD = np.array([_NARROWER, _WIDER])
_SPREAD_PER_S = 0.5
_LENGTH_SPREAD = 0.3  # of the logarithm of the ratio of two lengths

Point = tuple[float, float]


class End(NamedTuple):
    """One end of a sequence of sightings.

    row: of the sighting at the end; t_s: its time
    velocity: pixels per second; place: pixels, the centre; length: pixels; the latter three are smoothed
    """

    row: int
    t_s: float
    velocity: Point
    place: Point
    length: float


def end_at(plain: Columns, rows: Sequence[int], row: int) -> End:
    """Return the end at `row` of a sequence. rows: those of it near the end, ascending

    The velocity is the slope of the centres by least squares, smaller where the time is short.
    """
    times, x, y, lengths = ([column[at] for at in rows] for column in (plain.t_s, plain.x, plain.y, plain.lengths))
    count, t_s = len(rows), plain.t_s[row]
    mean_s = sum(times) / count
    offsets = [time - mean_s for time in times]
    spread = sum(map(mul, offsets, offsets)) + _SHRINKAGE_S2
    velocity = sum(map(mul, offsets, x)) / spread, sum(map(mul, offsets, y)) / spread
    later_s = t_s - mean_s
    place = sum(x) / count + velocity[0] * later_s, sum(y) / count + velocity[1] * later_s
    return End(row, t_s, velocity, place, sum(lengths) / count)


def misfit(plain: Columns, end: End, row: int) -> float:
    """Return how far a row is from what is expected of an end, as a negative logarithm of a likelihood."""
    gap, length = plain.t_s[row] - end.t_s, plain.lengths[row]
    (x, y), (speed_x, speed_y) = end.place, end.velocity
    off = math.hypot(plain.x[row] - x - speed_x * gap, plain.y[row] - y - speed_y * gap)
    spread = (_NARROWER + _SPREAD_PER_S * gap) * max(end.length, length)
    return ((off / spread) ** 2 + (math.log(length / end.length) / _LENGTH_SPREAD) ** 2) / 2


def few_affinities(seen: Sightings, ends: list[End], starts: Sequence[int], params: TrackParams) -> list[list[float]]:
    """Return what `affinities` returns, faster for a few pairs."""
    before, after = [_sight(seen, end.row) for end in ends], [_sight(seen, row) for row in starts]
    return [[_affinity(end, mine, other, params) for other in after] for end, mine in zip(ends, before, strict=True)]


class _Sight(NamedTuple):
    """One sighting; see Sightings for the fields."""

    t_s: float
    length: float
    centre: list[float]
    box: list[float]
    keypoints: list[list[float]]


def _sight(seen: Sightings, row: int) -> _Sight:
    return _Sight(
        seen.t_s.item(row),
        seen.lengths.item(row),
        seen.centres[row].tolist(),
        seen.boxes[row].tolist(),
        seen.keypoints[row].tolist(),
    )


def _affinity(end: End, before: _Sight, after: _Sight, params: TrackParams) -> float:
    gap = after.t_s - end.t_s
    move = end.velocity[0] * gap, end.velocity[1] * gap
    drift = max(before.length, after.length) * (params.position_noise + params.max_speed / 4 * gap)
    overlap = _overlap_of(before.box, after.box, move, drift / 2)
    if not after.keypoints:
        return overlap * _agreement_of(end, after, move, gap)
    area = max(_area(before.box), _area(after.box))
    similarity = _similarity_of(before.keypoints, after.keypoints, move, (area, drift / 2))
    return overlap / 2 if similarity is None else (overlap + similarity) / 2


def _overlap_of(a: list[float], b: list[float], move: Point, margin: float) -> float:
    """Return what `_overlap` returns, for one pair. move: of the first one"""
    (left, top, right, bottom), (x, y), twice = a, move, 2 * margin
    width = min(right + x, b[2]) - max(left + x, b[0]) + twice
    height = min(bottom + y, b[3]) - max(top + y, b[1]) + twice
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    either = (right - left + twice) * (bottom - top + twice) + (b[2] - b[0] + twice) * (b[3] - b[1] + twice) - shared
    return shared / either if either > 0 else 0.0


def _area(box: list[float]) -> float:
    return _AREA_OF_BOX * max(box[2] - box[0], 1.0) * max(box[3] - box[1], 1.0)


def _similarity_of(
    a: list[list[float]], b: list[list[float]], move: Point, spread: tuple[float, float]
) -> float | None:
    """Return what `_similarity` returns, for one pair; None with too few common keypoints.

    move: of the first one; spread: area of the person and drift
    """
    (move_x, move_y), area, drift2 = move, spread[0], spread[1] ** 2
    total, common = 0.0, 0
    for (x, y), (other_x, other_y), variance in zip(a, b, _VARIANCE_OF_EACH, strict=True):
        distance2 = (x + move_x - other_x) ** 2 + (y + move_y - other_y) ** 2
        if distance2 < math.inf:  # not NaN either
            common += 1
            total += math.exp(-distance2 / (2 * (area * variance + drift2)))
    return total / common if common >= _LEAST_COMMON else None


def _agreement_of(end: End, after: _Sight, move: Point, gap: float) -> float:
    """Return what `_agreement` returns, for one pair."""
    longer = max(end.length, after.length)
    x, y = ((after.centre[axis] - end.place[axis] - move[axis]) / longer for axis in (0, 1))
    growth = math.log(after.length / end.length) / _LENGTH_SPREAD
    narrow, wide = _NARROWER + _SPREAD_PER_S * gap, _WIDER + _SPREAD_PER_S * gap
    return math.exp(-((x / narrow) ** 2 + (y / wide) ** 2 + growth**2) / 2)


def affinities(seen: Sightings, ends: list[End], starts: Rows, params: TrackParams) -> Array:
    """Return the similarity (ends, starts), 0 to 1, of where each end is expected and each row is seen."""
    rows = np.array([end.row for end in ends])
    gap = seen.t_s[starts] - np.array([end.t_s for end in ends])[:, None]
    move = np.array([end.velocity for end in ends])[:, None] * gap[:, :, None]
    length = np.maximum(seen.lengths[rows][:, None], seen.lengths[starts])
    drift = length * (params.position_noise + params.max_speed / 4 * gap)
    before, after = seen.boxes[rows], seen.boxes[starts]
    overlap = _overlap(before[:, None] + np.concatenate([move, move], axis=-1), after, drift / 2)
    if not seen.keypoints.shape[1]:
        return overlap * _agreement(seen, ends, starts, move, gap)
    expected = seen.keypoints[rows][:, None] + move[:, :, None]
    areas = np.maximum(_areas(before)[:, None], _areas(after))
    similarity = _similarity(expected, seen.keypoints[starts].astype(np.float64), areas, drift / 2)
    return np.asarray(np.where(np.isnan(similarity), overlap / 2, (overlap + np.nan_to_num(similarity)) / 2))


def _agreement(seen: Sightings, ends: list[End], columns: Rows, move: Array, gap: Array) -> Array:
    """Likelihood of the place and the length of each start after each end, 1 where they are the expected ones."""
    place, length = np.array([end.place for end in ends]), np.array([end.length for end in ends])[:, None]
    longer = np.maximum(length, seen.lengths[columns])
    off = (seen.centres[columns] - place[:, None] - move) / longer[..., None]
    growth = np.log(seen.lengths[columns] / length) / _LENGTH_SPREAD
    spread = _SPREAD + _SPREAD_PER_S * gap[..., None]
    return np.asarray(np.exp(-(((off / spread) ** 2).sum(axis=-1) + growth**2) / 2))


def _overlap(a: Array, b: Array, margin: Array) -> Array:
    """Intersection over union of boxes grown by the margin at each side, as C-BIoU does (Yang et al., WACV 2023)."""
    grow = np.stack([-margin, -margin, margin, margin], axis=-1)
    a, b = a + grow, b + grow
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared: Array = np.maximum(sides, 0).prod(axis=-1)
    either = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    return np.asarray(shared / np.maximum(either, np.finfo(np.float64).tiny))


def _areas(boxes: Array) -> Array:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    return np.asarray(_AREA_OF_BOX * sides[:, 0] * sides[:, 1])


def _similarity(a: Array, b: Array, areas: Array, drift: Array) -> Array:
    """OKS over the common keypoints, each spread wider by the drift; NaN with too few of them."""
    distance2 = ((a - b) ** 2).sum(axis=-1)
    spread2 = areas[..., None] * _VARIANCES + drift[..., None] ** 2
    found = np.isfinite(distance2)
    values = np.where(found, np.exp(-np.where(found, distance2, 0.0) / (2 * spread2)), 0.0)
    common = found.sum(axis=-1)
    return np.where(common >= _LEAST_COMMON, values.sum(axis=-1) / np.maximum(common, 1), np.nan)
