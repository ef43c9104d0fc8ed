"""The 17 COCO keypoints: names, tolerances, what is drawn, how PoseNet links them. Constants only, no decoding."""

import numpy as np

from models.types import KEYPOINT_NAMES

# PoseNet's order is COCO's (keypoints.ts of tfjs-models).
COCO_SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float32) / 1000
"""(17,) Spread between annotators of the same keypoint, for the object keypoint similarity.

Source: cocoapi, PythonAPI/pycocotools/cocoeval.py, `Params.kpt_oks_sigmas`.
"""


def _indices(*pairs: tuple[str, str]) -> tuple[tuple[int, int], ...]:
    return tuple((KEYPOINT_NAMES.index(a), KEYPOINT_NAMES.index(b)) for a, b in pairs)


DRAWN_EDGES: tuple[tuple[int, int], ...] = _indices(
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)
"""The lines of a drawn skeleton: PoseNet's `connectedPartNames` (keypoints.ts) and the face."""

PART_CHAIN: tuple[tuple[int, int], ...] = _indices(
    ("nose", "left_eye"),
    ("left_eye", "left_ear"),
    ("nose", "right_eye"),
    ("right_eye", "right_ear"),
    ("nose", "left_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("left_shoulder", "left_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("nose", "right_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("right_shoulder", "right_hip"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)
"""PoseNet's tree, parent -> child: edge i is channel i of the displacement outputs.

Source: tfjs-models, posenet/src/keypoints.ts, `poseChain`.
"""
