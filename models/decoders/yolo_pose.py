"""Outputs of Ultralytics' pose heads -> the people of one frame. numpy only: no inference, no picture.

Exports of YOLOv8, YOLO11 and others hold one column per anchor, and overlaps are suppressed here. Those of YOLO26, and
all with `nms=True`, hold one row per person, and the graph has chosen them (ultralytics/engine/exporter.py, NMSModel).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decoders.candidates import CandidateParams, Candidates, choose_people, surest
from models.types import KEYPOINTS, FramePoses, NightjarError

ANCHORS, DETECTIONS = "anchors", "detections"
ANCHOR_VALUES = 5 + 3 * KEYPOINTS  # centre x and y, width, height, score; then x, y and visibility of each keypoint
ROW_VALUES = 6 + 3 * KEYPOINTS  # left, top, right, bottom, score, class; then the same

ANCHOR_PARAMS = CandidateParams(pose_score_threshold=0.25, keypoint_score_threshold=0.5, iou_threshold=0.7)
"""Ultralytics' defaults (cfg/default.yaml); engine/results.py calls a keypoint below 0.5 not visible."""
DETECTION_PARAMS = CandidateParams(pose_score_threshold=0.25, keypoint_score_threshold=0.5, iou_threshold=1.0)


def decode_yolo_pose(outputs: Mapping[str, NDArray[Any]], params: CandidateParams) -> FramePoses:
    """Decode the people that a pose head finds in one frame, the surest first.

    outputs: one array: anchors (1, 56, n) or detections (1, n, 57), see ANCHOR_VALUES and ROW_VALUES
    Returns keypoints in pixels of the model's input tensor, x then y.
    Raises NightjarError where the output has another name or shape.
    """
    anchors, detections = outputs.get(ANCHORS), outputs.get(DETECTIONS)
    if anchors is not None and anchors.ndim == 3 and anchors.shape[:2] == (1, ANCHOR_VALUES):
        return choose_people(_of_anchors(anchors[0], params), params)
    if detections is not None and detections.ndim == 3 and detections.shape[::2] == (1, ROW_VALUES):
        return choose_people(_of_detections(detections[0], params), params)
    found = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
    raise NightjarError(
        f"The outputs are {found}. A pose head's is {ANCHORS} (1, {ANCHOR_VALUES}, n) or {DETECTIONS} "
        f"(1, n, {ROW_VALUES}). Convert the model again."
    )


def _of_anchors(anchors: NDArray[Any], params: CandidateParams) -> Candidates:
    """Read (56, n). Only the sure columns are touched: they are a few of thousands."""
    rows = anchors[:, surest(anchors[4], params)].T
    x, y, width, height = rows[:, :4].astype(np.float64).T
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    return Candidates(rows[:, 4], corners, rows[:, 5:].reshape(-1, KEYPOINTS, 3))


def _of_detections(rows: NDArray[Any], params: CandidateParams) -> Candidates:
    """Read (n, 57)."""
    sure = rows[surest(rows[:, 4], params)]
    return Candidates(sure[:, 4], sure[:, :4], sure[:, 6:].reshape(-1, KEYPOINTS, 3))
