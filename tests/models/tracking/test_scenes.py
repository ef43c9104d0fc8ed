"""Tracks of the true people of rendered scenes: who is who through crossings, occlusions and absences."""

import numpy as np
import pytest

from models.evaluation.tracks import ComparedFrame, gathered, track_figures
from models.tracking.params import TrackParams
from models.tracking.tracker import track_poses
from models.types import FramePoses, Poses
from tests.models.tracking.scenes import TAKES, Take, true_people


def compared(take: Take, noise_px: float, missed: float) -> list[ComparedFrame]:
    """Track the true keypoints with noise and without some of the people, and compare the numbers."""
    rng = np.random.default_rng(7)
    seen, truth, people = [], [], []
    for frame, t_s in enumerate(take.times_s):
        numbers, found = true_people(take.scene, t_s)
        truth.append(numbers)
        kept = rng.random(len(numbers)) >= missed
        places = found.keypoints[kept] + rng.normal(0, noise_px, found.keypoints[kept].shape).astype(np.float32)
        seen.append((frame, t_s, FramePoses(found.scores[kept], places, found.keypoint_scores[kept])))
        people.append(numbers[kept])
    poses, who = Poses.gather(seen), np.concatenate(people)
    given = track_poses([poses], TrackParams(), take.scene.size, 1 / take.fps)
    track = np.concatenate([one.track for one in given])
    frames = []
    for frame, numbers in enumerate(truth):
        rows = (poses.frame == frame) & (track > 0)
        same = (numbers[:, None] == who[rows]).astype(np.float64)
        frames.append(ComparedFrame(numbers, track[rows].astype(np.int64), same))
    return frames


def test_there_are_scenes_of_all_kinds() -> None:
    assert len(TAKES) >= 20


@pytest.mark.parametrize(
    ("noise_px", "missed", "least"), [(0.0, 0.0, 0.97), pytest.param(2.0, 0.1, 0.89, marks=pytest.mark.slow)]
)
def test_the_people_of_all_scenes(noise_px: float, missed: float, least: float) -> None:
    """With a tenth of the people missed, 0.95 would be the best."""
    figures = track_figures(gathered([compared(take, noise_px, missed) for take in TAKES.values()]))
    assert figures.idf1 >= least, figures
