"""The similarity of a few people, and that of many."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tracking.affinity import End, affinities, few_affinities
from models.tracking.chains import pairs
from models.tracking.params import TrackParams
from models.tracking.types import of_poses
from tests.models.tracking.people import crowds


@settings(max_examples=30)
@given(crowds(), st.integers(0, 2**32 - 1), st.booleans())
def test_few_pairs_are_as_similar_as_many(poses: object, seed: int, boxes_alone: bool) -> None:
    rng, (seen, _) = np.random.default_rng(seed), of_poses(poses)  # type: ignore[arg-type]
    if len(seen) < 8:
        return
    if boxes_alone:
        seen = dataclasses.replace(seen, keypoints=seen.keypoints[:, :0])
    rows, starts = np.sort(rng.choice(len(seen), 6, replace=False)).reshape(2, 3)
    ends = [
        End(row, seen.t_s.item(row), tuple(rng.normal(0, 100, 2)), tuple(seen.centres[row] + 3), seen.lengths.item(row))
        for row in rows.tolist()
    ]
    few, many = (each(seen, ends, starts, TrackParams()) for each in (few_affinities, affinities))  # type: ignore[operator]
    np.testing.assert_allclose(few, many, rtol=1e-9, atol=1e-12)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.7, 0.9]), min_size=3, max_size=3), min_size=1, max_size=4))
def test_pairs_have_the_greatest_total(table: list[list[float]]) -> None:
    found = pairs(table, 0.2)
    gains = np.where(np.array(table) >= 0.2, table, 0.0)
    best = best_total(gains, frozenset())
    assert sum(gains[row, column] for row, column in found) == pytest.approx(best)
    assert all(table[row][column] >= 0.2 for row, column in found)
    assert len({row for row, _ in found}) == len({column for _, column in found}) == len(found)


def best_total(gains: np.ndarray, taken: frozenset[int]) -> float:
    """The greatest total of one column per row, by trying all."""
    if not len(gains):
        return 0.0
    free = [column for column in range(gains.shape[1]) if column not in taken]
    used = [float(gains[0, column]) + best_total(gains[1:], taken | {column}) for column in free]
    return max([best_total(gains[1:], taken), *used])
