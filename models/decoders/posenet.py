"""PoseNet outputs -> the people of one frame. numpy only: no inference, no picture, no original frame.

The multi-person decoder is the published greedy one (tfjs-models, posenet 2.2.2, src/multi_pose/): local maxima of all
heatmaps in descending order; one that is near the same keypoint of an earlier pose is skipped, another becomes the root
of a new pose, whose keypoints are found by walking the part tree along the displacements, each step corrected twice by
the offsets. tests/models/reference_posenet.py is the same in plain loops.

Where it is silent: roots of equal score come in scan order (y, then x, then keypoint), people of equal score in the
order of their roots.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoders.skeleton import PART_CHAIN
from models.types import KEYPOINTS, FramePoses

EDGES = len(PART_CHAIN)
CHANNELS = {
    "heatmap": KEYPOINTS,
    "offset_2": 2 * KEYPOINTS,
    "displacement_fwd_2": 2 * EDGES,
    "displacement_bwd_2": 2 * EDGES,
}


@dataclass(frozen=True)
class DecodeParams:
    """Parameters for reading PoseNet's outputs.

    `dataclasses.asdict` and `DecodeParams(**values)` convert to a plain dict and back.

    mode: "multi" = the greedy decoder; "single" = each heatmap's maximum, all taken for one person
    output_stride_px: pixels of the input tensor from one heatmap cell to the next
    origin_px: pixel of the input tensor at the centre of the first cell, down and across, or (down, across) where the
        two differ: see `cell_origin_px`
    root_score_threshold: lowest score of a keypoint that starts a pose (multi). 0.5: `scoreThreshold` of tfjs-models
        posenet
    nms_radius_px: no two poses have the same keypoint within this radius (multi). 20: `nmsRadius`, ditto
    keypoint_score_threshold: lowest score of a keypoint. 0.3: `minKeypointScore` of tfjs-models body-pix, whose decoder
        is the same; posenet's demos draw from 0.1, where most keypoints are guesses
    pose_score_threshold: lowest score of a person. 0.2: `minPoseConfidence` of posenet's demos/coco.js
    max_people: largest number of poses, the surest roots first (multi). 15: `maxDetections`, ditto

    Raises ValueError where a value makes no sense.
    """

    mode: Literal["multi", "single"] = "multi"
    output_stride_px: int = 16
    origin_px: int | tuple[int, int] = 0
    root_score_threshold: float = 0.5
    nms_radius_px: float = 20.0
    keypoint_score_threshold: float = 0.3
    pose_score_threshold: float = 0.2
    max_people: int = 15

    def __post_init__(self) -> None:
        if isinstance(self.origin_px, list):  # JSON knows lists only
            object.__setattr__(self, "origin_px", tuple(self.origin_px))
        if self.mode not in ("multi", "single"):
            raise ValueError(f"The decode mode is {self.mode!r}. Give 'multi' or 'single'.")
        for name in ("root_score_threshold", "keypoint_score_threshold", "pose_score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}. Give a score from 0 to 1.")
        for name in ("output_stride_px", "nms_radius_px", "max_people"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}. Give more than 0.")


def cell_origin_px(size_px: int) -> int:
    """Centre of the first cell for an input of this height or width: 0 for 16 n + 1, 15 for 16 n.

    Each of MobileNet's four layers of stride 2 pads with TensorFlow's "SAME": on both sides where its input is odd, on
    the far side only where it is even, which shifts all later layers by one of that layer's pixels.
    """
    origin_px, layer_px = 0, 1
    while layer_px < 16:
        origin_px += layer_px if size_px % 2 == 0 else 0
        size_px, layer_px = -(-size_px // 2), 2 * layer_px
    return origin_px


def cell_origins_px(height_px: int, width_px: int) -> int | tuple[int, int]:
    """Return `DecodeParams.origin_px` for an input of this size."""
    down, across = cell_origin_px(height_px), cell_origin_px(width_px)
    return down if down == across else (down, across)


class _Maps(NamedTuple):
    """One frame's outputs, flat over the h * w cells, all finite except logits of -inf."""

    height: int
    width: int
    logits: NDArray[np.float32]  # (h, w, 17)
    offsets: NDArray[np.float32]  # (cells, 2, 17): y then x, pixels
    forward: NDArray[np.float32]  # (cells * 32,): per cell 16 y, 16 x, pixels, parent to child
    backward: NDArray[np.float32]  # ditto, child to parent


class _Spots(NamedTuple):
    """Position of each keypoint as predicted by each cell: the cell's position plus its offset.

    Flat: cell * 17 + keypoint.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    cell: NDArray[np.int32]  # the cell nearest to (y, x)


class _People(NamedTuple):
    """(people, 17) each, flat indices cell * 17 + keypoint: of spots for positions, of logits for scores."""

    spot: NDArray[np.intp]
    score_at: NDArray[np.intp]


def decode_poses(outputs: Mapping[str, NDArray[Any]], params: DecodeParams, *, finite: bool = False) -> FramePoses:
    """Decode the people that PoseNet finds in one frame, the surest first.

    outputs: heatmap (h, w, 17) logits; offset_2 (h, w, 34), displacement_fwd_2 and displacement_bwd_2 (h, w, 32),
        pixels, y values before x values; floats, with or without a leading batch dimension of 1
    finite: the caller has checked that all values are finite
    Returns keypoints in pixels of the model's input tensor, x then y.
    Values that are not finite are ignored: such a logit or offset makes a score of 0, such a displacement counts as 0.
    Raises ValueError where an output is missing or has another shape.
    """
    maps = _maps(outputs, finite)
    if params.mode == "multi" and maps.logits.max() < np.float32(_logit(params.root_score_threshold)):
        return FramePoses(np.empty(0, np.float32), np.empty((0, 17, 2), np.float32), np.empty((0, 17), np.float32))
    spots = _spots(maps, params.output_stride_px)
    people = _maxima(maps) if params.mode == "single" else _greedy(maps, spots, params)
    return _poses(maps, spots, people, params)


def _output(outputs: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """(h, w, channels), contiguous."""
    if name not in outputs:
        raise ValueError(f"The model's outputs are {sorted(outputs)}, not {sorted(CHANNELS)}. Give a PoseNet.")
    array = np.ascontiguousarray(outputs[name], np.float32)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.shape[2] != CHANNELS[name] or not array.size:
        raise ValueError(f"{name} is {np.shape(outputs[name])}, not (h, w, {CHANNELS[name]}). Give a PoseNet.")
    return array


def _maps(outputs: Mapping[str, NDArray[Any]], finite: bool) -> _Maps:
    logits = _output(outputs, "heatmap")
    height, width, _ = logits.shape
    fields = [_output(outputs, name) for name in ("offset_2", "displacement_fwd_2", "displacement_bwd_2")]
    if any(field.shape[:2] != (height, width) for field in fields):
        raise ValueError(
            f"The outputs are {[field.shape for field in fields]} and the heatmap {logits.shape}. Give maps of one "
            "size."
        )
    # A sum of squares reveals every NaN and infinity; where it overflows, the values are examined one by one.
    if not (finite or all(math.isfinite(np.vdot(array, array)) for array in (logits, *fields))):
        logits, fields = _only_finite(logits, fields)
    offsets, forward, backward = fields
    return _Maps(height, width, logits, offsets.reshape(-1, 2, KEYPOINTS), forward.ravel(), backward.ravel())


def _only_finite(
    logits: NDArray[np.float32], fields: list[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    offsets = fields[0].reshape(*logits.shape[:2], 2, KEYPOINTS)
    there = np.isfinite(logits) & np.isfinite(offsets).all(axis=2)
    return np.where(there, logits, -np.inf), [np.where(np.isfinite(field), field, 0) for field in fields]


@lru_cache(maxsize=8)
def _grid(height: int, width: int, stride_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for y and x of each spot, (2, cells * 17): its cell's position in pixels, and the last row or column."""
    cells = np.stack(np.divmod(np.arange(height * width), width)).repeat(KEYPOINTS, axis=1)
    last = np.array([[height - 1.0], [width - 1.0]]).repeat(cells.shape[1], axis=1)
    return np.float64(stride_px) * cells, last


def _spots(maps: _Maps, stride_px: int) -> _Spots:
    """Compute the spots in float64, as JavaScript does: the nearest cell must not depend on float32's rounding.

    All y and all x are one plain array: numpy takes longer for slices of 17, and to broadcast.
    """
    grid, last = _grid(maps.height, maps.width, stride_px)
    place = maps.offsets.transpose(1, 0, 2).astype(np.float64, order="C").reshape(2, -1)
    place += grid
    nearest = place / stride_px
    nearest += 0.5  # Math.round: halves go up, once clamped and cut to whole numbers
    np.maximum(nearest, 0, out=nearest)
    np.minimum(nearest, last, out=nearest)
    (y, x), (row, column) = place, nearest.astype(np.int32)
    return _Spots(y, x, row * maps.width + column)


def _greedy(maps: _Maps, spots: _Spots, params: DecodeParams) -> _People:
    """Decode poses from the surviving roots only: a scene has about 17 candidates per person."""
    roots = _roots(maps.logits, _logit(params.root_score_threshold))
    keypoint, y, x = roots % KEYPOINTS, spots.y.take(roots), spots.x.take(roots)
    radius2 = params.nms_radius_px**2
    free = np.ones(len(roots), bool)
    walk = _walker(maps, spots, params.output_stride_px)
    people: list[NDArray[np.intp]] = []
    chosen: list[int] = []
    while len(people) < params.max_people and free[first := int(free.argmax())]:
        person = np.array(walk(int(roots[first])))
        rival = person.take(keypoint)
        dy, dx = spots.y.take(rival) - y, spots.x.take(rival) - x
        free &= dy * dy + dx * dx > radius2
        people.append(person)
        chosen.append(first)
    spot = np.array(people)
    score_at = spots.cell.take(spot) * KEYPOINTS + _KEYPOINT
    chosen_roots = roots.take(chosen)
    score_at[np.arange(len(people)), chosen_roots % KEYPOINTS] = chosen_roots
    return _People(spot, score_at)


def _roots(logits: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Find local maxima (no greater one among 8 neighbours), the surest first, as flat indices cell * 17 + keypoint."""
    height, width, _ = logits.shape
    padded = np.full((height + 2, width + 2, KEYPOINTS), -np.inf, np.float32)
    padded[1:-1, 1:-1] = logits
    rows = np.maximum(padded[:-2], padded[1:-1])
    np.maximum(rows, padded[2:], out=rows)
    around = np.maximum(rows[:, :-2], rows[:, 1:-1])
    np.maximum(around, rows[:, 2:], out=around)
    roots = np.flatnonzero((logits >= around) & (logits >= threshold))
    return roots[np.argsort(-logits.take(roots), kind="stable")]


def _walker(maps: _Maps, spots: _Spots, stride_px: int) -> Callable[[int], list[int]]:
    """Return a function from a root to the 17 spots of its pose.

    In plain Python over memory views on purpose: 16 dependent steps of a few additions take as long as about ten numpy
    calls.
    """
    y, x, cell = spots.y.data, spots.x.data, spots.cell.data
    fields = (maps.forward.data, maps.backward.data)
    width, bottom, right = maps.width, maps.height - 1.0, maps.width - 1.0

    def walk(root: int) -> list[int]:
        pose = [root] * KEYPOINTS
        for source, target, way, edge in _WALKS[root % KEYPOINTS]:
            spot = pose[source]
            field, at = fields[way], cell[spot] * 2 * EDGES + edge
            down = (y[spot] + field[at]) / stride_px + 0.5
            across = (x[spot] + field[at + EDGES]) / stride_px + 0.5
            row = 0 if down < 0.0 else int(bottom if down > bottom else down)
            column = 0 if across < 0.0 else int(right if across > right else across)
            displaced = (row * width + column) * KEYPOINTS + target
            pose[target] = cell[displaced] * KEYPOINTS + target
        return pose

    return walk


def _walk_steps(root: int) -> tuple[tuple[int, int, int, int], ...]:
    """(source, target, 0 = forward or 1 = backward, edge) in an order in which each source is known."""
    known, steps = {root}, []
    for edge, (parent, child) in reversed(list(enumerate(PART_CHAIN))):
        if child in known and parent not in known:
            known.add(parent)
            steps.append((child, parent, 1, edge))
    for edge, (parent, child) in enumerate(PART_CHAIN):
        if parent in known and child not in known:
            known.add(child)
            steps.append((parent, child, 0, edge))
    return tuple(steps)


_WALKS = tuple(_walk_steps(root) for root in range(KEYPOINTS))
_KEYPOINT = np.arange(KEYPOINTS)


def _maxima(maps: _Maps) -> _People:
    best = maps.logits.reshape(-1, KEYPOINTS).argmax(axis=0)[None] * KEYPOINTS + _KEYPOINT
    return _People(best, best)


def _poses(maps: _Maps, spots: _Spots, people: _People, params: DecodeParams) -> FramePoses:
    y, x = spots.y.take(people.spot), spots.x.take(people.spot)
    logits = maps.logits.take(people.score_at).astype(np.float64)
    keypoint_scores = 1 / (1 + np.exp(np.minimum(-logits, 700)))  # 709 overflows, 104 gives a score of 0
    sums = (keypoint_scores * _unclaimed(y, x, params.nms_radius_px)).sum(axis=1)
    scores = (sums / KEYPOINTS).astype(
        np.float32
    )  # rounded before the comparison: equal sums may differ in the last bit
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= params.pose_score_threshold]
    xy = np.empty((*y.shape, 2), np.float32)
    xy[..., 0], xy[..., 1] = x, y  # the only place where y and x are exchanged
    lost = logits < _logit(params.keypoint_score_threshold)
    for values in (xy, keypoint_scores):
        values[lost] = np.nan
    return FramePoses(
        scores.take(order),
        xy.take(order, axis=0) + _origin_xy(params.origin_px),
        keypoint_scores.take(order, axis=0).astype(np.float32),
    )


@lru_cache(maxsize=8)
def _origin_xy(origin_px: int | tuple[int, int]) -> NDArray[np.float32]:
    """(2,) x then y, pixels."""
    down, across = origin_px if isinstance(origin_px, tuple) else (origin_px, origin_px)
    return np.array([across, down], np.float32)


def _unclaimed(y: NDArray[np.float64], x: NDArray[np.float64], radius_px: float) -> NDArray[np.bool_]:
    """(people, 17): whether no earlier pose has the same keypoint within the radius."""
    if len(y) == 1:
        return np.ones_like(y, bool)
    dy, dx = y[:, None] - y, x[:, None] - x
    unclaimed: NDArray[np.bool_] = (_not_earlier(len(y)) | (dy * dy + dx * dx > radius_px**2)).all(axis=1)
    return unclaimed


@lru_cache(maxsize=32)
def _not_earlier(people: int) -> NDArray[np.bool_]:
    """(people, people, 1): whether the second is not before the first."""
    return ~np.tri(people, k=-1, dtype=bool)[:, :, None]


def _logit(score: float) -> float:
    """Return the logit of a score; the lowest finite float32 for 0, so that -inf (not there) passes no threshold."""
    if score <= 0:
        return float(np.finfo(np.float32).min)
    return math.log(score / (1 - score)) if score < 1 else float(np.finfo(np.float32).max)


# Low thresholds: AP also counts unsure people, by their scores, and needs a position for every keypoint.
EVALUATION_DECODE = DecodeParams(root_score_threshold=0.25, keypoint_score_threshold=0.0, pose_score_threshold=0.05)
