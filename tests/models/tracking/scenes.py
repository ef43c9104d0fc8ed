"""Rendered scenes in which people cross, hide each other, leave and come back, before cameras that stand and move."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.draw import SUPERSAMPLING
from models.synthetic.video import Actor, Camera, Scene
from models.types import KEYPOINTS, FramePoses

SIZE = (320, 240)
_LEAST_VISIBLE = 3


class Take(NamedTuple):
    """A scene, the frames per second and the duration."""

    scene: Scene
    fps: float = 12.5
    duration_s: float = 6.0

    @property
    def times_s(self) -> list[float]:
        return [number / self.fps for number in range(round(self.duration_s * self.fps))]


def _scene(seed: int, *actors: Actor, camera: Camera | None = None) -> Scene:
    return Scene(seed, actors, SIZE, camera or Camera())


def _walk(x_m: float, z_m: float, heading_deg: float, speed_m_s: float = 1.1, **more: float) -> Actor:
    return Actor("walk", x_m=x_m, z_m=z_m, heading_deg=heading_deg, speed_m_s=speed_m_s, **more)  # type: ignore[arg-type]


TAKES: dict[str, Take] = {
    # Crossings
    "two cross": Take(_scene(201, _walk(-2.4, 4.2, 88), _walk(2.6, 5.0, -90))),
    "two cross, as deep": Take(_scene(202, _walk(-2.4, 4.5, 90), _walk(2.4, 4.9, -90, 1.3)), 25, 5),
    "three cross": Take(_scene(203, _walk(-2.5, 4.0, 85), _walk(2.6, 5.0, -88), _walk(3.2, 6.0, -85, 1.4))),
    "a runner and a walker": Take(_scene(204, _walk(-3.0, 5.0, 90, 3.0), _walk(2.4, 4.2, -90, 0.9)), 25, 4),
    "one overtakes": Take(_scene(205, _walk(-2.2, 4.4, 90, 0.7), _walk(-3.4, 5.2, 90, 1.5))),
    "towards and away": Take(_scene(206, _walk(-0.6, 7.0, 8, 0.8), _walk(0.5, 3.6, 172, 0.8))),
    "at few frames": Take(_scene(207, _walk(-2.4, 4.2, 90), _walk(2.6, 5.4, -90)), 5, 6),
    # Hidden
    "behind one who stands": Take(_scene(208, Actor("stand", z_m=3.4), _walk(-2.6, 5.2, 90, 1.0))),
    "behind three who stand": Take(
        _scene(
            209,
            *(Actor("stand", x_m=x, z_m=3.6) for x in (-0.9, 0.0, 0.9)),
            _walk(-2.8, 5.4, 90, 1.1),
        )
    ),
    "two behind one who waves": Take(
        _scene(210, Actor("wave", z_m=3.2), _walk(-2.6, 4.8, 90, 0.9), _walk(2.8, 5.6, -90, 1.0))
    ),
    "behind one who sits": Take(_scene(211, Actor("sit", z_m=3.4), _walk(2.6, 4.6, -90, 0.8), Actor("stand", x_m=1.4))),
    "before a group": Take(
        _scene(212, *(Actor("stand", x_m=x, z_m=5.5) for x in (-1.2, -0.3, 0.6)), _walk(-2.0, 3.4, 90, 0.8))
    ),
    "a long way behind": Take(_scene(213, Actor("stand", x_m=0.1, z_m=2.6), _walk(-1.6, 5.0, 90, 0.5)), 12.5, 7),
    # Leaving and coming back
    "one turns back": Take(_scene(214, _walk(1.0, 4.2, 90, 1.2, turns_s=1.8), Actor("stand", x_m=-1.0, z_m=4.4))),
    "two turn back": Take(_scene(215, _walk(1.2, 4.0, 90, 1.0, turns_s=1.6), _walk(-1.2, 5.0, -90, 1.2, turns_s=2.0))),
    "one leaves, one enters": Take(
        _scene(216, _walk(0.6, 4.2, 90, 1.2), _walk(-2.9, 4.6, 90, 1.1, enters_s=1.0), Actor("stand", z_m=6.0))
    ),
    "the camera looks away": Take(
        _scene(217, Actor("stand", x_m=1.4, z_m=4.0), Actor("wave", x_m=0.0, z_m=4.4), camera=Camera(sway_deg=14)),
        12.5,
        7,
    ),
    # The camera moves
    "a slow pan": Take(
        _scene(218, _walk(-1.8, 4.4, 90, 0.9), _walk(2.6, 5.2, -90, 0.9), camera=Camera(pan_deg_s=4)),
    ),
    "a hand-held camera": Take(
        _scene(219, _walk(-2.2, 4.4, 88, 1.0), _walk(2.2, 5.2, -92, 1.0), camera=Camera(sway_deg=3)), 25, 5
    ),
    "a hand-held camera and three": Take(
        _scene(
            220,
            _walk(-2.2, 4.2, 85, 0.9),
            Actor("raise", x_m=0.4, z_m=4.8, acts_from_s=1.0, acts_until_s=3.0),
            _walk(2.4, 5.6, -88, 0.9),
            camera=Camera(sway_deg=2, pan_deg_s=1),
        )
    ),
    "a camera under the ceiling": Take(
        _scene(
            221,
            _walk(-2.4, 5.0, 80, 1.1),
            _walk(2.4, 6.0, -95, 1.0),
            _walk(0.2, 8.0, 5, 0.9),
            camera=Camera(height_m=3.2, pitch_deg=22),
        )
    ),
    # What people do
    "one falls, another passes": Take(
        _scene(222, Actor("fall", x_m=-0.6, z_m=4.4, acts_from_s=1.5), _walk(2.6, 5.6, -90, 1.0))
    ),
    "one squats behind another": Take(
        _scene(
            223,
            Actor("squat", x_m=0.3, z_m=4.8, acts_from_s=1.0, acts_until_s=4.0),
            _walk(-2.2, 3.8, 90, 0.9),
        )
    ),
    "six in a room": Take(
        _scene(
            224,
            *(Actor("stand", x_m=x, z_m=5.0 + 0.6 * n) for n, x in enumerate((-1.6, 0.2, 1.7))),
            _walk(-2.6, 4.0, 88, 1.0),
            _walk(2.9, 4.6, -90, 1.0),
            _walk(3.4, 7.2, -88, 1.2),
        )
    ),
}


def true_people(scene: Scene, t_s: float) -> tuple[NDArray[np.int64], FramePoses]:
    """Return the numbers and keypoints of the people in view without drawing them.

    A keypoint within the outline of a nearer person is hidden; its place is known, as an annotator would mark it. A
    person with fewer than three visible keypoints is not in the truth, as in rendered frames.
    """
    width, height = scene.size
    covered = np.zeros((height, width), np.uint8)
    found = []
    for person in sorted(scene.present(t_s), key=lambda one: float(np.median(one.body.depth))):
        points = person.body.xy / SUPERSAMPLING
        places = points[:KEYPOINTS]
        inside = ((places >= 0) & (places < (width, height))).all(axis=1)
        x, y = np.clip(places, 0, (width - 1, height - 1)).astype(int).T
        visible = inside & (covered[y, x] == 0)
        if person.body.depth.min() > 0.8 and visible.sum() >= _LEAST_VISIBLE:
            found.append((person.number, np.where(inside[:, None], places, np.nan), visible.mean()))
        cv2.fillConvexPoly(covered, cv2.convexHull(points.astype(np.float32)).astype(np.int32), 1)
    scores = np.array([share for _, _, share in found], np.float32)
    order = np.argsort(-scores, kind="stable")
    keypoints = np.array([places for _, places, _ in found], np.float32).reshape(-1, KEYPOINTS, 2)[order]
    known = np.where(np.isnan(keypoints[:, :, 0]), np.nan, 1).astype(np.float32)
    return np.array([number for number, _, _ in found], np.int64)[order], FramePoses(scores[order], keypoints, known)
