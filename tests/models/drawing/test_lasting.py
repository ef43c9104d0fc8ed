"""Frames with persistent people, on generated people: a false detection in a single frame must not win."""

import numpy as np
import pytest

from models.drawing.lasting import best_frame, lasting_s
from models.types import KEYPOINTS, Poses

Row = tuple[int, float, float]  # frame, x of the left side, score


def people(rows: list[Row], fps: float = 25.0) -> Poses:
    """Bodies of 40 x 100 pixels; each row is one person in one frame."""
    frame = np.array([row[0] for row in rows], np.int64)
    x = np.array([row[1] for row in rows], np.float32)
    keypoints = np.zeros((len(rows), KEYPOINTS, 2), np.float32)
    keypoints[:, :, 0] = x[:, None] + np.linspace(0, 40, KEYPOINTS, dtype=np.float32)
    keypoints[:, :, 1] = np.linspace(0, 100, KEYPOINTS, dtype=np.float32)
    first = np.searchsorted(frame, frame)
    return Poses(
        frame=frame,
        person=(np.arange(len(rows)) - first).astype(np.int16),
        t_s=frame / fps,
        scores=np.array([row[2] for row in rows], np.float32),
        keypoints=keypoints,
        keypoint_scores=np.ones((len(rows), KEYPOINTS), np.float32),
    )


def test_a_false_detection_loses_to_a_person_who_walks_through() -> None:
    walk = [(frame, 3.0 * frame, 0.5) for frame in range(50)]
    flash = [(200, 300.0, 0.95), (200, 500.0, 0.9)]
    assert best_frame(people([*walk, *flash])) < 50


def test_two_persistent_people_win_over_one() -> None:
    rows = [(frame, 0.0, 0.9) for frame in range(100)] + [(frame, 300.0, 0.6) for frame in range(40, 80)]
    assert 40 <= best_frame(people(sorted(rows))) < 80


def test_people_are_linked_in_any_order_in_a_frame() -> None:
    """Their order is by score, which changes from frame to frame."""
    rows = [(frame, x, 0.5) for frame in range(10) for x in ((0.0, 300.0) if frame % 2 else (300.0, 0.0))]
    assert lasting_s(people(rows)) == pytest.approx([0.4] * 20)


def test_gaps_and_jumps_end_a_link() -> None:
    gap = [(frame, 0.0, 0.5) for frame in (0, 1, 2, 30, 31)]
    assert lasting_s(people(gap)) == pytest.approx([0.12, 0.12, 0.12, 0.08, 0.08])
    jump = [(0, 0.0, 0.5), (1, 0.0, 0.5), (2, 400.0, 0.5)]
    assert lasting_s(people(jump)) == pytest.approx([0.08, 0.08, 0.04])


def test_sampled_frames_follow_each_other() -> None:
    assert lasting_s(people([(frame, 0.0, 0.5) for frame in range(0, 100, 25)])) == pytest.approx([4.0] * 4)


def test_single_rows_and_rows_without_keypoints_are_accepted() -> None:
    assert best_frame(people([(7, 0.0, 0.5)])) == 7
    blind = people([(3, 0.0, 0.2), (4, 0.0, 0.9)])
    blind.keypoints[:] = np.nan
    assert best_frame(blind) == 4
