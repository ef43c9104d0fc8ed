"""Accuracy of poses on rendered people: AP by pycocotools, PCK. No network runs here: outputs or poses come in.

Test sets use seeds that no training uses: theirs begin with synthetic.TEST_SET, a training's with a lower number.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoders.posenet import EVALUATION_DECODE, DecodeParams, cell_origin_px, decode_poses
from models.evaluation.coco import coco_figures
from models.synthetic.frame import EVERYDAY, TEST_SET, People, SceneParams, render_frame
from models.synthetic.truth import coco_truth
from models.types import FramePoses

# The test sets: one to three people for AP, one for PCK, from a fifth to nine tenths of the frame.
SEVERAL = SceneParams(people=(1, 3), actions=EVERYDAY)
SINGLE = SceneParams(people=(1, 1), actions=EVERYDAY)

Infer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]


class Accuracy(NamedTuple):
    """Accuracy of a pose model.

    ap, ap50, ap75, ar: COCO's for keypoints, all sizes
    pck_box: share of keypoints within 0.2 of the longer side of the box around the person's keypoints (Yang and Ramanan
        2013)
    pck_torso: within 0.2 of left shoulder to right hip (Sapp and Taskar 2013)
    PCK is of frames with one person, decoded as one; frames: number of both kinds
    """

    ap: float
    ap50: float
    ap75: float
    ar: float
    pck_box: float
    pck_torso: float
    frames: int


class TestSet(NamedTuple):
    """images: (n, size, size, 3) uint8 RGB; people: the truth of each."""

    images: NDArray[np.uint8]
    people: list[People]


def render_test_set(seed: int, frames: int, size: int, scene: SceneParams) -> TestSet:
    pairs = [render_frame([TEST_SET, seed, number], size, scene) for number in range(frames)]
    return TestSet(np.stack([image for image, _ in pairs]), [people for _, people in pairs])


def measure(infer: Infer, several: TestSet, single: TestSet, decode: DecodeParams = EVALUATION_DECODE) -> Accuracy:
    """Measure AP on `several` and PCK on `single`.

    infer: (n, size, size, 3) uint8 -> PoseNet's four outputs by name
    decode: for AP; its origin is that of the images' size
    """
    origin_px = cell_origin_px(several.images.shape[1])
    decode = dataclasses.replace(decode, origin_px=origin_px)
    found = [decode_poses(outputs, decode) for outputs in _each(infer, several.images)]
    ap = coco_ap(several.people, found, several.images.shape[1:3])
    one = DecodeParams(mode="single", origin_px=origin_px, keypoint_score_threshold=0.0, pose_score_threshold=0.0)
    alone = [decode_poses(outputs, one) for outputs in _each(infer, single.images)]
    frames = len(several.images) + len(single.images)
    return Accuracy(*ap, *pck(single.people, alone), frames)


def _each(infer: Infer, images: NDArray[np.uint8], at_once: int = 32) -> list[dict[str, NDArray[Any]]]:
    rows: list[dict[str, NDArray[Any]]] = []
    for start in range(0, len(images), at_once):
        outputs = infer(images[start : start + at_once])
        count = len(next(iter(outputs.values())))
        rows += [{name: values[row] for name, values in outputs.items()} for row in range(count)]
    return rows


def coco_ap(
    truth: Sequence[People], found: Sequence[FramePoses], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """(AP, AP50, AP75, AR) of poses, frame by frame; size: height and width of the frames."""
    return coco_figures(coco_truth(truth, size), dict(enumerate(found)))


def pck(truth: Sequence[People], found: Sequence[FramePoses], share: float = 0.2) -> tuple[float, float]:
    """(by box, by torso) share of the labelled keypoints found within `share` of the person's size.

    Only frames with exactly one person with keypoints count; for the torso, only people with both of its ends in the
    frame.
    """
    by_box, by_torso = [], []
    for people, poses in zip(truth, found, strict=True):
        present = np.flatnonzero((people.visibility > 0).any(axis=1))
        if len(present) != 1:
            continue
        person = int(present[0])
        there = people.visibility[person] > 0
        xy = people.keypoints[person]
        error = np.full(17, np.inf) if not len(poses.scores) else np.hypot(*(poses.keypoints[0] - xy).T)
        by_box.append(error[there] <= share * (xy[there].max(axis=0) - xy[there].min(axis=0)).max())
        if there[5] and there[12]:
            by_torso.append(error[there] <= share * np.hypot(*(xy[5] - xy[12])))
    if not by_box:
        return 0.0, 0.0
    return float(np.concatenate(by_box).mean()), float(np.concatenate(by_torso).mean()) if by_torso else 0.0
