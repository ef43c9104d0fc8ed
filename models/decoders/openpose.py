"""OpenPose outputs -> the people of one frame. numpy only: no inference, no picture, no original frame.

For the Open Model Zoo's human-pose-estimation-0001: peaks of the keypoints' heatmaps are joined to people along part
affinity fields, maps of the direction from one keypoint of a limb to the other. For each limb, every pair of peaks is
scored by the field between them, the best pairs are kept, and pairs that share a peak belong to one person.
tests/models/reference_openpose.py is the same in plain loops.

Where the published decoders (open_model_zoo, demos/human_pose_estimation_demo) are silent or differ: peaks of equal
score are in scan order (y, then x), equal limbs in the order of their peaks, people of equal score in the order of
their first limbs. A person's keypoint is never replaced by a later limb's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES, KEYPOINTS, FramePoses

FIELDS, HEATMAPS = "Mconv7_stage2_L1", "Mconv7_stage2_L2"
PARTS = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
"""The first 18 heatmaps; the 19th is the background."""

LIMBS: tuple[tuple[int, int, int], ...] = tuple(
    (PARTS.index(a), PARTS.index(b), channel)
    for a, b, channel in (
        ("neck", "right_shoulder", 12),
        ("neck", "left_shoulder", 20),
        ("right_shoulder", "right_elbow", 14),
        ("right_elbow", "right_wrist", 16),
        ("left_shoulder", "left_elbow", 22),
        ("left_elbow", "left_wrist", 24),
        ("neck", "right_hip", 0),
        ("right_hip", "right_knee", 2),
        ("right_knee", "right_ankle", 4),
        ("neck", "left_hip", 6),
        ("left_hip", "left_knee", 8),
        ("left_knee", "left_ankle", 10),
        ("neck", "nose", 28),
        ("nose", "right_eye", 30),
        ("right_eye", "right_ear", 34),
        ("nose", "left_eye", 32),
        ("left_eye", "left_ear", 36),
        ("right_shoulder", "right_ear", 18),
        ("left_shoulder", "left_ear", 26),
    )
)
"""(from, to, channel of the field's x; its y is the next one), in the order in which people are assembled.

Source: open_model_zoo, model_api/models/open_pose.py, `BODY_PARTS_KPT_IDS` and `BODY_PARTS_PAF_IDS`. The last two close
loops: they join the halves of people whose neck is hidden.
"""
CHANNELS = {FIELDS: 2 * len(LIMBS), HEATMAPS: len(PARTS) + 1}


@dataclass(frozen=True)
class OpenPoseParams:
    """Parameters for reading OpenPose's outputs.

    `dataclasses.asdict` and `OpenPoseParams(**values)` convert to a plain dict and back.

    cell_px: pixels of the input tensor from one cell of the maps to the next
    origin_px: pixel of the input tensor at the centre of the first cell, down and across: the model was trained with
        its keypoints at the centres of cells
    keypoint_score_threshold: lowest score of a peak. 0.1: `score_threshold` of the published decoder
    field_threshold: lowest component of the field along the limb for a point to count as inside the field. 0.05:
        `min_paf_alignment_score`
    limb_points: points examined from one end of a limb to the other. 10: `points_per_limb`, ditto
    limb_share: more than this share of a limb's points must be inside the field. 0.8, ditto
    pose_score_threshold: lowest score of a person, the sum of its 17 keypoints' scores divided by 17
    max_peaks: of one keypoint, the surest first; the time for an unusual picture grows with its square

    Raises ValueError where a value makes no sense.
    """

    cell_px: int = 8
    origin_px: float = 3.5
    keypoint_score_threshold: float = 0.1
    field_threshold: float = 0.05
    limb_points: int = 10
    limb_share: float = 0.8
    pose_score_threshold: float = 0.1
    max_peaks: int = 30

    def __post_init__(self) -> None:
        for name in ("keypoint_score_threshold", "limb_share", "pose_score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}. Give 0 to 1.")
        for name, least in (("cell_px", 1), ("limb_points", 2), ("max_peaks", 1), ("field_threshold", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} is {getattr(self, name)}. Give at least {least}.")


class _Peaks(NamedTuple):
    """By part, then the surest first. part: (n,) index of PARTS; x, y: (n,) cells; score: (n,)"""

    part: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    score: NDArray[np.float64]


class _Pairs(NamedTuple):
    """Pairs of peaks that may be limbs. limb: (n,) index of LIMBS; a, b: (n,) indices of the peaks"""

    limb: NDArray[np.intp]
    a: NDArray[np.intp]
    b: NDArray[np.intp]


_FROM, _TO, _CHANNEL = np.array(LIMBS).T
_COCO = np.array([PARTS.index(name) for name in KEYPOINT_NAMES])
_FLOOR = 1e-3  # of heatmap values before their logarithm


def decode_openpose(outputs: Mapping[str, NDArray[Any]], params: OpenPoseParams) -> FramePoses:
    """Decode the people that OpenPose finds in one frame, the surest first.

    outputs: Mconv7_stage2_L1 (38, h, w), x and y of the fields; Mconv7_stage2_L2 (19, h, w), the heatmaps, 0 to 1;
        floats, with or without a leading batch dimension of 1
    Returns keypoints in pixels of the model's input tensor, x then y, in COCO's order; the neck is left out.
    Values that are not finite count as 0. Raises ValueError where an output is missing or has another shape.
    """
    heatmaps, fields = _output(outputs, HEATMAPS), _output(outputs, FIELDS)
    if heatmaps.shape[1:] != fields.shape[1:]:
        raise ValueError(f"The fields are {fields.shape} and the heatmaps {heatmaps.shape}. Give maps of one size.")
    peaks = _peaks(heatmaps[: len(PARTS)], params)
    limbs = _best_first(peaks, fields, params)
    return _poses(peaks, _people(peaks.part.tolist(), limbs), params)


def _output(outputs: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """(channels, h, w), contiguous, finite."""
    if name not in outputs:
        raise ValueError(f"The model's outputs are {sorted(outputs)}, not {sorted(CHANNELS)}. Give an OpenPose.")
    array = np.ascontiguousarray(outputs[name], np.float32)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.shape[0] != CHANNELS[name] or not array.size:
        raise ValueError(f"{name} is {np.shape(outputs[name])}, not ({CHANNELS[name]}, h, w). Give an OpenPose.")
    return array if np.isfinite(array).all() else np.where(np.isfinite(array), array, np.float32(0))


def _peaks(heatmaps: NDArray[np.float32], params: OpenPoseParams) -> _Peaks:
    """Find the cells above the threshold that none of their 8 neighbours exceeds; of equal neighbours the first."""
    parts, height, width = heatmaps.shape
    padded = np.full((parts, height + 2, width + 2), -np.inf, np.float32)
    padded[:, 1:-1, 1:-1] = heatmaps
    cells, row = padded.ravel(), width + 2
    at = np.flatnonzero(cells >= max(params.keypoint_score_threshold, _FLOOR))
    around = np.array([down * row + across for down in (-1, 0, 1) for across in (-1, 0, 1)])
    near = cells.take(at[:, None] + around)
    centre = near[:, 4:5]
    peak = (near[:, :4] < centre).all(axis=1) & (near[:, 5:] <= centre).all(axis=1)
    at, near = at[peak], near[peak]
    order = _surest(at // (padded.shape[1] * row), near[:, 4], params.max_peaks)
    at, near = at[order], near[order]
    part, place = np.divmod(at, padded.shape[1] * row)
    y, x = np.divmod(place, row)
    logs = np.log(np.maximum(near, _FLOOR, dtype=np.float64))
    x = x - 1 + _top(logs[:, 3:6], near[:, 3:6])
    y = y - 1 + _top(logs[:, 1::3], near[:, 1::3])
    return _Peaks(part, x, y, near[:, 4].astype(np.float64))


def _surest(part: NDArray[np.intp], score: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Return indices by part, then by falling score, at most `most` of each part."""
    order = np.lexsort((-score, part))
    ranks = np.arange(len(part)) - np.searchsorted(part, part)
    surest: NDArray[np.intp] = order[ranks < most]
    return surest


def _top(logs: NDArray[np.float64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) From the middle of three cells to the top of the bell curve through them, -0.5 to 0.5; 0 at the border.

    The model was trained on Gaussian bells, whose logarithm is a parabola: three cells give its top.
    """
    before, at, after = logs.T
    bend = 2 * at - before - after
    inside = np.isfinite(values).all(axis=1) & (bend > 0)
    return np.where(inside, 0.5 * (after - before) / np.where(inside, bend, 1), 0)


def _best_first(peaks: _Peaks, fields: NDArray[np.float32], params: OpenPoseParams) -> _Pairs:
    """Find the pairs that the fields join, by limb, then by falling strength of the field between them."""
    pairs = _all_pairs(peaks)
    along = _along(peaks, pairs, fields, params.limb_points)
    inside = along > params.field_threshold
    points = inside.sum(axis=1)
    # rounded to float32 before the comparison: equal sums may differ in the last bit
    strength = ((along * inside).sum(axis=1) / np.maximum(points, 1)).astype(np.float32)
    joined = np.flatnonzero(points > params.limb_share * params.limb_points)
    order = joined[np.lexsort((-strength[joined], pairs.limb[joined]))]
    return _Pairs(pairs.limb[order], pairs.a[order], pairs.b[order])


def _all_pairs(peaks: _Peaks) -> _Pairs:
    """Pair, for each limb, every peak of one end with every peak of the other."""
    count = np.bincount(peaks.part, minlength=len(PARTS))
    first = np.cumsum(count) - count
    of_limb = count[_FROM] * count[_TO]
    limb = np.repeat(np.arange(len(LIMBS)), of_limb)
    number = np.arange(len(limb)) - np.repeat(np.cumsum(of_limb) - of_limb, of_limb)
    a, b = np.divmod(number, count[_TO][limb])
    return _Pairs(limb, first[_FROM][limb] + a, first[_TO][limb] + b)


def _along(peaks: _Peaks, pairs: _Pairs, fields: NDArray[np.float32], points: int) -> NDArray[np.float64]:
    """(pairs, points) Component of the limb's field from a to b, at the cells nearest to points between them."""
    _, height, width = fields.shape
    x, y = peaks.x[pairs.a, None], peaks.y[pairs.a, None]
    dx, dy = peaks.x[pairs.b, None] - x, peaks.y[pairs.b, None] - y
    length = np.sqrt(dx * dx + dy * dy)
    length[length == 0] = np.inf  # two peaks at one position have no direction
    step = np.arange(points) / (points - 1)
    column = np.floor(x + dx * step + 0.5).astype(np.intp)
    row = np.floor(y + dy * step + 0.5).astype(np.intp)
    at = (_CHANNEL[pairs.limb, None] * height + row) * width + column
    cells = fields.ravel()
    along: NDArray[np.float64] = cells.take(at) * (dx / length) + cells.take(at + height * width) * (dy / length)
    return along


def _people(part_of: list[int], limbs: _Pairs) -> list[list[int]]:
    """Assemble the peaks of each person, 18 each, -1 where there is none.

    In plain Python on purpose: each step depends on the previous ones, and there are about twenty per person.
    """
    person_of: dict[int, list[int]] = {}
    taken: set[tuple[int, int]] = set()
    for limb, a, b in zip(limbs.limb.tolist(), limbs.a.tolist(), limbs.b.tolist(), strict=True):
        if (limb, a) in taken or (limb, b) in taken:
            continue
        taken |= {(limb, a), (limb, b)}
        _join(person_of, part_of, a, b)
    return list({id(person): person for person in person_of.values()}.values())


def _join(person_of: dict[int, list[int]], part_of: list[int], a: int, b: int) -> None:
    """Merge the people of the peaks a and b, unless they have a part in common."""
    one, other = (person_of.get(peak) or _alone(peak, part_of) for peak in (a, b))
    if any(p >= 0 and q >= 0 for p, q in zip(one, other, strict=True)):
        return
    one[:] = map(max, one, other)
    person_of.update(dict.fromkeys((peak for peak in one if peak >= 0), one))


def _alone(peak: int, part_of: list[int]) -> list[int]:
    person = [-1] * len(PARTS)
    person[part_of[peak]] = peak
    return person


def _poses(peaks: _Peaks, people: list[list[int]], params: OpenPoseParams) -> FramePoses:
    found = np.array(people, np.intp).reshape(-1, len(PARTS))[:, _COCO]
    x, y, score = (np.append(values, np.nan)[found] for values in (peaks.x, peaks.y, peaks.score))  # -1: the NaN
    keypoint_scores = np.minimum(score, 1)
    scores = (np.nansum(keypoint_scores, axis=1) / KEYPOINTS).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= params.pose_score_threshold]
    xy = np.stack([x, y], axis=-1) * params.cell_px + params.origin_px
    return FramePoses(scores[order], xy[order].astype(np.float32), keypoint_scores[order].astype(np.float32))
