"""Rendered people: deterministic, with ground truth at the drawn positions."""

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.synthetic.body import ACTIONS, POINT, Pose, Shape, joints_in_space, pose_of
from models.synthetic.draw import (
    KEYPOINT_PARTS,
    PART,
    PARTS_A_PERSON,
    SUPERSAMPLING,
    Looks,
    Painter,
    Projected,
    visibility,
)
from models.synthetic.frame import SceneParams, _draw_frame, place, render_frame, truth_of
from models.synthetic.truth import coco_truth

PLAIN = SceneParams(people=(1, 1), height=(0.5, 0.9), hidden=0.0, cut=0.0)
LOOKS = Looks(
    skin=(200.0, 160.0, 130.0),
    shirt=(40.0, 90.0, 200.0),
    accent=(250.0, 250.0, 250.0),
    trousers=(60.0, 60.0, 60.0),
    shoes=(20.0, 20.0, 20.0),
    hair=(50.0, 30.0, 20.0),
    pattern=0,
    sleeve=1.0,
    leg=1.0,
    skirt=False,
    hair_style=0,
    beard=False,
    glasses=False,
    girth=1.0,
)


def drawn_alone(action: str, heading: float, phase: float = 0.1) -> tuple[np.ndarray, Projected]:
    """A canvas of 448 pixels with one person in its middle, and the person's body."""
    points = joints_in_space(pose_of(action, phase, 0, np.full(16, 0.4)), Shape(), heading)
    body = place(points, 500.0, 0.1, 330.0, np.array([224.0, 224.0]))
    canvas = np.zeros((448, 448, 4), np.uint8)
    Painter(canvas, 0, LOOKS, body, np.array([0.6, -0.8])).draw()
    return canvas, body


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    image, people = render_frame([seed, 3], 160, SceneParams())
    again, same_people = render_frame([seed, 3], 160, SceneParams())
    assert image.tobytes() == again.tobytes()
    assert all(np.array_equal(a, b) for a, b in zip(people, same_people, strict=True))


def test_other_seeds_give_other_pictures() -> None:
    pictures = {render_frame([1, number], 96, SceneParams())[0].tobytes() for number in range(12)}
    assert len(pictures) == 12


def test_a_frame_has_pixels_and_ground_truth() -> None:
    for number in range(30):
        image, people = render_frame([5, number], 128, SceneParams(people=(1, 3)))
        assert image.shape == (128, 128, 3)
        assert image.dtype == np.uint8
        assert 1 <= len(people.keypoints) <= 3
        assert people.keypoints.shape[1:] == (17, 2)
        inside = ((people.keypoints >= 0) & (people.keypoints < 128)).all(axis=2)
        assert not (people.visibility[~inside] > 0).any()


def test_frames_have_the_requested_size() -> None:
    sizes = []
    for number in range(60):
        canvas, cast = _draw_frame(np.random.default_rng([9, number]), 448, PLAIN)
        sizes += [(p.body.xy.max(axis=0) - p.body.xy.min(axis=0)).max() / len(canvas) for p in cast]
    assert 0.49 < min(sizes) < 0.6
    assert 0.8 < max(sizes) < 0.91


def test_a_visible_keypoint_lies_on_its_limb() -> None:
    """The mask of the part, drawn alone, contains the keypoint; at a wrist or an ankle it ends there."""
    seen = 0
    for number in range(40):
        canvas, cast = _draw_frame(np.random.default_rng([11, number]), 448, PLAIN)
        people = truth_of(cv2.extractChannel(canvas, 3), cast)
        for index in range(len(cast)):
            for keypoint in np.flatnonzero(people.visibility[index] == 2):
                x, y = (people.keypoints[index, keypoint] * SUPERSAMPLING).astype(int)
                around = canvas[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3, 3] - PARTS_A_PERSON * index
                names = KEYPOINT_PARTS[keypoint]
                assert np.isin(around, [PART[name] for name in names]).mean() > 0.3, (number, keypoint)
                seen += 1
    assert seen > 250


@pytest.mark.parametrize(
    ("part", "start", "stop"),
    [
        ("left_thigh", "left_hip", "left_knee"),
        ("right_shank", "right_knee", "right_ankle"),
        ("left_upper_arm", "left_shoulder", "left_elbow"),
        ("right_upper_arm", "right_shoulder", "right_elbow"),
    ],
)
def test_a_drawn_limb_runs_from_joint_to_joint(part: str, start: str, stop: str) -> None:
    """Checked by pixels only: the centre and the long axis of the drawn limb."""
    canvas, body = drawn_alone("raise", 0.2)
    rows, columns = np.nonzero(canvas[:, :, 3] == PART[part])
    pixels = np.stack([columns, rows], axis=1) + 0.5
    a, b = body.xy[POINT[start]], body.xy[POINT[stop]]
    reach = float(np.hypot(*(b - a)))
    assert np.hypot(*(pixels.mean(axis=0) - (a + b) / 2)) < 0.2 * reach
    axis = np.linalg.eigh(np.cov(pixels.T))[1][:, 1]
    assert abs(axis @ (b - a)) / reach > np.cos(np.deg2rad(10))


def test_left_is_the_persons_left() -> None:
    _, front = drawn_alone("stand", 0.0)
    _, back = drawn_alone("stand", np.pi)
    for name in ("shoulder", "hip", "ear", "ankle"):
        left, right = POINT[f"left_{name}"], POINT[f"right_{name}"]
        assert front.xy[left, 0] > front.xy[right, 0]
        assert back.xy[left, 0] < back.xy[right, 0]


def test_the_face_is_hidden_from_behind_and_the_far_side_from_the_side() -> None:
    flags = {}
    for name, heading in (("front", 0.0), ("back", np.pi), ("side", np.pi / 2)):
        canvas, body = drawn_alone("stand", heading)
        flags[name] = visibility(cv2.extractChannel(canvas, 3), 0, body, False)
    assert (flags["front"][:3] == 2).all()
    assert (flags["back"][:3] == 1).all()
    # A person turned to the camera's right by a quarter shows the right side.
    assert flags["side"][4] == 2
    assert flags["side"][3] == 1
    assert flags["side"][11] == 1


def test_a_person_behind_another_is_hidden() -> None:
    canvas, body = drawn_alone("stand", 0.0)
    before = visibility(cv2.extractChannel(canvas, 3), 0, body, False)
    Painter(canvas, 1, LOOKS, body, np.array([0.6, -0.8])).draw()
    after = visibility(cv2.extractChannel(canvas, 3), 0, body, False)
    assert (before == 2).sum() > 12
    assert (after == 1).all()


def test_a_mostly_hidden_person_is_not_labelled() -> None:
    rng = np.random.default_rng([11, 0])
    canvas, cast = _draw_frame(rng, 448, PLAIN)
    canvas[:, :, 3] = 0
    people = truth_of(cv2.extractChannel(canvas, 3), cast)
    assert not people.visibility.any()
    assert people.area[0] == 0


def test_area_and_box_match_the_drawn_pixels() -> None:
    canvas, cast = _draw_frame(np.random.default_rng([11, 1]), 448, PLAIN)
    parts = cv2.extractChannel(canvas, 3)
    people = truth_of(parts, cast)
    rows, columns = np.nonzero((parts > 0) & (parts < 16))
    assert people.area[0] == len(rows) / 4
    x, y, width, height = people.bbox[0] * 2
    assert (x, y) == (columns.min(), rows.min())
    assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("action", ACTIONS)
def test_bones_keep_their_length_in_every_pose(action: str) -> None:
    rest = joints_in_space(Pose(np.zeros((13, 3))), Shape(), 0.0)
    for phase in (0.0, 0.3, 0.8):
        points = joints_in_space(pose_of(action, phase, 1, np.linspace(0, 1, 16)), Shape(), 1.1)
        for a, b in (("left_hip", "left_knee"), ("right_elbow", "right_wrist"), ("nose", "left_eye")):
            bone = np.linalg.norm(points[POINT[a]] - points[POINT[b]])
            assert bone == pytest.approx(np.linalg.norm(rest[POINT[a]] - rest[POINT[b]]), rel=1e-9)


def test_waving_and_fallen_people_have_the_right_pose() -> None:
    waving = joints_in_space(pose_of("wave", 0.0, 0, np.full(16, 0.9)), Shape(), 0.0)
    assert waving[POINT["left_wrist"], 1] > waving[POINT["nose"], 1]
    assert waving[POINT["right_wrist"], 1] < waving[POINT["right_shoulder"], 1]
    fallen = joints_in_space(pose_of("fall", 1.0, 0, np.full(16, 0.5)), Shape(), 0.0)
    assert abs(fallen[POINT["head"], 1] - fallen[POINT["left_hip"], 1]) < 0.35


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_bending_people_have_a_low_trunk_over_upright_legs(share: float) -> None:
    points = joints_in_space(pose_of("bend", 0.0, 0, np.full(16, share)), Shape(), 0.0)
    middle = {
        name: (points[POINT[f"left_{name}"]] + points[POINT[f"right_{name}"]]) / 2
        for name in ("shoulder", "hip", "ankle")
    }
    trunk, legs = middle["shoulder"] - middle["hip"], middle["hip"] - middle["ankle"]
    assert np.degrees(np.arctan2(trunk[2], trunk[1])) > 45  # forwards
    assert np.degrees(np.arctan2(np.hypot(legs[0], legs[2]), legs[1])) < 20


def test_pycocotools_accepts_the_truth_as_perfect(tmp_path: Path) -> None:
    frames = [render_frame([3, number], 128, SceneParams())[1] for number in range(12)]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco_truth(frames, (128, 128), [f"{n}.png" for n in range(12)])))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        found = truth.loadRes(
            [
                {key: annotation[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
                for annotation in truth.dataset["annotations"]
                if annotation["num_keypoints"]
            ]
        )
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong", [{"people": (3, 1)}, {"people": (0, 15)}, {"height": (0.0, 0.5)}, {"actions": ("swim",)}]
)
def test_invalid_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="Give"):
        SceneParams(**wrong)
