"""Summaries of tracks against a plain computation over all rows, however the rows are cut into chunks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoints import write_arrays
from models.tracking import summary
from models.tracking.summary import MOST_BOXES, TrackSummaries, TrackSummary
from models.tracking.types import TrackedPoses
from models.types import Poses
from tests.storage.walkers import walkers

MAX_GAP_S = 1.0


def part_of(rows: TrackedPoses, start: int, stop: int) -> TrackedPoses:
    poses = rows.poses
    columns = (poses.frame, poses.person, poses.t_s, poses.scores, poses.keypoints, poses.keypoint_scores)
    return TrackedPoses(Poses(*(column[start:stop] for column in columns)), rows.track[start:stop])


def summaries(rows: TrackedPoses, cuts: list[int]) -> list[TrackSummary]:
    found, summing = [], TrackSummaries(MAX_GAP_S)
    edges = [0, *sorted(cuts), len(rows.track)]
    for start, stop in pairwise(edges):
        found += summing.add(part_of(rows, start, stop))
    return sorted(found + summing.finish())


def tracked(frames: int) -> TrackedPoses:
    """Walkers whose track changes every ten seconds; every fifth row belongs to none."""
    poses = walkers(0, frames)
    track = (poses.person + 2 * (poses.frame // 250) + 1).astype(np.int32)
    track[::5] = 0
    return TrackedPoses(poses, track)


ROWS = tracked(600)


@given(st.lists(st.integers(0, len(ROWS.track)), max_size=30))
@settings(max_examples=50)
def test_the_summaries_do_not_depend_on_the_chunks(cuts: list[int]) -> None:
    assert summaries(ROWS, cuts) == summaries(ROWS, [])


def test_a_summary_is_that_of_all_rows_of_its_track() -> None:
    found = summaries(ROWS, [100, 101, 500])
    assert [each.track for each in found] == sorted(set(ROWS.track.tolist()) - {0})
    for each in found:
        mine = np.flatnonzero(ROWS.track == each.track)
        poses = ROWS.poses
        low, high = np.fmin.reduce(poses.keypoints[mine], 1), np.fmax.reduce(poses.keypoints[mine], 1)
        assert each[1:6] == (*poses.frame[mine[[0, -1]]], *poses.t_s[mine[[0, -1]]], len(mine))
        np.testing.assert_allclose(each.mean_score, poses.scores[mine].mean(), rtol=1e-6)
        np.testing.assert_allclose(each.box, np.median(np.concatenate([low, high - low], 1), 0), rtol=1e-6)


def test_a_long_track_keeps_few_boxes_and_its_median() -> None:
    rows = walkers(0, 25 * 200, people=1)
    poses = Poses(
        rows.frame, rows.person, rows.t_s, rows.scores, rows.keypoints - rows.keypoints[:, :1], rows.keypoint_scores
    )
    one = TrackedPoses(poses, np.ones(len(poses), np.int32))
    [found] = summaries(one, list(range(0, len(poses), 97)))
    assert found.frames == len(poses) > 4 * MOST_BOXES
    low = np.fmin.reduce(poses.keypoints, 1)
    np.testing.assert_allclose(found.box[1], np.median(low[:, 1]), atol=1)


def test_a_track_is_given_out_when_it_has_ended() -> None:
    summing = TrackSummaries(MAX_GAP_S)
    poses = walkers(0, 500, people=1)
    track = np.where(poses.frame < 50, 1, 2).astype(np.int32)
    found = [summing.add(part_of(TrackedPoses(poses, track), start, start + 10)) for start in range(0, len(poses), 10)]
    assert [each.track for some in found for each in some] == [1]
    assert [each.track for each in summing.finish()] == [2]


def test_no_rows_and_no_tracks() -> None:
    assert summaries(tracked(0), []) == []
    poses = walkers(0, 10)
    assert summaries(TrackedPoses(poses, np.zeros(len(poses), np.int32)), [3]) == []


@given(st.integers(0, len(ROWS.track)))
@settings(max_examples=30)
def test_a_checkpoint_at_any_place_changes_nothing(cut: int) -> None:
    first = TrackSummaries(MAX_GAP_S)
    found = first.add(part_of(ROWS, 0, cut))
    resumed = TrackSummaries(MAX_GAP_S, first.checkpoint())
    assert resumed.open_tracks == first.open_tracks
    found += resumed.add(part_of(ROWS, cut, len(ROWS.track)))
    assert sorted(found + resumed.finish()) == summaries(ROWS, [])


def test_damaged_checkpoints_are_refused() -> None:
    summing = TrackSummaries(MAX_GAP_S)
    summing.add(part_of(ROWS, 0, 200))
    good = summing.checkpoint()
    for damaged in (b"", good[:-1], good[: len(good) // 2], b"\x80\x04N."):
        with pytest.raises(ValueError, match="checkpoint"):
            TrackSummaries(MAX_GAP_S, damaged)
    opened = np.zeros(1, summary._OPEN)
    opened["track"], opened["frames"], opened["every"], opened["boxes"] = 1, 1, 1, 2
    wrong = {"open": opened, "boxes": np.zeros((1, 4), np.float32)}
    with pytest.raises(ValueError, match="number of boxes"):
        TrackSummaries(MAX_GAP_S, write_arrays(summary._MAKER, wrong))
