"""Centre, box, angles and body length of single poses."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.motion.kinematics import (
    JOINTS,
    body_length_of,
    box_height_of,
    centre_of,
    joint_angle_of,
    trunk_angle_of,
)
from models.motion.windows import Pieces
from models.types import KEYPOINT_NAMES
from tests.models.motion.tracks import STANDING

K = {name: index for index, name in enumerate(KEYPOINT_NAMES)}


def pose(*hidden: str, **places: tuple[float, float]) -> NDArray:
    """(17, 2, 1) the standing person with some keypoints elsewhere, and some hidden."""
    points = STANDING.copy()
    for name, place in places.items():
        points[K[name]] = place
    points[[K[name] for name in hidden]] = np.nan
    return points[:, :, None]


def turned(degrees: float) -> NDArray:
    """(17, 2, 1) the standing person turned in the picture."""
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return (STANDING @ np.array([[cosine, sine], [-sine, cosine]]))[:, :, None]


@pytest.mark.parametrize(("degrees", "expected"), [(0, 0), (30, 30), (-30, 30), (90, 90), (180, 180), (250, 110)])
def test_the_trunk_leans_to_either_side_alike(degrees: float, expected: float) -> None:
    assert trunk_angle_of(turned(degrees))[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("missing", ["left_shoulder", "right_hip"])
def test_the_trunk_has_no_angle_without_both_of_its_ends(missing: str) -> None:
    assert np.isnan(trunk_angle_of(pose(missing))).all()


@pytest.mark.parametrize(
    ("ankle", "expected"), [((11, 80), 180), ((51, 40), 90), ((-29, 40), 90), ((11, -4), 0), ((39, 68), 135)]
)
def test_the_angle_of_a_knee(ankle: tuple[float, float], expected: float) -> None:
    bent = pose(left_hip=(11, 0), left_knee=(11, 40), left_ankle=ankle)
    assert joint_angle_of(bent, "left_knee_angle_deg")[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("degrees", [0, 77, 180, 301])
def test_angles_of_joints_do_not_depend_on_the_camera(degrees: float) -> None:
    for name in JOINTS:
        here, there = (joint_angle_of(points, name)[0] for points in (pose(), turned(degrees)))
        assert here == pytest.approx(there, abs=1e-9)
        assert 0 <= here <= 180


def test_a_hanging_and_a_raised_arm() -> None:
    """The angle at the shoulder is that between upper arm and trunk."""
    hanging = pose(left_shoulder=(20, -60), left_elbow=(20, -30), left_hip=(20, -5))
    raised = pose(left_shoulder=(20, -60), left_elbow=(20, -90), left_hip=(20, -5))
    level = pose(left_shoulder=(20, -60), left_elbow=(50, -60), left_hip=(20, -5))
    found = [joint_angle_of(points, "left_shoulder_angle_deg")[0] for points in (hanging, raised, level)]
    assert found == pytest.approx([0, 180, 90], abs=1e-9)


def test_a_limb_without_a_length_has_no_angle() -> None:
    folded = pose(left_knee=(11, 40), left_ankle=(11, 40))
    assert np.isnan(joint_angle_of(folded, "left_knee_angle_deg")).all()


def test_the_centre_is_that_of_the_hips_or_else_of_the_shoulders() -> None:
    hips, one, shoulders = pose(), pose("left_hip"), pose("left_hip", "right_hip")
    head = pose("left_hip", "right_hip", "left_shoulder", "right_shoulder")
    found = [centre_of(points) for points in (hips, one, shoulders, head)]
    assert [centre[:, 0].tolist() for centre, _ in found[:3]] == [[0, -5], [-10, -5], [0, -60]]
    assert np.isnan(found[3][0]).all()
    assert len({int(made_of[0]) for _, made_of in found}) == 4


def test_the_height_of_the_box_covers_the_known_keypoints() -> None:
    lower = [name for name in KEYPOINT_NAMES if name.endswith(("knee", "ankle"))]
    assert box_height_of(pose())[0] == 165
    assert box_height_of(pose(*lower))[0] == 78
    assert np.isnan(box_height_of(pose(*KEYPOINT_NAMES[1:]))).all()


def test_the_body_length_depends_neither_on_posture_nor_on_hidden_keypoints() -> None:
    one = Pieces(np.zeros(1), np.zeros(1, int), np.zeros(1, int))
    legs = [name for name in KEYPOINT_NAMES if name.endswith(("knee", "ankle"))]
    squatting = pose(left_knee=(30, 0), right_knee=(-30, 0), left_ankle=(12, 30), right_ankle=(-12, 30))
    found = [body_length_of(points, one, 2.0)[0] for points in (pose(), turned(90), pose(*legs), squatting)]
    assert found == pytest.approx([found[0]] * 4, rel=0.1)
    assert found[0] == pytest.approx(185, rel=0.1)  # the eyes are at 0.94 of a person's height
