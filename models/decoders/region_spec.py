"""Parameters of the regions of a frame that a classifier looks at. Light: commands load it for their options."""

from dataclasses import dataclass

SMALLEST_LEVEL, MOST_LEVELS = 0.1, 8
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
