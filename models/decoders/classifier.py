"""A classifier's output -> the label of a frame. numpy only: no inference, no training."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decoders.region_spec import RegionSpec
from models.decoders.regions import RegionScore, best_of
from models.types import FrameLabel, NightjarError, Region

ROUNDING = 1e-3  # of FP16


@dataclass(frozen=True)
class ClassifyParams:
    """Parameters for reading a classifier's output.

    labels: names in the order of the output's values; two for a single value, the probability of the second one
    threshold: probability from which a frame has the second of two labels (single value, or regions)
    regions: parts of a frame in which the second of two labels is looked for; None = the whole frame is classified

    Raises ValueError where a value makes no sense.
    """

    labels: tuple[str, ...]
    threshold: float = 0.5
    regions: RegionSpec | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # JSON has lists only
        if isinstance(self.regions, Mapping):
            object.__setattr__(self, "regions", RegionSpec(**self.regions))
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise ValueError(f"The labels are {self.labels}. Give two or more different names.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"The threshold is {self.threshold}. Give a probability between 0 and 1.")
        if self.regions is not None and len(self.labels) != 2:
            raise ValueError(f"The labels are {self.labels}. Give two labels for a classifier that looks at regions.")

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as a manifest holds them. Without regions they are as they were before there were any,
        so that the versions of models that look at whole frames stay the same.
        """
        found = dataclasses.asdict(self)
        if self.regions is None:
            del found["regions"]
        return found


def fits(labels: tuple[str, ...], values: int) -> bool:
    """Return whether an output of `values` numbers fits these labels: one each, or two for a single value."""
    return values == len(labels) or (values == 1 and len(labels) == 2)


def classify(outputs: Mapping[str, NDArray[Any]], params: ClassifyParams) -> FrameLabel:
    """Classify a frame. outputs: one array of probabilities, (1, 1) or (1, labels), under any name.

    Raises NightjarError where their number does not fit the labels, or they are not probabilities.
    """
    flat = _values(outputs, params)
    if flat.size == 1:
        return _of_two(float(flat[0]), params)
    best = int(np.argmax(flat))
    return FrameLabel(params.labels[best], _probability(float(flat[best]), params.labels[best]))


def score_region(outputs: Mapping[str, NDArray[Any]], params: ClassifyParams, region: Region) -> RegionScore:
    """Return the probability of the second of two labels in a region. Raises NightjarError as `classify` does."""
    second = float(_values(outputs, params)[-1])
    return RegionScore(_probability(second, params.labels[1]), region)


def classify_regions(scores: list[RegionScore], params: ClassifyParams) -> FrameLabel:
    """Classify a frame by the scores of its regions, at least one."""
    best = best_of(scores, params.regions.best if params.regions else 1)
    return _of_two(best.probability, params)._replace(region=best.region)


def _values(outputs: Mapping[str, NDArray[Any]], params: ClassifyParams) -> NDArray[Any]:
    (values,) = outputs.values()
    if not fits(params.labels, values.size):
        raise NightjarError(
            f"The output has {values.size} values, which does not fit the labels {', '.join(params.labels)}. Convert "
            "the model again."
        )
    return values.reshape(-1)


def _of_two(second: float, params: ClassifyParams) -> FrameLabel:
    """Choose one of two labels by the probability of the second."""
    is_second = second >= params.threshold
    label = params.labels[is_second]
    return FrameLabel(label, _probability(second if is_second else 1 - second, label))


def _probability(score: float, label: str) -> float:
    if not -ROUNDING <= score <= 1 + ROUNDING:
        raise NightjarError(
            f"The classifier's score for {label!r} is {score:.3g}, which is not a probability. End the network with a "
            "sigmoid or softmax and convert it again."
        )
    return min(max(score, 0.0), 1.0)
