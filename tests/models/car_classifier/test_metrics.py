"""Metrics of a classifier, compared with plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models.car_classifier.metrics import (
    Confusion,
    auc_interval,
    choose_threshold,
    confusion,
    measure,
    share_interval,
)
from models.types import NightjarError

SCORED = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9, 1.0])), min_size=2, max_size=30)


def arrays(scored: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([car for car, _ in scored]), np.array([score for _, score in scored], np.float32)


@given(SCORED.filter(lambda scored: len({car for car, _ in scored}) == 2))
def test_metrics_equal_those_of_plain_loops(scored: list[tuple[bool, float]]) -> None:
    found = measure(*arrays(scored))
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


@given(SCORED.filter(lambda scored: len({car for car, _ in scored}) == 2))
@settings(max_examples=40)
def test_the_chosen_threshold_is_at_least_as_good_as_any_other(scored: list[tuple[bool, float]]) -> None:
    cars, scores = arrays(scored)
    chosen = choose_threshold(cars, scores)
    assert 0 < chosen < 1

    def index(threshold: float) -> float:
        found = confusion(cars, scores, threshold)
        return found.true_positives / cars.sum() + found.true_negatives / (~cars).sum()

    best = max(index(threshold) for threshold in (0.5, 0.05, 0.25, 0.45, 0.7, 0.95))
    if best > 1:  # otherwise the scores are random, and no threshold is better than chance
        assert index(chosen) == pytest.approx(best)
    assert index(0.5) < best - 1e-9 or chosen == 0.5, "moved without a reason"


def test_a_threshold_between_the_classes_is_found_below_one_half() -> None:
    cars = np.arange(108) < 8
    scores = np.where(cars, np.linspace(0.3, 0.42, 108), np.linspace(0.0, 0.1, 108)).astype(np.float32)
    assert measure(cars, scores).recall == 0
    threshold = choose_threshold(cars, scores)
    assert threshold == pytest.approx(0.2, abs=0.01)
    assert measure(cars, scores, threshold).recall == 1


def test_intervals_do_not_collapse_without_failures() -> None:
    assert share_interval(136, 136) == pytest.approx((0.973, 1.0), abs=5e-4)
    cars = np.arange(136) < 68
    found = measure(cars, np.where(cars, 0.9, 0.1))
    assert (found.roc_auc, found.roc_auc_high, found.accuracy_high) == (1.0, 1.0, 1.0)
    assert 0.9 < found.roc_auc_low < 0.98
    assert found.accuracy_low == pytest.approx(0.9725, abs=5e-4)
    assert auc_interval(1.0, 8, 100)[0] < auc_interval(1.0, 80, 100)[0], "fewer pictures tell less"
    low, high = auc_interval(0.3, 20, 30)
    assert auc_interval(0.7, 20, 30) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("distance", "cars", "others"), [(0.5, 20, 30), (1.8, 8, 100), (2.5, 40, 40)])
def test_the_interval_contains_the_true_area_in_95_of_100_samples(distance: float, cars: int, others: int) -> None:
    """The area for two normal distributions is known. The interval may be too wide, but not too narrow."""
    random, truth, hits = np.random.default_rng(0), norm.cdf(distance / np.sqrt(2)), 0
    for _ in range(400):
        ups, downs = random.normal(distance, 1, cars), random.normal(0, 1, others)
        low, high = auc_interval(float((ups[:, None] > downs).mean()), cars, others)
        hits += low <= truth <= high
    assert 0.93 <= hits / 400 <= 1.0


@pytest.mark.parametrize(
    ("cars", "scores", "words"),
    [
        ([True, True], [0.1, 0.2], "2 cars among 2 pictures"),
        ([False], [0.1], "0 cars among 1 pictures"),
        ([True, False], [0.1], "with 1 scores"),
        ([], [], "0 cars among 0 pictures"),
        ([True, False], [0.1, np.nan], "NaN"),
    ],
)
def test_undefined_metrics_are_refused(cars: list[bool], scores: list[float], words: str) -> None:
    with pytest.raises(NightjarError, match=words):
        measure(np.array(cars, bool), np.array(scores))
