"""Regions of a frame that a classifier looks at, and a frame's score from the best of them. numpy only."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from models.types import Region

SMALLEST_LEVEL, MOST_LEVELS = 0.1, 8
MOST_PER_SIDE = 40  # tiles of one level: a frame of 10,000 x 20 pixels would have thousands
MOST_BEST, MOST_MOVING, MOST_GAP_S = 100, 32, 10.0


@dataclass(frozen=True)
class RegionSpec:
    """Regions of each frame that a classifier is applied to, one by one. Part of the model version.

    The whole frame is always one of them.
    levels: sides of square tiles, as fractions of the frame's shorter side
    overlap: share of a tile's side that its neighbour covers too, at least
    moving: number of regions at most in which the picture has changed since gap_s before
    best: the frame's probability of the sought label is the mean of its so many most probable regions

    Raises ValueError where a value makes no sense.
    """

    levels: tuple[float, ...] = ()
    overlap: float = 0.5
    moving: int = 3
    gap_s: float = 0.25
    best: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))  # JSON knows lists only
        if len(self.levels) > MOST_LEVELS or not all(SMALLEST_LEVEL <= level <= 1 for level in self.levels):
            raise ValueError(
                f"The levels are {self.levels}. Give up to {MOST_LEVELS} fractions from {SMALLEST_LEVEL} to 1."
            )
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"The overlap is {self.overlap}. Give a fraction from 0 to 0.9.")
        if not 0 <= self.moving <= MOST_MOVING:
            raise ValueError(f"The number of moving regions is {self.moving}. Give 0 to {MOST_MOVING}.")
        if not 0 < self.gap_s <= MOST_GAP_S:
            raise ValueError(f"The gap is {self.gap_s} s. Give seconds above 0, up to {MOST_GAP_S}.")
        if not 1 <= self.best <= MOST_BEST:
            raise ValueError(f"The number of best regions is {self.best}. Give 1 to {MOST_BEST}.")


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
