"""The choice of people among a detector's candidates in plain loops: the oracle of models.decoders.candidates.

Suppression as torchvision.ops.nms has it, which Ultralytics and MMDeploy call: greedy, in descending order of scores, a
box goes where its overlap with a kept one is above the threshold.
"""

from typing import NamedTuple

import numpy as np

from models.decoders.candidates import CandidateParams

Keypoint = tuple[float, float, float]


class Candidate(NamedTuple):
    """One possible person. box: left, top, right, bottom; keypoints: x, y, score of each"""

    score: float
    box: tuple[float, float, float, float]
    keypoints: list[Keypoint]


class Person(NamedTuple):
    """One person. keypoints: x, y, score of each; None = not found"""

    score: float
    keypoints: list[Keypoint | None]


def people(candidates: list[Candidate], params: CandidateParams) -> list[Person]:
    """Choose the people, the surest first."""
    least, least_keypoint = (
        float(np.float32(v)) for v in (params.pose_score_threshold, params.keypoint_score_threshold)
    )
    sure = [one for one in candidates if one.score > 0 and one.score >= least]
    sure = sorted(sure, key=lambda one: -one.score)[: params.max_candidates]
    kept: list[Candidate] = []
    for one in sure:
        if len(kept) < params.max_people and all(_apart(one, other, params.iou_threshold) for other in kept):
            kept.append(one)
    return [Person(one.score, [k if k[2] >= least_keypoint else None for k in one.keypoints]) for one in kept]


def _apart(one: Candidate, other: Candidate, iou_threshold: float) -> bool:
    if iou_threshold >= 1:
        return True
    width = max(min(one.box[2], other.box[2]) - max(one.box[0], other.box[0]), 0.0)
    height = max(min(one.box[3], other.box[3]) - max(one.box[1], other.box[1]), 0.0)
    shared = width * height
    return shared <= iou_threshold * (_area(other) + _area(one) - shared)


def _area(one: Candidate) -> float:
    return max(one.box[2] - one.box[0], 0.0) * max(one.box[3] - one.box[1], 0.0)


def of_anchors(output: np.ndarray) -> list[Candidate]:
    """Candidates of (1, 56, n)."""
    found = []
    for column in output[0].T.tolist():
        x, y, width, height, score = column[:5]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append(Candidate(score, box, _triples(column[5:])))
    return found


def of_detections(output: np.ndarray) -> list[Candidate]:
    """Candidates of (1, n, 57)."""
    return [Candidate(row[4], tuple(row[:4]), _triples(row[6:])) for row in output[0].tolist()]


def of_rtmo(dets: np.ndarray, keypoints: np.ndarray) -> list[Candidate]:
    """Candidates of (1, n, 5) and (1, n, 17, 3)."""
    rows = zip(dets[0].tolist(), keypoints[0].tolist(), strict=True)
    return [Candidate(row[4], tuple(row[:4]), [tuple(k) for k in points]) for row, points in rows]


def _triples(values: list[float]) -> list[Keypoint]:
    return [(values[at], values[at + 1], values[at + 2]) for at in range(0, len(values), 3)]
