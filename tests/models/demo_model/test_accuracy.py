"""The measures of accuracy, on poses whose accuracy is known."""

import numpy as np
import pytest

from models.demo_model.accuracy import coco_ap, measure, pck, render_test_set
from models.synthetic.frame import TEST_SET, People, SceneParams, render_frame
from models.types import FramePoses

SIZE = (128, 128)


@pytest.fixture(scope="module")
def truth() -> list[People]:
    """20 rendered frames of 128 pixels with one or two people of at least a third of the frame."""
    scene = SceneParams(people=(1, 2), height=(0.35, 0.9), hidden=0.0)
    return [render_frame([40, number], 128, scene)[1] for number in range(20)]


def poses(people: People, shift_px: float = 0.0) -> FramePoses:
    """Return the truth as a decoder's result, moved to the right."""
    there = (people.visibility > 0).any(axis=1)
    xy = people.keypoints[there] + np.float32([shift_px, 0])
    return FramePoses(np.linspace(0.9, 0.8, len(xy), dtype=np.float32), xy, np.ones(xy.shape[:2], np.float32))


def test_perfect_poses_have_perfect_figures(truth: list[People]) -> None:
    found = [poses(people) for people in truth]
    assert coco_ap(truth, found, SIZE) == pytest.approx((1, 1, 1, 1))
    assert pck(truth, found) == (1.0, 1.0)


def test_larger_errors_lower_the_figures(truth: list[People]) -> None:
    aps = [coco_ap(truth, [poses(people, shift) for people in truth], SIZE)[0] for shift in (0, 2, 4, 30)]
    assert aps == sorted(aps, reverse=True)
    assert aps[1] < 0.95
    assert aps[3] < 0.05
    boxes, torsos = zip(*(pck(truth, [poses(people, shift) for people in truth]) for shift in (0, 6, 60)), strict=True)
    assert boxes == tuple(sorted(boxes, reverse=True))
    assert boxes[2] < 0.1
    assert torsos[1] < boxes[1]


def test_missed_and_false_people_lower_the_figures(truth: list[People]) -> None:
    assert coco_ap(truth, [poses(people) for people in truth[:10]] + [nobody()] * 10, SIZE)[0] < 0.7
    assert coco_ap(truth, [nobody()] * 20, SIZE) == (0, 0, 0, 0)
    assert pck(truth, [nobody()] * 20)[0] == 0


def nobody() -> FramePoses:
    return FramePoses(np.empty(0, np.float32), np.empty((0, 17, 2), np.float32), np.empty((0, 17), np.float32))


def test_a_constant_network_finds_nobody() -> None:
    frames = render_test_set(1, 4, 64, SceneParams(people=(1, 1), height=(0.5, 0.9)))
    cells = {"heatmap": 17, "offset_2": 34, "displacement_fwd_2": 32, "displacement_bwd_2": 32}

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.full((len(images), 4, 4, depth), -9.0, np.float32) for name, depth in cells.items()}

    found = measure(infer, frames, frames)
    assert found.ap == 0
    assert found.pck_box < 0.3
    assert found.frames == 8


def test_test_sets_differ_from_every_training() -> None:
    """Seeds of training frames are [seed, number] with a seed below TEST_SET, those of test sets begin with it."""
    scene = SceneParams(people=(1, 1))
    first = render_test_set(1, 1, 64, scene).images[0]
    assert first.tobytes() == render_frame([TEST_SET, 1, 0], 64, scene)[0].tobytes()
    assert first.tobytes() != render_test_set(2, 1, 64, scene).images[0].tobytes()
    assert first.tobytes() != render_frame([1, 0], 64, scene)[0].tobytes()
