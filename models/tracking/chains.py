"""Chains of sightings of one person, and the assignment of people who appear to chains that have ended."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from models.tracking.affinity import End, affinities, few_affinities, misfit
from models.tracking.params import TrackParams
from models.tracking.types import Columns, Sightings

# Of a negative logarithm of a likelihood.
_FITS_WELL = 1.0
_IMPOSSIBLE = 12.0
_FEW_PAIRS = 12


@dataclass(eq=False)
class Chain:
    """Sightings of one person that follow each other without a long gap.

    number: from 0 in the order of the first rows
    first, last: rows, counted from the first kept sighting: below 0 = not kept; last may be of later frames than are
        processed
    first_s, last_s: their times; rows: the kept sightings so far, ascending; count: number of all of them so far
    best_score: their highest
    closed: no sighting can follow
    settled: it is decided whether the chain continues an earlier one, `before`, which is forgotten with its track given
    continued: a later chain continues it
    track: the number of the track, 0 = not given yet
    end: how it ended, None = not computed yet
    beside: the chain of the person next to whom it ended, and how that one was at the time
    """

    number: int
    first: int
    first_s: float
    last: int
    last_s: float
    count: int = 0
    best_score: float = 0.0
    closed: bool = False
    settled: bool = False
    before: "Chain | None" = None
    continued: bool = False
    track: int = 0
    end: End | None = None
    beside: "tuple[Chain, End] | None" = None
    rows: list[int] = field(default_factory=list)

    def holds(self, params: TrackParams) -> bool:
        """Return whether there are enough sightings for a track."""
        sure = self.best_score >= params.start_score or self.last_s - self.first_s >= params.unsure_s
        return sure and self.count >= params.min_rows

    def decided(self, params: TrackParams) -> bool:
        """Return whether it is known to which track the chain belongs, if to any."""
        return self.settled if self.holds(params) else self.closed


class Encounter(NamedTuple):
    """Two people of whom one was not seen for a while next to the other.

    chain, other: those of the one who was lost and of the one who stayed; end, other_end: how they were before
    row: where the lost one appears again, counted from the first kept sighting
    """

    chain: Chain
    other: Chain
    other_end: End
    end: End
    row: int


def assign(
    seen: Sightings, plain: Columns, ends: list[End], starts: list[int], params: TrackParams
) -> list[tuple[int, int]]:
    """Return pairs (index of an end, index of a start) of the greatest total affinity, none below the least."""
    if not ends or not starts:
        return []
    if len(ends) * len(starts) > _FEW_PAIRS:
        table = affinities(seen, ends, np.array(starts), params).tolist()
    else:
        found = _obvious(plain, ends, starts)
        if found is not None:
            return found
        table = few_affinities(seen, ends, starts, params)
    return pairs(table, params.min_affinity)


def _obvious(plain: Columns, ends: list[End], starts: list[int]) -> list[tuple[int, int]] | None:
    """Return the pairs where each end and each start has no more than one partner, which fits well; None elsewhere."""
    table = [[misfit(plain, end, row) for row in starts] for end in ends]
    found = [(a, b, fit) for a, fits in enumerate(table) for b, fit in enumerate(fits) if fit < _IMPOSSIBLE]
    fits_well = all(fit < _FITS_WELL for _, _, fit in found)
    return [(a, b) for a, b, _ in found] if fits_well and _without_choice([(a, b) for a, b, _ in found]) else None


def _without_choice(found: list[tuple[int, int]]) -> bool:
    """Return whether each row and each column is in one pair at most."""
    return len({a for a, _ in found}) == len({b for _, b in found}) == len(found)


def pairs(table: list[list[float]], least: float) -> list[tuple[int, int]]:
    """Pair rows and columns for the greatest total, without values below `least`."""
    possible = [(a, b) for a, values in enumerate(table) for b, value in enumerate(values) if value >= least]
    if _without_choice(possible):
        return possible
    gains = np.array(table)
    rows, columns = linear_sum_assignment(np.where(gains >= least, gains, 0.0), maximize=True)
    found = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in found if table[row][column] >= least]


def runs(successor: list[int], first: int) -> list[list[int]]:
    """Sequences of rows from `first` on that follow each other, in the order of their first rows."""
    found: list[list[int]] = []
    expected: dict[int, list[int]] = {}
    for row in range(first, len(successor)):
        run = expected.pop(row, None)
        if run is None:
            run = []
            found.append(run)
        run.append(row)
        if successor[row] >= 0:
            expected[successor[row]] = run
    return found
