"""Motion of a rendered walker, from its known joints with noise of 3 pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import find_peaks

from models.motion.motion import motion_of
from models.motion.params import MotionParams
from models.motion.types import MotionRows
from models.synthetic.video import Actor, Scene
from models.types import KEYPOINT_NAMES
from tests.models.motion.tracks import joined, one_track

FPS = 30
NOISE_PX = 3


@pytest.fixture(scope="module")
def truth() -> NDArray:
    """(75, 17, 2) joints of a person who crosses the picture, 170 to 190 pixels high."""
    walker = Actor(action="walk", x_m=-1.7, z_m=4.4, heading_deg=80, speed_m_s=1.2)
    scene = Scene(seed=31, actors=(walker,), size=(640, 480))
    return np.stack([scene.frame(frame / FPS)[1].keypoints[0] for frame in range(75)]).astype(float)


@pytest.fixture(scope="module")
def noisy(truth: NDArray) -> NDArray:
    return truth + np.random.default_rng(1).normal(0, NOISE_PX, truth.shape)


@pytest.fixture(scope="module")
def smoothed(noisy: NDArray) -> MotionRows:
    return joined(list(motion_of([one_track(noisy, np.arange(len(noisy)) / FPS)], MotionParams())))


def test_knees_are_within_five_degrees(truth: NDArray, noisy: NDArray, smoothed: MotionRows) -> None:
    for side in ("left", "right"):
        expected, raw = (knee(points, side) for points in (truth, noisy))
        found = getattr(smoothed, f"{side}_knee_angle_deg")
        assert np.abs(found - expected).mean() < 5
        assert np.abs(found - expected).mean() < 0.75 * np.abs(raw - expected).mean()


def test_the_error_of_keypoints_is_a_quarter_smaller(truth: NDArray, noisy: NDArray, smoothed: MotionRows) -> None:
    before, after = (np.sqrt(np.square(points - truth).mean()) for points in (noisy, smoothed.keypoints))
    assert after < 0.75 * before


def test_peaks_stay_within_a_frame(truth: NDArray, smoothed: MotionRows) -> None:
    """Of the height of each ankle, whose swings are the fastest of a walk."""
    for name in ("left_ankle", "right_ankle"):
        ankle = KEYPOINT_NAMES.index(name)
        expected, _ = find_peaks(-truth[:, ankle, 1], prominence=8)
        found, _ = find_peaks(-smoothed.keypoints[:, ankle, 1], prominence=8)
        assert len(expected) > 0
        assert np.abs(found - expected).max() <= 1


def knee(points: NDArray, side: str) -> NDArray:
    """Degrees, by the law of cosines."""
    hip, joint, ankle = (points[:, KEYPOINT_NAMES.index(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
    a, b, c = (np.linalg.norm(p - q, axis=1) for p, q in ((hip, joint), (joint, ankle), (hip, ankle)))
    return np.degrees(np.arccos(np.clip((a**2 + b**2 - c**2) / (2 * a * b), -1, 1)))
