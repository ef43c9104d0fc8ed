"""Measures of smoothed poses: centre, velocity, body length and angles. numpy only.

Velocity is the central difference of the smoothed centre, weighted for uneven times, and one-sided at the ends: the
formula of numpy.gradient, and with it of `movement.kinematics.compute_velocity`. Filtering first and differentiating
then follows D. A. Winter, Biomechanics and Motor Control of Human Movement, 4th edition, chapter 3.
"""

import numpy as np
from numpy.typing import NDArray

from models.motion.windows import Pieces, Rows, rolling_median, window
from models.types import KEYPOINT_NAMES

Array = NDArray[np.float64]

_SAME_S = 1e-5  # no velocity follows from two times that differ by less


def _indices(*names: str) -> list[int]:
    return [KEYPOINT_NAMES.index(name) for name in names]


_SHOULDERS, _HIPS = _indices("left_shoulder", "right_shoulder"), _indices("left_hip", "right_hip")
JOINTS = {
    f"{side}_{joint}_angle_deg": _indices(f"{side}_{start}", f"{side}_{joint}", f"{side}_{end}")
    for start, joint, end in (
        ("shoulder", "elbow", "wrist"),
        ("hip", "shoulder", "elbow"),
        ("shoulder", "hip", "knee"),
        ("hip", "knee", "ankle"),
    )
    for side in ("left", "right")
}
"""By the name of an angle: the joint's keypoint, between those at the ends of the two limbs that meet there."""

# Lengths of parts of the body as shares of its height: Winter, figure 4.1.
_TRUNK_SHARE = 0.288  # from the middle of the hips to that of the shoulders
_PART_SHARES = [
    (_indices(f"{side}_{start}", f"{side}_{end}"), share)
    for start, end, share in (("hip", "knee", 0.245), ("knee", "ankle", 0.246), ("shoulder", "elbow", 0.186))
    for side in ("left", "right")
] + [(_SHOULDERS, 0.259)]


def centre_of(keypoints: Array) -> tuple[Array, Rows]:
    """(2, n) centre, and (n,) a number for the keypoints that it is made of, 0 = none. keypoints: (17, 2, n)

    The middle of the hips is close to the centre of mass. Neither arms nor keypoints that come and go move it, as they
    move the middle of a box.
    """
    hips, shoulders = (~np.isnan(keypoints[pair, 0]) for pair in (_HIPS, _SHOULDERS))
    made_of = np.where(hips.any(axis=0), hips[0] + 2 * hips[1], 4 * shoulders[0] + 8 * shoulders[1])
    centre = np.where(hips.any(axis=0), _middle(keypoints[_HIPS]), _middle(keypoints[_SHOULDERS]))
    return centre, made_of


def _middle(pair: Array) -> Array:
    """(2, n) middle of two points (2, 2, n), or the known one of them."""
    known = np.count_nonzero(~np.isnan(pair), axis=0)
    total = np.where(np.isnan(pair), 0.0, pair).sum(axis=0)
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)


def velocity_of(centre: Array, made_of: Rows, pieces: Pieces) -> Array:
    """(2, n) pixels per second; NaN where no neighbour in the piece has a centre that is made of the same."""
    apart_s = np.diff(pieces.t_s)
    usable = (np.diff(made_of) == 0) & (np.diff(pieces.first) == 0) & (apart_s > _SAME_S)
    slope = np.divide(np.diff(centre), apart_s, out=np.zeros((2, len(apart_s))), where=usable)
    before, after = np.append(False, usable), np.append(usable, False)
    before_s, after_s = np.append(0.0, apart_s), np.append(apart_s, 0.0)
    share = np.divide(after_s, before_s + after_s, out=before.astype(float), where=before & after)
    none = np.zeros((2, 1))
    difference = share * np.append(none, slope, axis=1) + (1 - share) * np.append(slope, none, axis=1)
    return np.where(before | after, difference, np.nan)


def body_length_of(keypoints: Array, pieces: Pieces, window_s: float) -> Array:
    """(n,) pixels: the height that the person would have when upright, the median of a window.

    Each of the parts of a body has a share of its height. The one that is least foreshortened gives the length at a
    time, so that it neither changes with the posture nor needs the whole body.
    """
    trunk = _middle_of_both(keypoints[_SHOULDERS]) - _middle_of_both(keypoints[_HIPS])
    lengths = [np.hypot(*trunk) / _TRUNK_SHARE]
    lengths += [np.hypot(*(keypoints[start] - keypoints[end])) / share for (start, end), share in _PART_SHARES]
    longest = np.fmax.reduce(lengths)
    return rolling_median(longest, window(pieces, window_s / 2))


def _middle_of_both(pair: Array) -> Array:
    return np.asarray(pair.mean(axis=0))


def box_height_of(keypoints: Array) -> Array:
    """(n,) pixels; NaN with fewer than two known keypoints."""
    y = keypoints[:, 1]
    height = np.fmax.reduce(y) - np.fmin.reduce(y)
    return np.where(np.count_nonzero(~np.isnan(y), axis=0) > 1, height, np.nan)


def trunk_angle_of(keypoints: Array) -> Array:
    """(n,) degrees from upright; NaN where a shoulder or a hip is not known, since one alone lies beside the trunk."""
    x, y = _middle_of_both(keypoints[_SHOULDERS]) - _middle_of_both(keypoints[_HIPS])
    return _degrees(np.abs(x), -y)


def joint_angle_of(keypoints: Array, name: str) -> Array:
    """(n,) degrees between the two limbs. name: of JOINTS"""
    start, joint, end = (keypoints[index] for index in JOINTS[name])
    first, second = start - joint, end - joint
    return _degrees(np.abs(first[0] * second[1] - first[1] * second[0]), (first * second).sum(axis=0))


def _degrees(sine: Array, cosine: Array) -> Array:
    """Return angles of 0 to 180 from multiples of sine and cosine; NaN where both are 0: a limb without a length."""
    return np.where((sine == 0) & (cosine == 0), np.nan, np.degrees(np.arctan2(sine, cosine)))
