"""Duration of people in view: a light link from frame to frame that separates people from flicker. No identities."""

import itertools

import numpy as np
from numpy.typing import NDArray

from models.types import Poses

SAME_IOU = 0.3  # of two boxes in neighbouring frames: a running person still overlaps, another person does not
MOST_STEPS = 1.5  # between consecutive frames: sampled frames are unevenly spaced


def best_frame(poses: Poses, enough_s: float = 1.0) -> int:
    """Find the frame with the most and surest people who stay in view.

    Each person counts with the score, in proportion to the time in view without a gap, up to
    enough_s: a false person of a single frame hardly counts. Of equal frames the first. poses: at least one row
    """
    worth = poses.scores * np.minimum(lasting_s(poses) / enough_s, 1.0)
    frames, row_frame = np.unique(poses.frame, return_inverse=True)
    return int(frames[np.argmax(np.bincount(row_frame, weights=worth))])


def lasting_s(poses: Poses) -> NDArray[np.float64]:
    """(n,) seconds in view without a gap of each row's person, before and after; a single frame lasts one frame."""
    boxes = _boxes(poses)
    frames, first = np.unique(poses.frame, return_index=True)
    rows_of = np.split(np.arange(len(poses)), first[1:])
    frame_s = _frame_s(poses.t_s[first])
    step = int(np.median(np.diff(frames))) if len(frames) > 1 else 1
    chain = np.arange(len(poses))
    for before, after in itertools.pairwise(rows_of):
        if poses.frame[after[0]] - poses.frame[before[0]] <= MOST_STEPS * step:
            _link(chain, boxes, before, after)
    seconds = np.bincount(chain, weights=np.full(len(poses), frame_s), minlength=len(poses))
    return np.asarray(seconds[chain], np.float64)


def _frame_s(t_s: NDArray[np.float64]) -> float:
    """Seconds between processed frames; a fiftieth for a single frame."""
    return float(np.median(np.diff(t_s))) if len(t_s) > 1 else 0.02


def _link(
    chain: NDArray[np.int64], boxes: NDArray[np.float64], before: NDArray[np.int64], after: NDArray[np.int64]
) -> None:
    """Continue the chains of one frame in the next, best overlap first, each row once."""
    overlap = _iou(boxes[before], boxes[after])
    while overlap.size and (best := float(overlap.max())) >= SAME_IOU:
        row, column = np.unravel_index(int(np.argmax(overlap)), overlap.shape)
        chain[after[column]] = chain[before[row]]
        overlap[row], overlap[:, column] = -best, -best


def _boxes(poses: Poses) -> NDArray[np.float64]:
    """(n, 4) left, top, right, bottom of the found keypoints; without any, an empty box that overlaps none."""
    known = ~np.isnan(poses.keypoints)
    low = np.where(known, poses.keypoints, np.inf).min(axis=1)
    high = np.where(known, poses.keypoints, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1).astype(np.float64)
    return np.where(np.isfinite(boxes).all(axis=1, keepdims=True), boxes, 0.0)


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (a, b) intersection over union of boxes; 0 where a union is empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float64)
