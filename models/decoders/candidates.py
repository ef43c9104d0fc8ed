"""Candidates of a one-stage detector -> the people of one frame: thresholds, and suppression of overlapping boxes.

numpy only. tests/models/reference_candidates.py is the same in plain loops.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import FramePoses


@dataclass(frozen=True)
class CandidateParams:
    """Parameters for choosing people among candidates.

    `dataclasses.asdict` and `CandidateParams(**values)` convert to a plain dict and back.

    pose_score_threshold: a candidate with a lower score is left out; so is one of 0, whatever the threshold
    keypoint_score_threshold: a keypoint with a lower score is not found
    iou_threshold: of two candidates whose boxes overlap more (intersection divided by union), the less sure one is the
        same person; 1 = none is
    max_candidates: the surest that are compared; max_people: the surest that are kept

    Raises ValueError where a value makes no sense.
    """

    pose_score_threshold: float
    keypoint_score_threshold: float
    iou_threshold: float
    max_candidates: int = 3000
    max_people: int = 300

    def __post_init__(self) -> None:
        for name in ("pose_score_threshold", "keypoint_score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}. Give 0 to 1.")
        for name in ("max_candidates", "max_people"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}. Give more than 0.")


class Candidates(NamedTuple):
    """Possible people of one frame, the surest first.

    scores: (n,) float32; boxes: (n, 4) float32 left, top, right, bottom, pixels of the tensor
    keypoints: (n, 17, 3) float32 x, y, score, pixels of the tensor
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]


def surest(scores: NDArray[Any], params: CandidateParams) -> NDArray[np.intp]:
    """Return the places of the candidates that are sure enough, the surest first; equal ones stay in their order."""
    places: NDArray[np.intp] = np.flatnonzero((scores > 0) & (scores >= np.float32(params.pose_score_threshold)))
    order = np.argsort(-scores[places], kind="stable")[: params.max_candidates]
    ordered: NDArray[np.intp] = places[order]
    return ordered


def choose_people(candidates: Candidates, params: CandidateParams) -> FramePoses:
    """Choose the people among candidates that are sure enough. Writes into no array of `candidates`."""
    kept = keep_apart(candidates.boxes, params)
    keypoints = candidates.keypoints[kept].astype(np.float32, copy=False)
    keypoints[keypoints[:, :, 2] < np.float32(params.keypoint_score_threshold)] = np.nan
    return FramePoses(candidates.scores[kept].astype(np.float32), keypoints[:, :, :2], keypoints[:, :, 2])


def keep_apart(boxes: NDArray[np.float32], params: CandidateParams) -> NDArray[np.intp]:
    """Return the places of the boxes that no surer kept box overlaps, at most `max_people`. boxes: the surest first

    Greedy, as everywhere: a box that is suppressed suppresses none. Box by box over those that are kept, in arrays over
    the rest. A box without area overlaps nothing.
    """
    rest = np.arange(len(boxes))
    if params.iou_threshold >= 1:
        return rest[: params.max_people]
    left, top, right, bottom = boxes.astype(np.float64).T
    area = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    kept: list[int] = []
    while len(rest) and len(kept) < params.max_people:
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        rest = rest[shared <= params.iou_threshold * (area[best] + area[rest] - shared)]
    return np.array(kept, np.intp)
