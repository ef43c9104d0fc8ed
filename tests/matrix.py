"""Pairs of parameters, of which `make test` runs as few as try each value once."""

from collections.abc import Collection

import pytest


def pairs(first: Collection[str], second: Collection[str]) -> list[object]:
    """All pairs as parameters of one test, marked `slow` except those on the diagonal, which have each value."""
    size = (len(first), len(second))
    diagonal = {(n % size[0], n % size[1]) for n in range(max(size))}
    return [
        pytest.param(one, other, id=f"{one}-{other}", marks=() if (i, j) in diagonal else pytest.mark.slow)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
    ]
