"""Agreement of known poses."""

import numpy as np
import pytest

from models.evaluation.agreement import mean_agreement
from models.types import FramePoses

RANDOM = np.random.default_rng(6)


def people(count: int) -> FramePoses:
    places = RANDOM.uniform(0, 100, (count, 17, 2)).astype(np.float32)
    return FramePoses(np.ones(count, np.float32), places, np.ones((count, 17), np.float32))


def test_a_model_agrees_with_itself_and_missed_people_count_as_0() -> None:
    frames = [people(2), people(0), people(1)]
    assert mean_agreement(frames, frames) == (pytest.approx(1), 3)
    nobody = [people(0)] * 3
    assert mean_agreement(frames, nobody) == (0.0, 3)
    agreement, count = mean_agreement(nobody, frames)
    assert np.isnan(agreement)
    assert count == 0


def test_agreement_falls_with_distance_at_keypoints_of_the_source() -> None:
    [one] = frames = [people(1)]
    moved = [[one._replace(keypoints=one.keypoints + np.float32(shift))] for shift in (1, 4, 16)]
    agreements = [mean_agreement(frames, other)[0] for other in moved]
    assert agreements == sorted(agreements, reverse=True)
    assert agreements[0] > 0.9
    assert agreements[-1] < 0.5
    holes = one.keypoints.copy()
    holes[0, ::2] = np.nan
    assert mean_agreement([one._replace(keypoints=holes)], frames)[0] == pytest.approx(1)
    assert mean_agreement([one._replace(keypoints=np.full_like(holes, np.nan))], frames)[1] == 0
