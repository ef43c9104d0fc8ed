"""MoveNet outputs -> the people of one frame. numpy only: no inference, no picture, no original frame.

The network finds the people itself; a row of its one output is a person. The reading is the published one
(tfjs-models, pose-detection 2.1.3, src/movenet/detector.ts). tests/models/reference_movenet.py is the same in plain
loops.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINTS, FramePoses, NightjarError

MOVENET_OUTPUT = "people"
SINGLE_SHAPE = (1, 1, KEYPOINTS, 3)
MULTI_SHAPE = (1, 6, 56)
_KEYPOINT_VALUES = 3 * KEYPOINTS  # y, x and score of each; a person's box (4 values) and score follow in multipose
_BOX_SCORE = MULTI_SHAPE[2] - 1


@dataclass(frozen=True)
class MoveNetParams:
    """Parameters for reading MoveNet's output.

    `dataclasses.asdict` and `MoveNetParams(**it)` go to a plain dict and back.

    height_px, width_px: of the input tensor, because the outputs are fractions of it
    pose_score_threshold: a person with a lower score is left out. 0.25: `minPoseScore` of pose-detection. The score is
        that of the person's box (multipose), or the mean of the 17 keypoints' (one person)
    keypoint_score_threshold: a keypoint with a lower score is not found. 0.3: `keypointConfidenceThreshold` of
        pose-detection's tracker, and what its demo draws from

    A score of 0 means that nobody is there, whatever the threshold.
    Raises ValueError where a value makes no sense.
    """

    height_px: int
    width_px: int
    pose_score_threshold: float = 0.25
    keypoint_score_threshold: float = 0.3

    def __post_init__(self) -> None:
        for name in ("pose_score_threshold", "keypoint_score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}. Give a score from 0 to 1.")
        for name in ("height_px", "width_px"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}. Give more than 0.")


def decode_movenet(outputs: Mapping[str, NDArray[Any]], params: MoveNetParams) -> FramePoses:
    """Decode the people that MoveNet finds in one frame, the surest first.

    outputs: one array under any name: (1, 1, 17, 3) of one person, y, x and score of each keypoint; or (1, 6, 56) of
        six, the same 51 values, then the box (ymin, xmin, ymax, xmax) and its score
    Returns keypoints in pixels of the model's input tensor, x then y.
    Raises NightjarError where the output has another shape.
    """
    (output,) = outputs.values()
    rows = _rows(output)
    scores = rows[:, _BOX_SCORE].tolist() if rows.shape[1] > _KEYPOINT_VALUES else [float(rows[0, 2::3].mean())]
    # Plain Python for six numbers, on purpose: each call of numpy takes longer. Equal scores stay in their order.
    order = sorted((n for n, score in enumerate(scores) if _is_there(score, params)), key=lambda n: -scores[n])
    keypoints = rows[order, :_KEYPOINT_VALUES].astype(np.float32, copy=False).reshape(-1, KEYPOINTS, 3)
    keypoints[keypoints[:, :, 2] < params.keypoint_score_threshold] = np.nan
    return FramePoses(
        np.array([scores[n] for n in order], np.float32),
        keypoints[:, :, 1::-1] * _scale(params.width_px, params.height_px),
        keypoints[:, :, 2],
    )


def _rows(output: NDArray[Any]) -> NDArray[Any]:
    """(people, 51 or 56)."""
    if output.size == _KEYPOINT_VALUES:
        return output.reshape(1, _KEYPOINT_VALUES)
    if output.ndim and output.shape[-1] == _BOX_SCORE + 1:
        return output.reshape(-1, _BOX_SCORE + 1)
    raise NightjarError(
        f"The output has the shape {output.shape}. MoveNet's is {SINGLE_SHAPE} or {MULTI_SHAPE}. Convert the model "
        "again."
    )


def _is_there(score: float, params: MoveNetParams) -> bool:
    return score > 0 and score >= params.pose_score_threshold


@lru_cache(maxsize=8)
def _scale(width_px: int, height_px: int) -> NDArray[np.float32]:
    return np.array([width_px, height_px], np.float32)
