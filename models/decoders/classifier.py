"""A classifier's output -> the label of a frame. numpy only: no inference, no training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.types import FrameLabel, NightjarError

ROUNDING = 1e-3  # of FP16


@dataclass(frozen=True)
class ClassifyParams:
    """Parameters for reading a classifier's output.

    labels: names in the order of the output's values; two for a single value, the probability of the second one
    threshold: probability from which a frame has the second of two labels (single value)
    Raises ValueError where a value makes no sense.
    """

    labels: tuple[str, ...]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # JSON has lists only
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise ValueError(f"The labels are {self.labels}. Give two or more different names.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"The threshold is {self.threshold}. Give a probability between 0 and 1.")


def fits(labels: tuple[str, ...], values: int) -> bool:
    """Return whether an output of `values` numbers fits these labels: one each, or two for a single value."""
    return values == len(labels) or (values == 1 and len(labels) == 2)


def classify(outputs: Mapping[str, NDArray[Any]], params: ClassifyParams) -> FrameLabel:
    """Classify a frame. outputs: one array of probabilities, (1, 1) or (1, labels), under any name.

    Raises NightjarError where their number does not fit the labels, or they are not probabilities.
    """
    (values,) = outputs.values()
    flat = values.reshape(-1)
    if flat.size == 1 and len(params.labels) == 2:
        second = float(flat[0])
        is_second = second >= params.threshold
        return _label(params.labels[is_second], second if is_second else 1 - second)
    if flat.size != len(params.labels):
        raise NightjarError(
            f"The output has {flat.size} values, which does not fit the labels {', '.join(params.labels)}. Convert the "
            "model again."
        )
    best = int(np.argmax(flat))
    return _label(params.labels[best], float(flat[best]))


def _label(label: str, score: float) -> FrameLabel:
    if not -ROUNDING <= score <= 1 + ROUNDING:
        raise NightjarError(
            f"The classifier's score for {label!r} is {score:.3g}, which is not a probability. End the network with a "
            "sigmoid or softmax and convert it again."
        )
    return FrameLabel(label, min(max(score, 0.0), 1.0))
