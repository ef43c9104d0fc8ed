"""Scenes of moving people, whose ground truth describes the events."""

import numpy as np
import pytest

from models.synthetic.video import Actor, Camera, Scene
from models.types import KEYPOINT_NAMES

K = {name: index for index, name in enumerate(KEYPOINT_NAMES)}


def keypoint(scene: Scene, t_s: float, name: str) -> np.ndarray:
    people = scene.frame(t_s)[1]
    assert len(people.keypoints) == 1
    return people.keypoints[0, K[name]]


def test_a_frame_depends_only_on_seed_and_time() -> None:
    scene = Scene(4, (Actor("walk", speed_m_s=1.0, heading_deg=90, x_m=-1), Actor("sit", x_m=1)), (160, 120))
    image, people = scene.frame(0.7)
    scene.frame(0.1)
    again, same = Scene(4, scene.actors, (160, 120)).frame(0.7)
    assert image.shape == (120, 160, 3)
    assert image.tobytes() == again.tobytes()
    assert np.array_equal(people.keypoints, same.keypoints)
    assert scene.frame(0.8)[0].tobytes() != image.tobytes()


def test_people_come_and_go() -> None:
    scene = Scene(1, (Actor(enters_s=1, leaves_s=2),), (160, 120))
    assert [len(scene.frame(t_s)[1].keypoints) for t_s in (0.5, 1.0, 1.9, 2.0)] == [0, 1, 1, 0]
    away = Scene(1, (Actor(x_m=40),), (160, 120))
    assert len(away.frame(0)[1].keypoints) == 0


def test_a_waving_person_has_the_wrist_above_the_nose_at_that_time() -> None:
    actor = Actor("wave", side=1, acts_from_s=1.0, acts_until_s=3.0)
    scene = Scene(2, (actor,))
    raised = [keypoint(scene, t, "right_wrist")[1] < keypoint(scene, t, "nose")[1] for t in (0.5, 1.6, 2.4, 3.5)]
    assert raised == [False, True, True, False]


def test_a_falling_person_stands_before_and_lies_after() -> None:
    scene = Scene(3, (Actor("fall", acts_from_s=1.0, acts_until_s=1.5),))

    def upright(t_s: float) -> float:
        people = scene.frame(t_s)[1]
        return float(people.keypoints[0, K["left_ankle"], 1] - people.keypoints[0, K["nose"], 1])

    assert upright(0.5) > 2 * abs(upright(2.5))  # a person falling towards the camera is still visible at a length


@pytest.mark.parametrize("action", ["sit", "bend", "fall"])
def test_a_slower_movement_begins_and_ends_at_the_same_places(action: str) -> None:
    fast, slow = (Scene(3, (Actor(action, acts_from_s=1.0, moves_s=moves_s),)) for moves_s in (None, 4.0))
    for t_s, same in ((0.9, True), (2.0, False), (6.1, True)):
        noses = [keypoint(scene, t_s, "nose") for scene in (fast, slow)]
        assert (np.abs(noses[0] - noses[1]).max() < 4) == same


def test_a_walking_person_crosses_the_picture_and_swings_the_legs() -> None:
    scene = Scene(6, (Actor("walk", x_m=-1.0, heading_deg=90, speed_m_s=1.2),))
    hips = [keypoint(scene, t, "left_hip")[0] for t in (0.0, 0.5, 1.0)]
    assert hips == sorted(hips)
    assert hips[2] - hips[0] > 60
    gaps = [keypoint(scene, t, "left_ankle")[0] - keypoint(scene, t, "right_ankle")[0] for t in np.arange(0, 1.2, 0.1)]
    assert min(gaps) < -5
    assert max(gaps) > 5


def test_a_moving_camera_moves_the_picture() -> None:
    still, panned = Scene(5, (Actor(),)), Scene(5, (Actor(),), camera=Camera(pan_deg_s=10))
    assert np.array_equal(still.frame(0)[1].keypoints, panned.frame(0)[1].keypoints)
    moved = keypoint(panned, 0.5, "nose")[0] - keypoint(still, 0.5, "nose")[0]
    assert moved == pytest.approx(-np.tan(np.deg2rad(5)) * 1.2 * 240, rel=0.15)
    assert still.frame(0.5)[0].tobytes() != panned.frame(0.5)[0].tobytes()


def test_the_nearer_person_hides_the_farther_one() -> None:
    scene = Scene(7, (Actor(z_m=6.0), Actor(z_m=3.0)))
    people = scene.frame(0)[1]
    tallest = np.argmax(people.bbox[:, 3])
    assert (people.visibility[tallest] == 2).sum() > 12
    others = np.delete(people.visibility, tallest, axis=0)
    assert (others == 1).sum() >= 3 or not len(others)


@pytest.mark.parametrize("wrong", [{"size": (161, 120)}, {"actors": (Actor(),) * 15}])
def test_an_impossible_scene_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="Give"):
        Scene(1, **wrong)


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ValueError, match="swim"):
        Actor("swim")


def test_each_person_has_a_number_that_stays() -> None:
    scene = Scene(8, (Actor(leaves_s=1), Actor(x_m=1.2, z_m=5), Actor(x_m=-1.2, enters_s=1)), (160, 120))
    assert [sorted(scene.frame(t_s)[1].number.tolist()) for t_s in (0.5, 1.5)] == [[1, 2], [2, 3]]


def test_an_actor_that_turns_back_returns_to_the_start() -> None:
    scene = Scene(6, (Actor("walk", x_m=-1.0, heading_deg=90, speed_m_s=1.0, turns_s=1.0),))
    hips = [keypoint(scene, t, "left_hip")[0] for t in (0.0, 1.0, 2.0)]
    assert hips[1] - hips[0] > 50
    assert hips[2] == pytest.approx(hips[0], abs=15)
    facing = [keypoint(scene, t, "nose")[0] - keypoint(scene, t, "right_ear")[0] for t in (0.5, 1.5)]
    assert facing[0] > 0 > facing[1]
