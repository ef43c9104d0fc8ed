"""Metrics of a classifier against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.classifier_metrics import Confusion, measure
from models.types import NightjarError

SCORED = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9, 1.0])), min_size=2, max_size=30)


def arrays(scored: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([car for car, _ in scored]), np.array([score for _, score in scored], np.float32)


@given(SCORED.filter(lambda scored: len({car for car, _ in scored}) == 2))
def test_metrics_are_those_of_plain_loops(scored: list[tuple[bool, float]]) -> None:
    found = measure(*arrays(scored), resamples=20)
    called = [(car, score >= 0.5) for car, score in scored]
    counts = [called.count(pair) for pair in ((True, True), (True, False), (False, False), (False, True))]
    assert found.confusion == Confusion(*counts)
    assert found.accuracy == pytest.approx((counts[0] + counts[2]) / len(scored))
    assert found.recall == pytest.approx(counts[0] / (counts[0] + counts[1]))
    called_cars = counts[0] + counts[3]
    assert found.precision == (pytest.approx(counts[0] / called_cars) if called_cars else None)
    pairs = [(a > b) + (a == b) / 2 for car, a in scored if car for other, b in scored if not other]
    assert found.roc_auc == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= found.roc_auc_low <= found.roc_auc_high <= 1


def test_the_interval_is_the_one_of_a_plain_bootstrap_and_of_its_seed() -> None:
    random = np.random.default_rng(4)
    cars = random.random(200) < 0.4
    scores = np.clip(random.normal(0.4 + 0.15 * cars, 0.2), 0, 1)
    found = measure(cars, scores, seed=3)
    assert found == measure(cars, scores, seed=3)
    plain = []
    for _ in range(1000):
        ups, downs = (random.choice(scores[kind], kind.sum()) for kind in (cars, ~cars))
        plain.append((ups[:, None] > downs).mean())
    assert (found.roc_auc_low, found.roc_auc_high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.015)
    assert found.roc_auc_low < found.roc_auc < found.roc_auc_high


@pytest.mark.parametrize(
    ("cars", "scores", "words"),
    [
        ([True, True], [0.1, 0.2], "some others"),
        ([False], [0.1], "some cars"),
        ([True, False], [0.1], "a score for each"),
        ([], [], "some cars"),
        ([True, False], [0.1, np.nan], "NaN"),
    ],
)
def test_what_cannot_be_measured_is_refused(cars: list[bool], scores: list[float], words: str) -> None:
    with pytest.raises(NightjarError, match=words):
        measure(np.array(cars, bool), np.array(scores))
