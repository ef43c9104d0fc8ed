"""Regions of a frame that a classifier looks at, and a frame's score from the best of them. numpy only."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from models.decoders.region_spec import RegionSpec
from models.types import Region

MOST_PER_SIDE = 40  # tiles of one level: a frame of 10,000 x 20 pixels would have thousands


class RegionScore(NamedTuple):
    """Probability of the sought label in one region."""

    probability: float
    region: Region


def plan_tiles(size: tuple[int, int], spec: RegionSpec) -> tuple[Region, ...]:
    """Return the whole frame and its tiles, the largest first. None leaves the frame.

    The tiles of a level cover it unless it is a strip, for which MOST_PER_SIDE squares side by side are too few.
    size: (width, height) of the displayed frame in pixels
    """
    tiles = {Region(0, 0, *size): None}  # in order, and each once: in a tiny frame two levels may be equal
    for level in sorted(spec.levels, reverse=True):
        fewest = min(min(size), math.ceil(max(size) / MOST_PER_SIDE))  # pixels, so that so many tiles reach across
        side = max(fewest, round(min(size) * level))
        lefts, tops = (tuple(_starts(length, side, spec.overlap)) for length in size)
        tiles.update((Region(left, top, side, side), None) for top in tops for left in lefts)
    return tuple(tiles)


def _starts(length: int, side: int, overlap: float) -> Iterator[int]:
    """Yield where the tiles along one side of the frame begin: spread evenly, from edge to edge."""
    room = length - side
    steps = math.ceil(round(room / (side * (1 - overlap)), 9))  # 2.0000000001 steps are two
    steps = min(steps, MOST_PER_SIDE - 1)
    for step in range(steps + 1):
        yield round(step * room / steps) if steps else 0


def best_of(scores: list[RegionScore], best: int) -> RegionScore:
    """Return the frame's probability, the mean of its `best` most probable regions, with the first of them.

    scores: of one frame, at least one. Of equal ones the earlier in the plan comes first.
    """
    ranked = sorted(scores, key=lambda score: -score.probability)[:best]
    mean = math.fsum(score.probability for score in ranked) / len(ranked)
    return RegionScore(mean, ranked[0].region)
