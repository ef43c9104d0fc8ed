"""PoseNet outputs -> the people of each frame. numpy only: no inference, no picture, no original frame.

The multi-person decoder is the published greedy one (tfjs-models, posenet 2.2.2, src/multi_pose/): local maxima of all
heatmaps in descending order; one that is near the same keypoint of an earlier pose is skipped, another becomes the root
of a new pose, whose keypoints are found by walking the part tree along the displacements, each step corrected twice by
the offsets. tests/models/reference_posenet.py is the same in plain loops.

Where it is silent: roots of equal score come in scan order (y, then x, then keypoint), people of equal score in the
order of their roots.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
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
        if self.output_stride_px & (self.output_stride_px - 1):
            raise ValueError(f"output_stride_px is {self.output_stride_px}. Give a power of two, such as 16.")


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
    """Outputs of frames of one size, all finite except logits of -inf."""

    height: int
    width: int
    logits: NDArray[np.float32]  # (frames, h, w, 17)
    offsets: list[NDArray[np.float32]]  # (h, w, 34) per frame: y then x, pixels
    forward: list[NDArray[np.float32]]  # (h, w, 32) per frame: y then x, pixels, parent to child
    backward: list[NDArray[np.float32]]  # ditto, child to parent

    @property
    def size(self) -> int:
        """Number of logits per frame."""
        return self.height * self.width * KEYPOINTS


class _Spots(NamedTuple):
    """Position of each keypoint as predicted by each cell of some frames: the cell's position plus its offset.

    Flat: frame * size + cell * 17 + keypoint, where size is the number of a frame's spots.
    """

    down: NDArray[np.float32]  # offsets, pixels
    across: NDArray[np.float32]
    nearest: NDArray[np.int32]  # the cell of the same frame that is nearest to the spot
    top: NDArray[np.float64]  # positions of a frame's cells, pixels
    left: NDArray[np.float64]

    def places(self, spots: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return y and x of spots in pixels.

        float64, as in JavaScript: neither distances nor the nearest cell may depend on float32's rounding.
        """
        cell = spots // KEYPOINTS % len(self.top)
        return self.top.take(cell) + self.down.take(spots), self.left.take(cell) + self.across.take(spots)


class _Roots(NamedTuple):
    """Local maxima of the heatmaps, those of a frame together, the surest first."""

    frames: list[int]  # those that have roots
    counts: list[int]  # of these frames
    at: NDArray[np.intp]  # index in the frame's logits: cell * 17 + keypoint


class _People(NamedTuple):
    """People, those of a frame together, in the order in which they were found."""

    frame: NDArray[np.intp]
    y: NDArray[np.float64]  # (people, 17), pixels
    x: NDArray[np.float64]
    score_at: NDArray[np.intp]  # (people, 17), index in the frame's logits


class _Pose(NamedTuple):
    """The 17 keypoints of one person: spots of its frame, and their positions in pixels."""

    spot: list[int]
    y: list[float]
    x: list[float]


def decode_poses(outputs: Mapping[str, NDArray[Any]], params: DecodeParams, *, finite: bool = False) -> FramePoses:
    """Decode the people that PoseNet finds in one frame, the surest first: see `decode_frames`."""
    return decode_frames([outputs], params, finite=finite)[0]


def decode_frames(
    outputs: Sequence[Mapping[str, NDArray[Any]]], params: DecodeParams, *, finite: bool = False
) -> list[FramePoses]:
    """Decode the people that PoseNet finds in each of several frames, the surest first.

    A frame's result does not depend on the others, bit for bit; together they cost less than one by one.
    outputs: heatmap (h, w, 17) logits; offset_2 (h, w, 34), displacement_fwd_2 and displacement_bwd_2 (h, w, 32),
        pixels, y values before x values; floats, with or without a leading batch dimension of 1; at least one frame
    finite: the caller has checked that all values are finite
    Returns keypoints in pixels of the model's input tensor, x then y.
    Values that are not finite are ignored: such a logit or offset makes a score of 0, such a displacement counts as 0.
    Raises ValueError where an output is missing or has another shape.
    """
    maps = _maps(outputs, finite)
    if params.mode == "single":
        return _poses(maps, _maxima(maps, params), params)
    roots = _roots(maps, _logit(params.root_score_threshold))
    if not roots.frames:
        return [_nobody() for _ in outputs]
    return _poses(maps, _greedy(maps, roots, params), params)


def _nobody() -> FramePoses:
    return FramePoses(np.empty(0, np.float32), np.empty((0, KEYPOINTS, 2), np.float32), np.empty((0, 17), np.float32))


def _maps(outputs: Sequence[Mapping[str, NDArray[Any]]], finite: bool) -> _Maps:
    heatmaps, *fields = ([_output(frame, name) for frame in outputs] for name in CHANNELS)
    height, width, _ = heatmaps[0].shape
    if any(array.shape[:2] != (height, width) for arrays in (heatmaps, *fields) for array in arrays):
        raise ValueError(
            f"The outputs are {[arrays[0].shape for arrays in fields]} and the heatmap {heatmaps[0].shape}. Give maps "
            "of one size."
        )
    logits = np.stack(heatmaps)
    if not finite:
        _clean(logits, fields)
    return _Maps(height, width, logits, *fields)


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


def _clean(logits: NDArray[np.float32], fields: list[list[NDArray[np.float32]]]) -> None:
    """Replace values that are not finite, in `logits` itself and by new arrays in `fields`."""
    for frame, arrays in enumerate(zip(*fields, strict=True)):
        # A sum of squares reveals every NaN and infinity; where it overflows, the values are examined one by one.
        if not all(math.isfinite(np.vdot(array, array)) for array in (logits[frame], *arrays)):
            offsets = arrays[0].reshape(*logits.shape[1:3], 2, KEYPOINTS)
            there = np.isfinite(logits[frame]) & np.isfinite(offsets).all(axis=2)
            logits[frame][~there] = -np.inf
            for field, array in zip(fields, arrays, strict=True):
                field[frame] = np.where(np.isfinite(array), array, np.float32(0))


def _roots(maps: _Maps, threshold: float) -> _Roots:
    """Find local maxima (no greater one among 8 neighbours) that reach the threshold.

    A neighbour is found at a fixed distance in the flat maps with a margin, so that each step is one call for all of
    them; the results of the margin itself mean nothing, and it reaches no threshold.
    """
    highest = maps.logits.reshape(len(maps.logits), -1).max(axis=1)
    frames = np.flatnonzero(highest >= np.float32(threshold))
    if not len(frames):
        return _Roots([], [], frames)
    padded = np.full((len(frames), maps.height + 2, maps.width + 2, KEYPOINTS), -np.inf, np.float32)
    padded[:, 1:-1, 1:-1] = maps.logits.take(frames, axis=0)
    flat, row = padded.reshape(-1), padded[0, 0].size
    first = row + KEYPOINTS
    around = _highest_of_three(_highest_of_three(flat, KEYPOINTS), row)
    centre = flat[first : first + len(around)]
    found = np.flatnonzero((centre >= around) & (centre >= threshold))
    logits = centre.take(found)
    number, down, across, keypoint = np.unravel_index(found + first, padded.shape)
    order = np.lexsort((-logits, number))  # stable
    at = ((down - 1) * maps.width + across - 1) * KEYPOINTS + keypoint
    return _Roots(frames.tolist(), np.bincount(number, minlength=len(frames)).tolist(), at.take(order))


def _highest_of_three(flat: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return the highest of the values at i, i + step and i + 2 * step, for each i."""
    highest = np.maximum(flat[: -2 * step], flat[step:-step])
    return np.maximum(highest, flat[2 * step :], out=highest)


class _Grid(NamedTuple):
    """Constants for maps of one size. top, left: (cells,) positions of the cells, pixels

    lowest, highest, doubled: (2, 1, cells * 17) for rows and columns: twice the way from each spot's cell to the first
    and to the last one, and twice the cell plus 1. Not broadcast from fewer values, which takes numpy longer.
    """

    top: NDArray[np.float64]
    left: NDArray[np.float64]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    doubled: NDArray[np.float32]


@lru_cache(maxsize=8)
def _grid(height: int, width: int, stride_px: int) -> _Grid:
    cells = np.stack(np.divmod(np.arange(height * width), width))
    cell = cells[:, None].repeat(KEYPOINTS, axis=2).astype(np.float32)
    last = np.array([[[height - 1]], [[width - 1]]], np.float32)
    top, left = cells * float(stride_px)
    return _Grid(top, left, -2 * cell, 2 * (last - cell), 2 * cell + 1)


def _spots(maps: _Maps, frames: list[int], stride_px: int) -> _Spots:
    """Compute the spots of these frames, with Math.round, where halves go up, as floor((floor(2 x) + 1) / 2).

    That is exact in float32, as the stride is a power of two, while x + 0.5 is not.
    """
    grid = _grid(maps.height, maps.width, stride_px)
    offsets = np.empty((2, len(frames), maps.size), np.float32)
    for number, frame in enumerate(frames):
        given = maps.offsets[frame].reshape(-1, 2, KEYPOINTS)
        offsets[:, number].reshape(2, -1, KEYPOINTS)[:] = given.transpose(1, 0, 2)
    cell = offsets * np.float32(2 / stride_px)
    np.maximum(cell, grid.lowest, out=cell)
    np.minimum(cell, grid.highest, out=cell)
    np.floor(cell, out=cell)
    cell += grid.doubled
    cell *= np.float32(0.5)
    row, column = np.floor(cell, out=cell)
    row *= np.float32(maps.width)
    row += column
    down, across = offsets.reshape(2, -1)
    return _Spots(down, across, row.reshape(-1).astype(np.int32), grid.top, grid.left)


def _greedy(maps: _Maps, roots: _Roots, params: DecodeParams) -> _People:
    """Decode poses from the surviving roots only: a scene has about 17 candidates per person."""
    spots = _spots(maps, roots.frames, params.output_stride_px)
    shifts = np.arange(len(roots.frames)) * maps.size
    y, x = spots.places(roots.at + shifts.repeat(roots.counts))
    poses: list[_Pose] = []
    chosen: list[int] = []  # numbers of the roots
    counts: list[int] = []
    start = 0
    for number, (frame, count) in enumerate(zip(roots.frames, roots.counts, strict=True)):
        mine = slice(start, start + count)
        walk = _walker(maps, frame, spots, number, params.output_stride_px)
        found = _survivors(walk, roots.at[mine], y[mine], x[mine], params)
        counts.append(len(found))
        poses += found.values()
        chosen += [start + first for first in found]
        start += count
    spot, ys, xs = (np.array(values) for values in zip(*poses, strict=True))
    score_at = spots.nearest.take(spot + shifts.repeat(counts)[:, None]) * KEYPOINTS + _KEYPOINT
    root = roots.at.take(chosen)
    score_at[np.arange(len(poses)), root % KEYPOINTS] = root
    return _People(np.array(roots.frames).repeat(counts), ys, xs, score_at)


def _survivors(
    walk: Callable[[int], _Pose],
    roots: NDArray[np.intp],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    params: DecodeParams,
) -> dict[int, _Pose]:
    """Return the people of one frame by the numbers of their roots. roots: the surest first, at y and x"""
    found: dict[int, _Pose] = {}
    keypoint, radius2 = roots % KEYPOINTS, params.nms_radius_px**2
    free = np.ones(len(roots), bool)
    while len(found) < params.max_people and free[first := int(free.argmax())]:
        pose = walk(int(roots[first]))
        found[first] = pose
        dy, dx = np.array(pose.y).take(keypoint) - y, np.array(pose.x).take(keypoint) - x
        free &= dy * dy + dx * dx > radius2
    return found


def _walker(maps: _Maps, frame: int, spots: _Spots, number: int, stride_px: int) -> Callable[[int], _Pose]:
    """Return a function from a root of the frame to its pose. number: the frame's among those of the spots

    In plain Python over memory views on purpose: 16 dependent steps of a few additions take as long as about ten numpy
    calls.
    """
    mine = slice(number * maps.size, (number + 1) * maps.size)
    down, across, nearest = (values[mine].data for values in spots[:3])
    fields = (maps.forward[frame].reshape(-1).data, maps.backward[frame].reshape(-1).data)
    top, left = spots.top.data, spots.left.data
    width, bottom, right = maps.width, maps.height - 1.0, maps.width - 1.0

    def walk(root: int) -> _Pose:
        cell, keypoint = divmod(root, KEYPOINTS)
        spot, ys, xs = [root] * KEYPOINTS, [0.0] * KEYPOINTS, [0.0] * KEYPOINTS
        ys[keypoint], xs[keypoint] = top[cell] + down[root], left[cell] + across[root]
        for source, target, way, edge in _WALKS[keypoint]:
            field, at = fields[way], nearest[spot[source]] * 2 * EDGES + edge
            y = (ys[source] + field[at]) / stride_px + 0.5
            x = (xs[source] + field[at + EDGES]) / stride_px + 0.5
            row = 0 if y < 0.0 else int(bottom if y > bottom else y)
            column = 0 if x < 0.0 else int(right if x > right else x)
            cell = nearest[(row * width + column) * KEYPOINTS + target]
            spot[target] = at = cell * KEYPOINTS + target
            ys[target], xs[target] = top[cell] + down[at], left[cell] + across[at]
        return _Pose(spot, ys, xs)

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
_AROUND = np.array([[-1], [0], [1]])


def _maxima(maps: _Maps, params: DecodeParams) -> _People:
    frames = np.arange(len(maps.logits))
    best = maps.logits.reshape(len(frames), -1, KEYPOINTS).argmax(axis=1) * KEYPOINTS + _KEYPOINT
    spots = _spots(maps, frames.tolist(), params.output_stride_px)
    return _People(frames, *spots.places(best + frames[:, None] * maps.size), best)


def _poses(maps: _Maps, people: _People, params: DecodeParams) -> list[FramePoses]:
    frame, y, x, score_at = people
    logits = maps.logits.take(score_at + frame[:, None] * maps.size).astype(np.float64)
    keypoint_scores = 1 / (1 + np.exp(np.minimum(-logits, 700)))  # 709 overflows, 104 gives a score of 0
    sums = (keypoint_scores * _unclaimed(people, params.nms_radius_px)).sum(axis=1)
    scores = (sums / KEYPOINTS).astype(np.float32)  # before comparisons: equal sums may differ in the last bit
    order = np.lexsort((-scores, frame))  # stable
    order = order[scores.take(order) >= params.pose_score_threshold]
    xy = np.empty((*y.shape, 2), np.float32)
    xy[..., 0], xy[..., 1] = x, y  # the only place where y and x are exchanged
    lost = logits < _logit(params.keypoint_score_threshold)
    for values in (xy, keypoint_scores):
        values[lost] = np.nan
    chosen = FramePoses(
        scores.take(order),
        xy.take(order, axis=0) + _origin_xy(params.origin_px),
        keypoint_scores.take(order, axis=0).astype(np.float32),
    )
    bounds = np.searchsorted(frame.take(order), np.arange(len(maps.logits) + 1)).tolist()
    return [FramePoses(*(values[start:stop] for values in chosen)) for start, stop in pairwise(bounds)]


@lru_cache(maxsize=8)
def _origin_xy(origin_px: int | tuple[int, int]) -> NDArray[np.float32]:
    """(2,) x then y, pixels."""
    down, across = origin_px if isinstance(origin_px, tuple) else (origin_px, origin_px)
    return np.array([across, down], np.float32)


def _unclaimed(people: _People, radius_px: float) -> NDArray[np.bool_]:
    """(people, 17): whether no earlier pose of the frame has the same keypoint within the radius."""
    unclaimed = np.ones_like(people.y, bool)
    starts = np.flatnonzero(np.diff(people.frame, prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(people.frame)]):
        if stop - start > 1:
            y, x = people.y[start:stop], people.x[start:stop]
            dy, dx = y[:, None] - y, x[:, None] - x
            far = dy * dy + dx * dx > radius_px**2
            unclaimed[start:stop] = (_not_earlier(stop - start) | far).all(axis=1)
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
