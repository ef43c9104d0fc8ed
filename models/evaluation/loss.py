"""Bound on the accuracy that a model may lose by quantization. No inference."""

from dataclasses import dataclass
from typing import Literal

LEAST_PEOPLE = 200
"""Annotated people from which AP decides: on 86 it varies by a tenth of itself without cause. See decision 146."""
MAX_AP_LOSS = 0.05
MAX_AGREEMENT_LOSS = 0.3
"""Larger, because a keypoint that moved need not be worse: see docs/decisions/141."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class AccuracyLoss:
    """Accuracy of a model and of its source by the same measure and protocol, and the bound on the difference.

    measure: COCO's AP, or the mean OKS of the people with those of the source
    before, after: of the source and of the model, 0 to 1
    limit: share of `before` that may be lost, 0 to 1
    """

    measure: Literal["AP", "agreement"]
    before: float
    after: float
    limit: float

    @property
    def share(self) -> float:
        """Share of the source's accuracy that is lost; negative where the model is better. NaN without a source's."""
        return 1 - self.after / self.before if self.before > 0 else float("nan")

    @property
    def accepted(self) -> bool:
        return self.before > 0 and self.share <= self.limit + _ROUNDING

    def figures(self) -> str:
        """Describe both figures and the loss, without the model's name."""
        change = "gained" if self.share < 0 else "lost"
        return f"{self.measure} {self.after:.4f} where the source has {self.before:.4f}: {abs(self.share):.1%} {change}"

    def describe(self) -> str:
        """Describe both figures, the loss and the limit, without the model's name."""
        return f"{self.figures()}, and at most {self.limit:.1%} may be lost"


def doubt_about_ap(people: int, source_ap: float) -> str:
    """Return the reason why AP is no bound on these annotations; empty where it is. people: annotated ones"""
    if people < LEAST_PEOPLE:
        return f"{people} people are annotated, and AP says little about fewer than {LEAST_PEOPLE}"
    if not source_ap > 0:
        return "the source has no AP on these images that could be lost"
    return ""
