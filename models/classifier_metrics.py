"""How good a classifier's scores are: accuracy, precision, recall, ROC AUC. numpy only: no pictures, no network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.types import NightjarError

THRESHOLD = 0.5  # what scores at least so much is called a car
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Confusion:
    """How many pictures: cars that were found and missed, others that were let pass and taken for cars."""

    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int


@dataclass(frozen=True)
class ClassifierMetrics:
    """precision: None where nothing was called a car

    roc_auc: the chance that a car scores higher than another picture, ties count half; between roc_auc_low and
    roc_auc_high with 95 % confidence (bootstrap)
    """

    pictures: int
    accuracy: float
    precision: float | None
    recall: float
    roc_auc: float
    roc_auc_low: float
    roc_auc_high: float
    confusion: Confusion


def measure(
    cars: NDArray[np.bool_], scores: NDArray[np.floating], *, seed: int = 0, resamples: int = 1000
) -> ClassifierMetrics:
    """cars: (n,) the truth; scores: (n,) probabilities of a car; seed, resamples: of the bootstrap

    Raises NightjarError without pictures of both kinds, or where a score is no number.
    """
    if cars.shape != scores.shape or cars.all() or not cars.any():
        raise NightjarError(
            f"{int(cars.sum())} cars among {len(cars)} pictures with {len(scores)} scores found, expected some cars, "
            "some others and a score for each: give the test set pictures of both kinds"
        )
    if not np.isfinite(scores).all():
        raise NightjarError("scores with NaN found, expected probabilities: the classifier is broken, train it anew")
    found = confusion(cars, scores)
    called = found.true_positives + found.false_positives
    low, high = bootstrap_auc(cars, scores, seed, resamples)
    return ClassifierMetrics(
        pictures=len(cars),
        accuracy=(found.true_positives + found.true_negatives) / len(cars),
        precision=found.true_positives / called if called else None,
        recall=found.true_positives / (found.true_positives + found.false_negatives),
        roc_auc=_auc(*_counts(cars, scores)),
        roc_auc_low=low,
        roc_auc_high=high,
        confusion=found,
    )


def confusion(cars: NDArray[np.bool_], scores: NDArray[np.floating]) -> Confusion:
    called = scores >= THRESHOLD
    return Confusion(
        true_positives=int((cars & called).sum()),
        false_negatives=int((cars & ~called).sum()),
        true_negatives=int((~cars & ~called).sum()),
        false_positives=int((~cars & called).sum()),
    )


def bootstrap_auc(
    cars: NDArray[np.bool_], scores: NDArray[np.floating], seed: int, resamples: int
) -> tuple[float, float]:
    """The middle 95 % of the ROC AUC of resampled pictures: cars and others each drawn anew with replacement."""
    random = np.random.default_rng(seed)
    ups, downs = _counts(cars, scores)

    def drawn(counts: NDArray[np.int64]) -> NDArray[np.int64]:
        return random.multinomial(int(counts.sum()), counts / counts.sum())

    values = [_auc(drawn(ups), drawn(downs)) for _ in range(resamples)]
    low, high = np.quantile(values, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def _counts(cars: NDArray[np.bool_], scores: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(m,) each: cars, and others, with each of the m different scores, which rise."""
    different, group = np.unique(scores, return_inverse=True)
    ups = np.bincount(group[cars], minlength=len(different))
    downs = np.bincount(group[~cars], minlength=len(different))
    return ups, downs


def _auc(ups: NDArray[np.int64], downs: NDArray[np.int64]) -> float:
    """Of counts by rising score: the share of pairs that are in order, ties half (Mann and Whitney)."""
    below = np.cumsum(downs) - downs
    doubled = (ups * (2 * below + downs)).sum()
    return float(doubled / (2 * ups.sum() * downs.sum()))
