"""Differences between two implementations' outputs of a one-stage pose head, by meaning. numpy only.

Rows that a graph has selected stand in the order of their scores: two nearly equal ones change places between two
correct implementations. They are compared with the nearest row, and only where they are sure; what comes before the
selection, the network's last convolutions, is compared value by value.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoders.rtmo import DETS, RTMO_KEYPOINTS
from models.decoders.yolo_pose import ANCHORS, DETECTIONS
from models.types import KEYPOINTS

CONVOLUTION = "convolution_"
"""Beginning of the names that a model's last convolutions have in the IR."""
SURE = 0.5
"""Score of a row that any correct implementation selects: published thresholds are far below."""

Values = NDArray[np.float32]


class _Rows(NamedTuple):
    """positions: (n, 38) pixels: the box's four values, then x and y of each keypoint; scores: (n, 18)"""

    positions: Values
    scores: Values


def is_boxed(outputs: Mapping[str, Values]) -> bool:
    """Return whether these are the outputs of a one-stage pose head."""
    return ANCHORS in outputs or DETECTIONS in outputs or outputs.keys() >= {DETS, RTMO_KEYPOINTS}


def boxed_differences(expected: Mapping[str, Values], found: Mapping[str, Values]) -> dict[str, Values]:
    """Compare outputs of a pose head. Returns `positions`, `scores`, and `convolutions` in parts of their magnitude.

    Without a sure row in `expected` and `found`, there are no differences of rows.
    """
    mine, theirs = _rows(expected), _rows(found)
    pairs = (mine, theirs) if ANCHORS in expected else _nearest(mine, theirs)
    names = sorted(name for name in expected if name.startswith(CONVOLUTION))
    inner = [(expected[name] - found[name]).ravel() / _magnitude(expected[name]) for name in names]
    return {
        "positions": pairs[0].positions - pairs[1].positions,
        "scores": pairs[0].scores - pairs[1].scores,
        "convolutions": np.concatenate([np.empty(0, np.float32), *inner]),
    }


def _magnitude(values: Values) -> float:
    """Return the mean magnitude; 1 where all values are 0."""
    return float(np.abs(values).mean(dtype=np.float64)) or 1.0


def _rows(outputs: Mapping[str, Values]) -> _Rows:
    if ANCHORS in outputs:
        rows = outputs[ANCHORS][0].T
        return _of(rows[:, :4], rows[:, 4], rows[:, 5:])
    if DETECTIONS in outputs:
        rows = outputs[DETECTIONS][0]
        return _of(rows[:, :4], rows[:, 4], rows[:, 6:])
    rows = outputs[DETS][0]
    return _of(rows[:, :4], rows[:, 4], outputs[RTMO_KEYPOINTS][0])


def _of(boxes: Values, scores: Values, keypoints: Values) -> _Rows:
    points = keypoints.reshape(len(boxes), KEYPOINTS, 3)
    places = points[:, :, :2].reshape(len(boxes), 2 * KEYPOINTS)
    return _Rows(np.hstack([boxes, places]), np.hstack([scores[:, None], points[:, :, 2]]))


def _nearest(mine: _Rows, theirs: _Rows) -> tuple[_Rows, _Rows]:
    """Pair each sure row of either side with the nearest row of the other side.

    A row that the other side does not have at all is paired with zeros, which no bound allows.
    """
    forth, back = _paired(mine, theirs), _paired(theirs, mine)
    return tuple(  # type: ignore[return-value]
        _Rows(np.vstack([one.positions, other.positions]), np.vstack([one.scores, other.scores]))
        for one, other in zip(forth, back, strict=True)
    )


def _paired(rows: _Rows, others: _Rows) -> tuple[_Rows, _Rows]:
    sure = rows.scores[:, 0] >= SURE
    wanted = _Rows(rows.positions[sure], rows.scores[sure])
    if not len(others.scores):
        return wanted, _Rows(np.zeros_like(wanted.positions), np.zeros_like(wanted.scores))
    apart = np.abs(wanted.positions[:, None] - others.positions[None]).mean(axis=2)
    nearest = apart.argmin(axis=1)
    return wanted, _Rows(others.positions[nearest], others.scores[nearest])
