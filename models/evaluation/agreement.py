"""Agreement between the people of two models on the same frames, without annotations. No inference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.coco import Labelled, match
from models.types import FramePoses

AREA_OF_BOX = 0.53
"""A person's area as a share of the box around the person, mmpose's value for data sets without areas."""


def mean_agreement(theirs: Sequence[FramePoses], mine: Sequence[FramePoses]) -> tuple[float, int]:
    """(mean OKS, people) over the people of all frames, with `theirs` as the truth; NaN without people.

    Both: frame by frame, in the same pixels. A person that `mine` misses counts 0; additional people do not count.
    """
    similarities: list[NDArray[np.float64]] = []
    for one, other in zip(theirs, mine, strict=True):
        placed = [xy for xy in one.keypoints if np.isfinite(xy).any()]  # a person may have unsure keypoints only
        _, similarity = match(other.keypoints, [_as_labelled(xy) for xy in placed])
        similarities.append(similarity)
    together = np.concatenate(similarities) if similarities else np.zeros(0)
    return (float(together.mean()) if len(together) else float("nan")), len(together)


def _as_labelled(keypoints: NDArray[np.float32]) -> Labelled:
    """Turn a found person into an annotated one, whose labelled keypoints are the found ones."""
    there = np.isfinite(keypoints).all(axis=1)
    places = keypoints[there].astype(np.float64)
    width, height = np.maximum(places.max(axis=0) - places.min(axis=0), 1.0)
    return Labelled(
        np.nan_to_num(keypoints.astype(np.float64)), there, AREA_OF_BOX * width * height, max(width, height)
    )
