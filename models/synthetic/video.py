"""Scenes of moving synthetic people, with a frame for any time. No encoding, no files.

World: metres, x to the right of the picture, z away from the camera, the ground at y = 0. The truth of a video is
truth.coco_truth of its frames' People.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from models.synthetic.body import ACTIONS, POINT, Pose, Shape, joints_in_space, pose_of, turn
from models.synthetic.draw import MAX_PEOPLE, OBJECT, SUPERSAMPLING, Array, Image, Painter, Projected
from models.synthetic.frame import People, Person, draw_seat, truth_of
from models.synthetic.scene import finish, random_looks, textures

_STRIDE_M = 1.4  # two steps of an adult
_FALL_S = 0.9
_BLEND_S = 0.35  # into a fall, and from one pose into the next unless the actor takes longer
_BEATS_HZ = {"wave": 1.3, "raise": 0.3, "sit": 0.2, "stand": 0.25, "squat": 0.3, "reach": 0.3, "wild": 0.5, "bend": 0.2}
_NEAREST_M = 0.8


@dataclass(frozen=True)
class Actor:
    """A person in a scene from enters_s until leaves_s, walking along the heading at a speed (0 = standing).

    action: one of models.synthetic.body.ACTIONS, from acts_from_s until acts_until_s; a fallen person stays down
    x_m, z_m: where it enters; heading_deg: 0 = towards the camera, 90 = to the right of the picture
    turns_s: when it turns round and walks back
    moves_s: duration of the movement into the action and out of it; None = 0.9 s for a fall, 0.35 s for others
    side: the arm that waves or rises: 0 = left, 1 = right
    """

    action: str = "stand"
    enters_s: float = 0.0
    leaves_s: float = 1e9
    acts_from_s: float = 0.0
    acts_until_s: float = 1e9
    x_m: float = 0.0
    z_m: float = 4.0
    heading_deg: float = 0.0
    speed_m_s: float = 0.0
    side: int = 0
    turns_s: float = 1e9
    moves_s: float | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"The action is {self.action!r}. Give one of {', '.join(ACTIONS)}.")


@dataclass(frozen=True)
class Camera:
    """height_m above the ground, looking down by pitch_deg; focal: the focal length as a share of the frame's height.

    pan_deg_s: speed of its turn to the right; sway_deg: amplitude of a hand-held camera
    """

    height_m: float = 1.6
    pitch_deg: float = 6.0
    focal: float = 1.2
    pan_deg_s: float = 0.0
    sway_deg: float = 0.0

    def angles(self, t_s: float) -> tuple[float, float]:
        """Pan and pitch at a time, radians."""
        pan = self.pan_deg_s * t_s + self.sway_deg * np.sin(2.1 * t_s)
        pitch = self.pitch_deg + 0.6 * self.sway_deg * np.sin(3.3 * t_s + 1)
        return float(np.deg2rad(pan)), float(np.deg2rad(pitch))


@dataclass(frozen=True)
class Scene:
    """Actors in front of a background. size: width and height, pixels, even

    noise: strongest grain, as a share of the range
    Raises ValueError where there are too many actors or the size is odd.
    """

    seed: int
    actors: tuple[Actor, ...] = ()
    size: tuple[int, int] = (320, 240)
    camera: Camera = field(default_factory=Camera)
    noise: float = 0.03

    def __post_init__(self) -> None:
        if len(self.actors) >= MAX_PEOPLE:
            raise ValueError(f"The scene has {len(self.actors)} actors. Give fewer than {MAX_PEOPLE}.")
        if any(side % 2 or side <= 0 for side in self.size):
            raise ValueError(f"The size is {self.size}. Give even numbers of pixels.")

    def frame(self, t_s: float) -> tuple[Image, People]:
        """Render the picture (height, width, 3) uint8 RGB at a time, and the people in it."""
        canvas = self._background(t_s)
        light = np.array([0.5, -0.85])
        present = [person for person in self.present(t_s) if _in_view(person.body, canvas)]
        present.sort(key=lambda person: -float(person.body.depth[POINT["belly"]]))
        for index, person in enumerate(present):
            if person.action == "sit":
                draw_seat(np.random.default_rng([self.seed, 3]), canvas, person.body)
            Painter(canvas, index, person.looks, person.body, light).draw()
        self._posts(canvas, t_s)
        truth = truth_of(cv2.extractChannel(canvas, 3), present)
        seen = (truth.visibility > 0).any(axis=1)
        # The same grain and light in each frame, so that nothing flickers and the video stays small.
        image = finish(np.random.default_rng([self.seed, 4]), canvas, 0.0, self.noise)
        return image, People(*(values[seen] for values in truth))

    def _background(self, t_s: float) -> Image:
        """Render a texture that moves against the camera's turns."""
        rng = np.random.default_rng([self.seed, 1])
        texture = textures()[int(rng.integers(len(textures())))]
        width, height = (side * SUPERSAMPLING for side in self.size)
        pan, pitch = self.camera.angles(t_s)
        scale = 1.8 * max(width, height) / len(texture)
        focal = self.camera.focal * height
        middle = len(texture) * scale / 2
        at = (
            width / 2 - middle - focal * pan,
            height / 2 - middle + focal * (pitch - np.deg2rad(self.camera.pitch_deg)),
        )
        matrix = np.array([[scale, 0, at[0]], [0, scale, at[1]]])
        picture = cv2.warpAffine(
            texture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        canvas = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
        canvas[:, :, 3] = 0
        return canvas

    def _posts(self, canvas: Image, t_s: float) -> None:
        """Draw a post in front of all people, in some of the scenes."""
        rng = np.random.default_rng([self.seed, 2])
        if rng.random() < 0.6:
            return
        x = rng.uniform(-0.8, 0.8)
        body = self._seen(np.array([[x, 0.0, -1.6], [x, 3.0, -1.6]]), t_s)
        color = (*(float(c) for c in rng.uniform(30, 190, 3)), float(OBJECT))
        ends = [tuple(int(value) for value in xy) for xy in body.xy]
        cv2.line(canvas, ends[0], ends[1], color, max(2, int(0.06 * body.scale[0])))

    def present(self, t_s: float) -> list[Person]:
        """Return the people who have entered and not left, in the order of `actors`, in view or not."""
        people = []
        for number, actor in enumerate(self.actors):
            if actor.enters_s <= t_s < actor.leaves_s:
                rng = np.random.default_rng([self.seed, 0, number])
                looks, style = random_looks(rng), rng.random(16)
                shape = Shape(*np.clip(rng.normal(1.0, 0.04, 5), 0.9, 1.1).tolist())
                points = _points(actor, shape, style, t_s)
                people.append(Person(looks, self._seen(points, t_s), actor.action, number + 1))
        return people

    def _seen(self, points: Array, t_s: float) -> Projected:
        """Project points: (n, 3) x, y, and z towards the camera."""
        width, height = (side * SUPERSAMPLING for side in self.size)
        pan, pitch = self.camera.angles(t_s)
        before = (points - (0, self.camera.height_m, 0)) @ turn(0, pan, 0).T @ turn(pitch, 0, 0).T * (1, -1, -1)
        depth = np.maximum(before[:, 2], 0.1)
        scale = self.camera.focal * height / depth
        return Projected(before[:, :2] * scale[:, None] + (width / 2, height / 2), depth, scale)


def _points(actor: Actor, shape: Shape, style: Array, t_s: float) -> Array:
    """(points, 3) of the actor's body, standing on the ground; z towards the camera."""
    back = t_s >= actor.turns_s
    heading = np.deg2rad(actor.heading_deg)
    moving_s = t_s - actor.enters_s
    if actor.action == "fall":
        moving_s = min(t_s, max(actor.acts_from_s, actor.enters_s)) - actor.enters_s
    walked = actor.speed_m_s * moving_s
    points = joints_in_space(_pose(actor, style, t_s, walked), shape, float(heading + np.pi * back))
    points[:, 1] += 0.04 - points[:, 1].min()
    away = walked - 2 * actor.speed_m_s * max(0.0, moving_s + actor.enters_s - actor.turns_s)
    points += (actor.x_m + away * np.sin(heading), 0, -actor.z_m + away * np.cos(heading))
    return points


def _pose(actor: Actor, style: Array, t_s: float, walked_m: float) -> Pose:
    """Return the pose at a time: walking or standing, blended into the action and out of it."""
    plain = style.copy()
    plain[8] = min(plain[8], 0.5)  # hands at the sides
    if actor.speed_m_s > 0:
        rest = pose_of("run" if actor.speed_m_s > 2.4 else "walk", walked_m / _STRIDE_M, actor.side, plain)
    else:
        rest = pose_of("stand", 0.25 * t_s, actor.side, plain)
    if actor.action in ("stand", "walk", "run"):
        return rest
    since = t_s - actor.acts_from_s if actor.acts_from_s > actor.enters_s else np.inf
    left = actor.acts_until_s - t_s
    if actor.action == "fall":
        fallen = min(1.0, max(0.0, since) / (actor.moves_s or _FALL_S))
        return _blend(rest, pose_of("fall", fallen, actor.side, style), since / _BLEND_S)
    act = pose_of(actor.action, _BEATS_HZ[actor.action] * t_s, actor.side, plain)
    return _blend(rest, act, min(since, left) / (actor.moves_s or _BLEND_S))


def _blend(rest: Pose, act: Pose, share: float) -> Pose:
    share = float(np.clip(share, 0, 1))
    tilt = tuple((1 - share) * a + share * b for a, b in zip(rest.tilt, act.tilt, strict=True))
    return Pose((1 - share) * rest.angles + share * act.angles, (tilt[0], tilt[1]))


def _in_view(body: Projected, canvas: Image) -> bool:
    height, width = canvas.shape[:2]
    if body.depth.min() < _NEAREST_M:
        return False
    return bool((body.xy.max(axis=0) > 0).all() and (body.xy.min(axis=0) < (width, height)).all())
