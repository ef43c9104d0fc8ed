"""Frames of synthetic people with known joints, for training. numpy and OpenCV only; no network, no files.

The people are articulated bodies in space (body.py), projected by a camera, drawn limb by limb, the far ones first
(draw.py), in front of a textured background and behind things (scene.py). Videos of moving people: video.py; truth
files: truth.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.body import ACTIONS, POINT, Pose, Shape, joints_in_space, pose_of, turn
from models.synthetic.draw import (
    MAX_PEOPLE,
    PARTS_A_PERSON,
    SUPERSAMPLING,
    Array,
    Image,
    Looks,
    Painter,
    Projected,
    visibility,
)
from models.synthetic.scene import background, finish, random_looks, things
from models.types import KEYPOINTS

# Frequency of each of ACTIONS, like in front of a real camera. Single frames have no bending people: the shipped model
# was trained without them, and a seed must always give the same frame.
_ACTION_SHARES = np.array([0.17, 0.21, 0.10, 0.08, 0.13, 0.09, 0.05, 0.05, 0.07, 0.05, 0.0])
TEST_SET = 2_000_000_011  # seeds of test sets begin with it; those of trainings are lower
_LEAST_VISIBLE = 3  # keypoints; a person with fewer could not be labelled
EVERYDAY = ("stand", "walk", "wave", "raise", "sit", "fall")  # subjects of the demo's queries


@dataclass(frozen=True)
class SceneParams:
    """Content that a frame may have.

    people: fewest and most; height: least and greatest longer side of a person, as a share of the frame's side
    overlap: greatest share of the smaller of two people's boxes that they may have in common
    cut: share of a person that the frame's edge may cut off; hidden: share of frames with things in front of people
    blur: share of frames out of focus or moving; noise: strongest grain, as a share of the range
    actions: of models.synthetic.body.ACTIONS; None = all that have a frequency

    Raises ValueError where a value makes no sense.
    """

    people: tuple[int, int] = (1, 3)
    height: tuple[float, float] = (0.2, 0.9)
    overlap: float = 0.35
    cut: float = 0.12
    hidden: float = 0.3
    blur: float = 0.25
    noise: float = 0.06
    actions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.people[0] <= self.people[1] < MAX_PEOPLE:
            raise ValueError(f"The people are {self.people}. Give fewest and most, from 0 to {MAX_PEOPLE - 1}.")
        if not 0 < self.height[0] <= self.height[1]:
            raise ValueError(f"The heights are {self.height}. Give least and greatest, above 0.")
        if unknown := set(self.actions or ()) - set(ACTIONS):
            raise ValueError(f"The actions {sorted(unknown)} are unknown. Give some of {', '.join(ACTIONS)}.")


class People(NamedTuple):
    """The truth of one frame.

    keypoints: (n, 17, 2) float32, x then y, pixels of the frame, the centre of the first pixel at 0.5
    visibility: (n, 17) uint8, COCO's: 2 = visible, 1 = hidden, 0 = outside of the frame; all 0 where fewer than three
        keypoints are visible
    area: (n,) float32, visible square pixels of the person; bbox: (n, 4) float32, x, y, width, height of these
    number: (n,) int32, from 1, the same person in all frames of a scene; 0 = not known
    """

    keypoints: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    area: NDArray[np.float32]
    bbox: NDArray[np.float32]
    number: NDArray[np.int32]


class Person(NamedTuple):
    """One drawn person. number: from 1, the same in all frames of a scene; 0 = a person of a single frame"""

    looks: Looks
    body: Projected
    action: str
    number: int = 0


def render_frame(seed: int | list[int] | np.random.Generator, size: int, params: SceneParams) -> tuple[Image, People]:
    """Render a picture (size, size, 3) uint8 RGB and the people in it. The same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    canvas, people = _draw_frame(rng, size * SUPERSAMPLING, params)
    truth = truth_of(cv2.extractChannel(canvas, 3), people)
    return finish(rng, canvas, params.blur, params.noise), truth


def _draw_frame(rng: np.random.Generator, pixels: int, params: SceneParams) -> tuple[Image, list[Person]]:
    canvas = background(rng, pixels // SUPERSAMPLING)
    things(rng, canvas, int(rng.integers(0, 6)), in_front=False)
    people = _cast(rng, pixels, params)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), -abs(np.sin(angle))])
    in_front = int(rng.integers(1, 4)) if rng.random() < params.hidden else 0
    before = int(rng.integers(0, len(people) + 1))
    for index, person in enumerate(people):
        if index == before and in_front:
            things(rng, canvas, in_front, in_front=True)
        if person.action == "sit" and rng.random() < 0.7:
            draw_seat(rng, canvas, person.body)
        Painter(canvas, index, person.looks, person.body, light).draw()
    if before == len(people) and in_front:
        things(rng, canvas, in_front, in_front=True)
    return canvas, people


def _cast(rng: np.random.Generator, pixels: int, params: SceneParams) -> list[Person]:
    """Place people in the frame, the farthest first."""
    count = int(rng.integers(params.people[0], params.people[1] + 1))
    camera = (rng.uniform(0.9, 1.8) * pixels, np.deg2rad(rng.uniform(-6, 28)))
    people: list[Person] = []
    boxes: list[Array] = []
    for _ in range(count):
        points, action = _random_body(rng, params)
        for _attempt in range(6):
            longer = rng.uniform(*params.height) * pixels
            body = place(points, camera[0], camera[1], longer, rng.uniform(0, pixels, 2))
            body, box = _moved_inside(rng, body, pixels, params.cut)
            if all(_shared(box, other) <= params.overlap for other in boxes):
                people.append(Person(random_looks(rng), body, action))
                boxes.append(box)
                break
    return sorted(people, key=lambda person: -float(person.body.depth[POINT["belly"]]))


def _random_body(rng: np.random.Generator, params: SceneParams) -> tuple[Array, str]:
    shares = _ACTION_SHARES
    if params.actions is not None:
        shares = shares * np.array([action in params.actions for action in ACTIONS])
    action = ACTIONS[int(np.searchsorted(np.cumsum(shares / shares.sum()), rng.random()))]
    pose = pose_of(action, rng.random(), int(rng.integers(2)), rng.random(16))
    pose = Pose(pose.angles + rng.normal(0, 5, pose.angles.shape), pose.tilt)
    small = rng.random() < 0.12  # a child: a larger head on shorter limbs
    shape = Shape(
        legs=rng.normal(0.88 if small else 1.0, 0.04),
        arms=rng.normal(0.9 if small else 1.0, 0.035),
        shoulders=rng.normal(0.88 if small else 1.0, 0.08),
        head=rng.normal(1.25 if small else 1.02, 0.06),
        girth=rng.normal(1.0, 0.08),
    )
    # Half of the people look more or less at the camera, the others anywhere.
    heading = rng.normal(0, 0.6) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)
    return joints_in_space(pose, shape, heading), action


def place(points: Array, focal_px: float, pitch: float, longer_px: float, center: Array) -> Projected:
    """Place the body before a camera that looks down by `pitch`, at the distance that gives `longer_px`."""
    turned = points @ turn(pitch, 0, 0).T * (1, -1, -1)
    middle = (turned[:, :2].min(axis=0) + turned[:, :2].max(axis=0)) / 2
    turned[:, :2] -= middle
    distance = focal_px * 1.7 / longer_px
    for _ in range(2):
        scale = focal_px / (turned[:, 2] + distance)
        xy = turned[:, :2] * scale[:, None]
        distance *= float((xy.max(axis=0) - xy.min(axis=0)).max()) / longer_px
    depth = turned[:, 2] + distance
    scale = focal_px / depth
    return Projected(turned[:, :2] * scale[:, None] + center, depth, scale)


def _moved_inside(rng: np.random.Generator, body: Projected, pixels: int, cut: float) -> tuple[Projected, Array]:
    """Move the body so that at most the share `cut` of its box is cut off. Returns it and its box: x0, y0, x1, y1."""
    low, high = body.xy.min(axis=0), body.xy.max(axis=0)
    spare = (high - low) * (cut if rng.random() < 0.35 else 0.0)
    move = np.maximum(0, -spare - low) - np.maximum(0, high - spare - pixels)
    return body._replace(xy=body.xy + move), np.concatenate([low + move, high + move])


def _shared(a: Array, b: Array) -> float:
    """Overlap of two boxes, as a share of the smaller one."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    return float(sides.prod() / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))


def draw_seat(rng: np.random.Generator, canvas: Image, body: Projected) -> None:
    """Draw a bench under a sitting person."""
    bottom, scale = body.xy[POINT["bottom"]], float(body.scale[POINT["bottom"]])
    floor = float(body.xy[[POINT["left_heel"], POINT["right_heel"]], 1].mean())
    half = scale * rng.uniform(0.22, 0.6)
    top = bottom[1] + scale * 0.08
    color = rng.uniform(20, 220, 3)
    left, right = int(bottom[0] - half), int(bottom[0] + half)
    if floor > top:
        dark = (*(float(c * 0.7) for c in color), 0.0)
        cv2.rectangle(canvas, (left, int(top)), (right, int(floor)), dark, -1)
    seat = (*(float(c) for c in color), 0.0)
    cv2.rectangle(canvas, (left, int(top - scale * 0.06)), (right, int(top + scale * 0.05)), seat, -1)


def truth_of(parts: Image, people: list[Person]) -> People:
    """Visible parts of each person, from the fourth channel of a finished canvas."""
    keypoints = np.zeros((len(people), KEYPOINTS, 2), np.float32)
    flags = np.zeros((len(people), KEYPOINTS), np.uint8)
    area, bbox = np.zeros(len(people), np.float32), np.zeros((len(people), 4), np.float32)
    for index, person in enumerate(people):
        keypoints[index] = person.body.xy[:KEYPOINTS] / SUPERSAMPLING
        flags[index] = visibility(parts, index, person.body, person.looks.hair_style in (1, 4))
        if (flags[index] == 2).sum() < _LEAST_VISIBLE:
            flags[index] = 0
        area[index], bbox[index] = _extent(parts, index, person.body)
    return People(keypoints, flags, area, bbox, np.array([person.number for person in people], np.int32))


def _extent(parts: Image, index: int, body: Projected) -> tuple[float, Array]:
    """Visible part of a person: square pixels, and the box around it: x, y, width, height."""
    margin = 0.3 * body.scale.max()  # no limb is as thick
    low = np.maximum(0, body.xy.min(axis=0) - margin).astype(int)
    high = np.maximum(low + 1, body.xy.max(axis=0) + margin).astype(int)
    piece = parts[low[1] : high[1], low[0] : high[0]]
    mask = cv2.inRange(piece, PARTS_A_PERSON * index + 1, PARTS_A_PERSON * index + PARTS_A_PERSON - 1)
    x, y, width, height = cv2.boundingRect(mask)
    box = np.array([x + low[0], y + low[1], width, height]) if width else np.zeros(4)
    return cv2.countNonZero(mask) / SUPERSAMPLING**2, box / SUPERSAMPLING
