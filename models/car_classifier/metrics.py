"""Measures of a classifier's scores: accuracy, precision, recall, areas, and a threshold. No pictures, no network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from models.types import Floats, NightjarError

THRESHOLD = 0.5
"""Probability from which a picture is labelled a car, unless another threshold is chosen."""

_CONFIDENCE = 0.95
_Z = 1.959963984540054  # of the normal distribution, for 95 %


@dataclass(frozen=True)
class Confusion:
    """Numbers of pictures: cars found and missed, other pictures recognised and mistaken for cars."""

    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int

    @property
    def called_cars(self) -> int:
        return self.true_positives + self.false_positives

    @property
    def called_others(self) -> int:
        return self.true_negatives + self.false_negatives


@dataclass(frozen=True)
class ClassifierMetrics:
    """Measures at one threshold; intervals are of 95 % confidence.

    accuracy_low, accuracy_high: Wilson's interval
    precision: None where no picture was labelled a car
    roc_auc: the chance that a car scores higher than another picture, ties count half
    roc_auc_low, roc_auc_high: Newcombe's score interval, see `auc_interval`
    average_precision: the area under the precision-recall curve, by steps
    """

    pictures: int
    threshold: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    precision: float | None
    recall: float
    roc_auc: float
    roc_auc_low: float
    roc_auc_high: float
    average_precision: float
    confusion: Confusion


def measure(cars: NDArray[np.bool_], scores: Floats, threshold: float = THRESHOLD) -> ClassifierMetrics:
    """Measure scores against the truth.

    cars: (n,) the truth
    scores: (n,) probabilities of a car
    Raises NightjarError without pictures of both kinds, or where a score is not a number.
    """
    _check(cars, scores)
    found = confusion(cars, scores, threshold)
    right, positives = found.true_positives + found.true_negatives, int(cars.sum())
    auc = float(roc_auc_score(cars, scores))
    low, high = auc_interval(auc, positives, len(cars) - positives)
    accuracy_low, accuracy_high = share_interval(right, len(cars))
    return ClassifierMetrics(
        pictures=len(cars),
        threshold=threshold,
        accuracy=right / len(cars),
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        precision=found.true_positives / found.called_cars if found.called_cars else None,
        recall=found.true_positives / positives,
        roc_auc=auc,
        roc_auc_low=low,
        roc_auc_high=high,
        average_precision=float(average_precision_score(cars, scores)),
        confusion=found,
    )


def _check(cars: NDArray[np.bool_], scores: Floats) -> None:
    if cars.shape != scores.shape or cars.all() or not cars.any():
        raise NightjarError(
            f"There are {int(cars.sum())} cars among {len(cars)} pictures with {len(scores)} scores. Give the test set "
            "pictures of both kinds, and one score for each."
        )
    if not np.isfinite(scores).all():
        raise NightjarError("Scores hold NaN or infinities. Train again with a lower learning rate.")


def confusion(cars: NDArray[np.bool_], scores: Floats, threshold: float = THRESHOLD) -> Confusion:
    called = scores >= threshold
    return Confusion(
        true_positives=int((cars & called).sum()),
        false_negatives=int((cars & ~called).sum()),
        true_negatives=int((~cars & ~called).sum()),
        false_positives=int((~cars & called).sum()),
    )


def choose_threshold(cars: NDArray[np.bool_], scores: Floats) -> float:
    """Choose the threshold with the highest mean of the shares of cars and of others that are right (Youden's index).

    Of equally good ones it is 0.5, otherwise the middle of the widest gap between scores: 8 cars at 0.3 and 100 others
    at 0.1 give 0.2. It lies between 0 and 1, both exclusive.
    Raises NightjarError without pictures of both kinds, or where a score is not a number.
    """
    _check(cars, scores)
    false_share, true_share, levels = roc_curve(cars, scores, drop_intermediate=False)
    index = true_share - false_share
    best = np.flatnonzero(index >= index.max() - 1e-12)
    above, below = np.append(levels, 0.0)[best], np.append(levels, 0.0)[best + 1]
    if index.max() <= 0 or ((below < THRESHOLD) & (above >= THRESHOLD)).any():
        return THRESHOLD
    widest = int(np.argmax(above - below))
    return float((above[widest] + below[widest]) / 2)


def share_interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: 136 of 136 is 0.973 to 1."""
    found = binomtest(right, count).proportion_ci(_CONFIDENCE, method="wilson")
    return max(0.0, float(found.low)), min(1.0, float(found.high))


def auc_interval(auc: float, cars: int, others: int) -> tuple[float, float]:
    """95 % interval of an area under the ROC curve that does not collapse at 1: Newcombe's method 5.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2", Statistics
    in Medicine 25 (2006): the areas whose own standard error, after Hanley and McNeil, reaches the one observed.
    """

    def beyond(area: float) -> float:
        spread = (1 - area) / (2 - area) + area / (1 + area)
        variance = area * (1 - area) * (1 + ((cars + others) / 2 - 1) * spread) / (cars * others)
        return (area - auc) ** 2 - _Z**2 * variance

    edge = 1e-12  # at 0 and 1 the variance is 0: an observed 0 or 1 would be a trivial solution
    low = 0.0 if auc <= edge else float(brentq(beyond, 0.0, min(auc, 1 - edge)))
    high = 1.0 if auc >= 1 - edge else float(brentq(beyond, max(auc, edge), 1.0))
    return low, high
