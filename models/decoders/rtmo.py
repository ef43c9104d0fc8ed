"""RTMO outputs -> the people of one frame. numpy only: no inference, no picture, no original frame.

As MMDeploy exports it (mmdeploy/codebase/mmpose/models/heads/rtmo_head.py): one row per person, after the graph's own
suppression of overlaps. Suppressing again with the same threshold changes nothing, and an export without one is right.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decoders.candidates import CandidateParams, Candidates, choose_people, surest
from models.types import KEYPOINTS, FramePoses, NightjarError

DETS, RTMO_KEYPOINTS = "dets", "keypoints"

RTMO_PARAMS = CandidateParams(pose_score_threshold=0.3, keypoint_score_threshold=0.3, iou_threshold=0.65)
"""Thresholds of the published ONNX models' own example (Transformers.js, RTMO-s), and of MMPose's `nms_thr`."""


def decode_rtmo(outputs: Mapping[str, NDArray[Any]], params: CandidateParams) -> FramePoses:
    """Decode the people that RTMO finds in one frame, the surest first.

    outputs: dets (1, n, 5) left, top, right, bottom, score; keypoints (1, n, 17, 3) x, y, score
    Returns keypoints in pixels of the model's input tensor, x then y.
    Raises NightjarError where an output is missing or has another shape.
    """
    dets, keypoints = outputs.get(DETS), outputs.get(RTMO_KEYPOINTS)
    if dets is None or keypoints is None or not _fit(dets.shape, keypoints.shape):
        found = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise NightjarError(
            f"The outputs are {found}. RTMO's are dets (1, n, 5) and keypoints (1, n, {KEYPOINTS}, 3). Convert the "
            "model again."
        )
    rows = dets.reshape(-1, 5)
    sure = surest(rows[:, 4], params)
    points: NDArray[np.float32] = keypoints.reshape(-1, KEYPOINTS, 3)[sure]
    return choose_people(Candidates(rows[sure, 4], rows[sure, :4], points), params)


def _fit(dets: tuple[int, ...], keypoints: tuple[int, ...]) -> bool:
    return len(dets) == 3 and dets[0] == 1 and dets[2] == 5 and keypoints == (*dets[:2], KEYPOINTS, 3)
