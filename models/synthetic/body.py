"""The bodies of synthetic people: joints in space from joint angles, and a small library of poses. No drawing.

Body frame, metres, of an adult of about 1.7 m: x to the person's left, y up, z forwards; the root is the pelvis.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Joints that turn. The root's own turn (heading, tilt) is given separately.
JOINTS = (
    *("root", "spine", "neck", "left_shoulder", "left_elbow", "right_shoulder", "right_elbow"),
    *("left_hip", "left_knee", "right_hip", "right_knee", "left_ankle", "right_ankle"),
)
_J = {name: index for index, name in enumerate(JOINTS)}
_PARENTS = (-1, 0, 1, 1, 3, 1, 5, 0, 7, 0, 9, 8, 10)

# Position of each joint in its parent's frame. Segment lengths: Winter, Biomechanics of Human Movement, as shares of
# the height (upper arm 0.186, forearm 0.146, thigh 0.245, shank 0.246, shoulder and hip half widths 0.129, 0.06).
_OFFSETS = np.array(
    [
        *((0, 0, 0), (0, 0.14, 0), (0, 0.36, 0)),
        *((0.175, 0.30, 0), (0, -0.29, 0), (-0.175, 0.30, 0), (0, -0.29, 0)),
        *((0.095, -0.03, 0), (0, -0.42, 0), (-0.095, -0.03, 0), (0, -0.42, 0)),
        *((0, -0.41, 0), (0, -0.41, 0)),
    ]
)

# Angles are anatomical (flexion forwards, abduction outwards, twist outwards); these signs make them turns about
# x, z and y: a limb hangs along -y, so that flexion turns it about -x, and a knee bends the other way.
_LEFT, _RIGHT, _TRUNK, _KNEE = (-1, 1, 1), (-1, -1, -1), (1, 1, 1), (1, 1, 1)
_SIGNS = np.array(
    [
        *(_TRUNK, _TRUNK, _TRUNK, _LEFT, _LEFT, _RIGHT, _RIGHT),
        *(_LEFT, _KNEE, _RIGHT, _KNEE, _LEFT, _RIGHT),
    ]
)

# Points of the body: name, joint of their frame, position in it. The first 17 are COCO's, in COCO's order.
_POINTS: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("nose", "neck", (0, 0.145, 0.115)),
    ("left_eye", "neck", (0.034, 0.18, 0.092)),
    ("right_eye", "neck", (-0.034, 0.18, 0.092)),
    ("left_ear", "neck", (0.078, 0.16, 0.0)),
    ("right_ear", "neck", (-0.078, 0.16, 0.0)),
    ("left_shoulder", "left_shoulder", (0, 0, 0)),
    ("right_shoulder", "right_shoulder", (0, 0, 0)),
    ("left_elbow", "left_elbow", (0, 0, 0)),
    ("right_elbow", "right_elbow", (0, 0, 0)),
    ("left_wrist", "left_elbow", (0, -0.25, 0)),
    ("right_wrist", "right_elbow", (0, -0.25, 0)),
    ("left_hip", "left_hip", (0, 0, 0)),
    ("right_hip", "right_hip", (0, 0, 0)),
    ("left_knee", "left_knee", (0, 0, 0)),
    ("right_knee", "right_knee", (0, 0, 0)),
    ("left_ankle", "left_ankle", (0, 0, 0)),
    ("right_ankle", "right_ankle", (0, 0, 0)),
    ("left_hand", "left_elbow", (0, -0.35, 0)),
    ("right_hand", "right_elbow", (0, -0.35, 0)),
    ("left_heel", "left_ankle", (0, -0.055, -0.04)),
    ("right_heel", "right_ankle", (0, -0.055, -0.04)),
    ("left_toe", "left_ankle", (0, -0.06, 0.15)),
    ("right_toe", "right_ankle", (0, -0.06, 0.15)),
    ("neck", "neck", (0, 0, 0)),
    ("head", "neck", (0, 0.16, 0.01)),
    ("head_top", "neck", (0, 0.275, 0.0)),
    ("chin", "neck", (0, 0.055, 0.075)),
    ("face", "neck", (0, 0.145, 0.045)),
    ("mouth", "neck", (0, 0.105, 0.098)),
    ("chest", "spine", (0, 0.20, 0.035)),
    ("belly", "root", (0, 0.08, 0.03)),
    ("bottom", "root", (0, -0.04, -0.05)),
    ("back", "spine", (0, 0.18, -0.045)),
)
POINT = {name: index for index, (name, _, _) in enumerate(_POINTS)}
_POINT_JOINT = np.array([_J[joint] for _, joint, _ in _POINTS])
_POINT_PLACE = np.array([place for _, _, place in _POINTS], np.float64)

ACTIONS = ("stand", "walk", "wave", "raise", "sit", "fall", "run", "squat", "reach", "wild", "bend")


class Shape(NamedTuple):
    """Differences of one body from the average adult: factors of lengths."""

    legs: float = 1.0
    arms: float = 1.0
    shoulders: float = 1.0
    head: float = 1.0
    girth: float = 1.0


class Pose(NamedTuple):
    """A pose. angles: (13, 3) degrees, flexion, abduction, twist of each of JOINTS

    tilt: degrees of the whole body from upright, forwards and to the left
    """

    angles: Array
    tilt: tuple[float, float] = (0.0, 0.0)


def turn(x: float, y: float, z: float) -> Array:
    """(3, 3) rotation: first about y, then x, then z; radians."""
    turn: Array = _turns(np.array([[x, z, y]]))[0]
    return turn


def _turns(xzy: Array) -> Array:
    """(n, 3, 3) from (n, 3) radians about x, z and y: Rz Rx Ry."""
    (sx, sz, sy), (cx, cz, cy) = np.sin(xzy).T, np.cos(xzy).T
    matrix = np.empty((len(xzy), 3, 3))
    matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 0, 2] = cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy
    matrix[:, 1, 0], matrix[:, 1, 1], matrix[:, 1, 2] = sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy
    matrix[:, 2, 0], matrix[:, 2, 1], matrix[:, 2, 2] = -cx * sy, sx, cx * cy
    return matrix


def joints_in_space(pose: Pose, shape: Shape, heading: float) -> Array:
    """(points, 3) metres, in a frame with the body's root at the origin, y up, turned by the heading (radians).

    heading 0 looks along +z.
    """
    local = _turns(np.deg2rad(pose.angles * _SIGNS))
    local[0] = turn(0, heading, 0) @ turn(np.deg2rad(pose.tilt[0]), 0, np.deg2rad(pose.tilt[1])) @ local[0]
    offsets = _offsets(shape)
    world, origin = np.empty_like(local), np.zeros((len(JOINTS), 3))
    world[0] = local[0]
    for joint in range(1, len(JOINTS)):
        parent = _PARENTS[joint]
        world[joint] = world[parent] @ local[joint]
        origin[joint] = origin[parent] + world[parent] @ offsets[joint]
    places = _POINT_PLACE * _point_scale(shape)[:, None]
    points: Array = origin[_POINT_JOINT] + np.einsum("nij,nj->ni", world[_POINT_JOINT], places)
    return points


def _offsets(shape: Shape) -> Array:
    offsets = _OFFSETS.copy()
    offsets[[_J["left_knee"], _J["right_knee"], _J["left_ankle"], _J["right_ankle"]]] *= shape.legs
    offsets[[_J["left_elbow"], _J["right_elbow"]]] *= shape.arms
    offsets[[_J["left_shoulder"], _J["right_shoulder"]], 0] *= shape.shoulders
    offsets[[_J["left_hip"], _J["right_hip"]], 0] *= shape.girth
    return offsets


def _point_scale(shape: Shape) -> Array:
    scale = np.ones(len(_POINTS))
    scale[np.isin(_POINT_JOINT, _J["neck"])] = shape.head
    scale[np.isin(_POINT_JOINT, (_J["left_elbow"], _J["right_elbow"]))] = shape.arms
    return scale


def pose_of(action: str, phase: float, side: int, style: Array) -> Pose:
    """Return a pose of the library.

    action: one of ACTIONS; phase: in turns (1 = one cycle; for "fall" from 0 = upright to 1 = on the ground)
    side: 0 = the left arm waves, 1 = the right one; style: (16,) values from 0 to 1, this person's variation
    """
    angles = np.zeros((len(JOINTS), 3))
    angles[_J["left_shoulder"]] = angles[_J["right_shoulder"]] = (4, 6 + 10 * style[0], 0)
    angles[_J["left_elbow"], 0] = angles[_J["right_elbow"], 0] = 6 + 20 * style[1]
    angles[_J["left_hip"], 1] = angles[_J["right_hip"], 1] = 2 + 7 * style[2]
    angles[_J["neck"]] = (20 * style[3] - 6, 10 * style[4] - 5, 50 * style[5] - 25)
    tilt = _POSES[action](angles, 2 * np.pi * phase, side, style)
    return Pose(angles, tilt)


def _set(angles: Array, joint: str, flexion: float, abduction: float = 0.0, twist: float = 0.0) -> None:
    angles[_J[joint]] = (flexion, abduction, twist)


def _stand(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    sway = 2 * np.sin(turns)
    angles[_J["spine"]] = (sway, 3 * style[6] - 1.5 + sway, 16 * style[7] - 8)
    if style[8] > 0.75:  # hands on the hips
        for joint in ("left", "right"):
            _set(angles, f"{joint}_shoulder", -15, 45, -25)
            _set(angles, f"{joint}_elbow", 95 + 15 * style[9])
    elif style[8] > 0.5:  # one hand at the chest: a telephone, a bag
        arm = "left" if style[9] < 0.5 else "right"
        _set(angles, f"{arm}_shoulder", 20 + 30 * style[10], 10, -30 + 20 * style[11])
        _set(angles, f"{arm}_elbow", 90 + 50 * style[12])
    return 0.0, 0.0


def _gait(angles: Array, turns: float, style: Array, stride: float, lift: float, elbow: float) -> None:
    swing = np.sin(turns)
    for leg, way, at in (("left", 1, turns), ("right", -1, turns + np.pi)):
        _set(angles, f"{leg}_hip", 4 + stride * way * swing, 1 + 2 * style[2])
        _set(angles, f"{leg}_knee", 6 + lift * max(0.0, np.cos(at)) ** 1.5 + 6 * max(0.0, -np.sin(at)))
        _set(angles, f"{leg}_ankle", 6 * way * swing)
        _set(angles, f"{leg}_shoulder", 2 - 0.85 * stride * way * swing, 5 + 8 * style[0])
        _set(angles, f"{leg}_elbow", elbow + 12 * (1 - way * swing))
    angles[_J["spine"]] = (3, 0, 7 * swing)


def _walk(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    _gait(angles, turns, style, 20 + 12 * style[6], 45 + 20 * style[7], 8 + 25 * style[8])
    return 2.0 + 3 * style[9], 0.0


def _run(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    _gait(angles, turns, style, 38 + 14 * style[6], 75 + 30 * style[7], 70 + 20 * style[8])
    return 8.0 + 8 * style[9], 0.0


def _wave(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    _stand(angles, 0.0, side, np.minimum(style, 0.5))
    arm = ("left", "right")[side]
    beat = np.sin(turns)
    _set(angles, f"{arm}_shoulder", 10 * style[7], 88 + 50 * style[6] + 6 * beat, 90)
    _set(angles, f"{arm}_elbow", 40 + 40 * style[8] + 28 * beat)
    return 0.0, 0.0


def _raise(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    _stand(angles, turns, side, np.minimum(style, 0.5))
    for arm in ("left", "right") if style[6] > 0.5 else (("left", "right")[side],):
        _set(angles, f"{arm}_shoulder", 20 * style[7], 140 + 38 * style[8], 60)
        _set(angles, f"{arm}_elbow", 5 + 45 * style[9])
    return 0.0, 0.0


def _sit(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    angles[_J["spine"]] = (25 * style[6] - 5, 8 * style[7] - 4, 20 * style[8] - 10)
    for leg, jitter in (("left", style[9]), ("right", style[10])):
        _set(angles, f"{leg}_hip", 78 + 20 * jitter, 5 + 14 * style[11])
        _set(angles, f"{leg}_knee", 65 + 40 * style[12] + 10 * jitter)
        _set(angles, f"{leg}_shoulder", 15 + 35 * jitter + 3 * np.sin(turns), 5 + 12 * style[13], -20 * style[14])
        _set(angles, f"{leg}_elbow", 30 + 50 * style[15])
    return -8.0 * style[14], 0.0


def _squat(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    depth = 0.35 + 0.65 * style[6]
    angles[_J["spine"]] = (40 * style[7], 0, 20 * style[8] - 10)
    for leg in ("left", "right"):
        _set(angles, f"{leg}_hip", 105 * depth, 8 + 10 * style[9])
        _set(angles, f"{leg}_knee", 125 * depth)
        _set(angles, f"{leg}_shoulder", 15 + 60 * style[10], 5 + 20 * style[11], -15)
        _set(angles, f"{leg}_elbow", 15 + 70 * style[12])
    return 22.0 * depth, 0.0


def _reach(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    angles[_J["spine"]] = (50 * style[6] ** 2, 0, 40 * style[7] - 20)
    for arm, share in (("left", style[8]), ("right", style[9])):
        _set(angles, f"{arm}_shoulder", 110 * share, 70 * style[10] * share, 40 * style[11] - 20)
        _set(angles, f"{arm}_elbow", 60 * style[12])
    _set(angles, "left_hip", 25 * style[13])
    _set(angles, "right_hip", 25 * style[14] - 20)
    return 25.0 * style[6] ** 2, 0.0


def _bend(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    tilt = 45 + 25 * style[6]
    angles[_J["spine"]] = (15 + 20 * style[7], 0, 20 * style[8] - 10)
    for limb, jitter in (("left", style[9]), ("right", style[10])):
        _set(angles, f"{limb}_hip", tilt - 5 + 10 * jitter, 3 + 6 * style[2])  # the legs stay upright
        _set(angles, f"{limb}_knee", 5 + 25 * jitter)
        _set(angles, f"{limb}_shoulder", 60 + 40 * style[11] + 4 * np.sin(turns), 5)
        _set(angles, f"{limb}_elbow", 10 + 20 * style[12])
    return tilt, 0.0


def _fall(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    progress = min(1.0, turns / (2 * np.pi))
    flail = np.sin(np.pi * min(1.0, 1.2 * progress))
    for limb, jitter in (("left", style[6]), ("right", style[7])):
        _set(angles, f"{limb}_shoulder", 20 + 90 * jitter * flail, 10 + 70 * style[8] * (0.3 + flail), 20)
        _set(angles, f"{limb}_elbow", 10 + 60 * jitter)
        _set(angles, f"{limb}_hip", 8 + 45 * jitter * (0.3 + flail), 4 + 12 * style[9])
        _set(angles, f"{limb}_knee", 10 + 60 * style[10] * (0.3 + flail) * (0.4 + jitter))
    angles[_J["spine"]] = (15 * style[11], 20 * style[12] - 10, 20 * style[13] - 10)
    lean = 88 * progress**1.5
    way = 2 * np.pi * style[14]
    return float(lean * np.cos(way)), float(lean * np.sin(way))


def _wild(angles: Array, turns: float, side: int, style: Array) -> tuple[float, float]:
    angles[_J["spine"]] = (45 * style[6] - 10, 30 * style[7] - 15, 50 * style[8] - 25)
    for limb, a, b in (("left", style[9], style[10]), ("right", style[11], style[12])):
        _set(angles, f"{limb}_shoulder", 170 * a - 35, 130 * b, 120 * (a - b))
        _set(angles, f"{limb}_elbow", 120 * style[13] * b)
        _set(angles, f"{limb}_hip", 90 * style[14] * a - 15, 5 + 40 * style[15] * b)
        _set(angles, f"{limb}_knee", 100 * a * style[14])
    return 40.0 * style[4] - 15, 30.0 * style[5] - 15


_POSES = {
    "stand": _stand,
    "walk": _walk,
    "wave": _wave,
    "raise": _raise,
    "sit": _sit,
    "fall": _fall,
    "run": _run,
    "squat": _squat,
    "reach": _reach,
    "wild": _wild,
    "bend": _bend,
}
