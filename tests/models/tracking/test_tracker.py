"""Tracks of people with known movements: one number each, for any detector and any chunks."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.tracking import engine
from models.tracking.params import TrackParams
from models.tracking.tracker import track_poses
from models.types import FramePoses, Poses
from tests.models.tracking.people import SIZE, Walker, crowds, rows_of, some

PARAMS = TrackParams()


def track(
    poses: Poses, cuts: Sequence[int] = (), frame_s: float | None = 0.04, params: TrackParams = PARAMS
) -> NDArray:
    """Tracks of all rows, given in chunks that end before the frames `cuts`."""
    bounds = [0, *np.searchsorted(poses.frame, sorted(cuts)).tolist(), len(poses)]
    chunks = [some(poses, slice(a, b)) for a, b in itertools.pairwise(bounds)]
    given = list(track_poses(chunks, params, SIZE, frame_s))
    for name in Poses.__dataclass_fields__:
        together = np.concatenate([getattr(poses, name)[:0], *(getattr(one.poses, name) for one in given)])
        np.testing.assert_array_equal(together, getattr(poses, name))
    return np.concatenate([np.empty(0, np.int32), *(one.track for one in given)])


def assert_one_track_each(tracks: NDArray, people: NDArray) -> None:
    pairs = {*zip(people.tolist(), tracks.tolist(), strict=True)}
    assert len(pairs) == len({*people.tolist()}) == len({*tracks.tolist()}), sorted(pairs)
    assert 0 not in tracks


def test_people_who_stand_apart() -> None:
    poses, people = rows_of([Walker(100), Walker(300), Walker(500)], 50, noise_px=2)
    assert_one_track_each(track(poses), people)


def test_people_who_cross() -> None:
    walkers = [Walker(100, velocity=(120, 0)), Walker(400, velocity=(-130, 0), y=108)]
    poses, people = rows_of(walkers, 75, noise_px=2)
    assert_one_track_each(track(poses), people)


def test_a_person_hidden_behind_another() -> None:
    walkers = [Walker(100, velocity=(120, 0)), Walker(400, velocity=(-130, 0), y=108, hidden=((20, 40),))]
    poses, people = rows_of(walkers, 75, noise_px=2)
    assert_one_track_each(track(poses), people)


@pytest.mark.parametrize("fps", [2, 5, 12.5, 60])
def test_other_frame_rates(fps: float) -> None:
    walkers = [Walker(100, velocity=(100, 0)), Walker(600, velocity=(-100, 0), y=20)]
    poses, people = rows_of(walkers, round(4 * fps), fps, noise_px=2)
    assert_one_track_each(track(poses, frame_s=1 / fps), people)


def test_numbers_follow_the_first_rows() -> None:
    walkers = [Walker(100, first=20), Walker(300, first=2), Walker(500, first=10)]
    poses, people = rows_of(walkers, 60)
    tracks = track(poses)
    assert [{*tracks[people == n].tolist()} for n in (1, 2, 3)] == [{3}, {1}, {2}]


def test_a_flash_belongs_to_no_track() -> None:
    poses, people = rows_of([Walker(100), Walker(500, first=10, stop=11)], 40)
    tracks = track(poses)
    assert {*tracks[people == 1].tolist()} == {1}
    assert tracks[people == 2].tolist() == [0]


def test_a_person_who_appears_much_later_is_a_new_track() -> None:
    poses, _ = rows_of([Walker(300, hidden=((50, 50 + 25 * 60),))], 1700)
    tracks = track(poses)
    assert tracks[0] == 1
    assert tracks[-1] == 2


def nobody() -> FramePoses:
    return FramePoses(np.empty(0, np.float32), np.empty((0, 17, 2), np.float32), np.empty((0, 17), np.float32))


def test_no_rows_at_all() -> None:
    assert list(track_poses([], PARAMS, SIZE, None)) == []
    assert len(track(Poses.gather([(0, 0.0, nobody())]))) == 0


def test_one_frame() -> None:
    poses, _ = rows_of([Walker(100), Walker(300)], 1)
    assert track(poses, frame_s=None).tolist() == [0, 0]


def test_sixty_people() -> None:
    walkers = [Walker(30 + 60 * (n % 10), 10 + 75 * (n // 10), height=60) for n in range(60)]
    poses, people = rows_of(walkers, 20, noise_px=0.5)
    assert_one_track_each(track(poses), people)


def test_at_most_one_person_per_frame() -> None:
    """A model for one person, whom it loses at times, and who leaves before another one enters."""
    walkers = [
        Walker(100, velocity=(60, 0), stop=75, hidden=((20, 30), (50, 60))),
        Walker(700, velocity=(-60, 0), first=155),
    ]
    poses, people = rows_of(walkers, 240, noise_px=2)
    assert np.unique(poses.frame).tolist() == poses.frame.tolist()
    assert_one_track_each(track(poses), people)


def test_one_person_per_frame_who_is_now_one_and_now_the_other() -> None:
    """A model for one person that turns to the surer of two: each of them has one track, with gaps."""
    poses, people = rows_of([Walker(100), Walker(500)], 150, noise_px=2)
    turn = 1 + poses.frame // 20 % 2
    mine = people == turn
    assert_one_track_each(track(some(poses, mine)), people[mine])


def test_a_video_whose_size_changes_in_the_middle() -> None:
    """Rows are in one frame of reference, that of the first frames, into which the model's coordinates are scaled.

    Half of the pixels make a coarser picture: keypoints jitter by more from there on.
    """
    walkers = [Walker(100, velocity=(120, 0)), Walker(400, velocity=(-130, 0), y=108)]
    poses, people = rows_of(walkers, 75, noise_px=1)
    coarse = poses.frame >= 36
    poses.keypoints[coarse] = np.round(poses.keypoints[coarse] / 8) * 8
    assert_one_track_each(track(poses), people)


@pytest.mark.parametrize("score", [1.0, 0.3, 0.05, 0.0])
def test_equal_scores(score: float) -> None:
    poses, people = rows_of([Walker(100, velocity=(50, 0)), Walker(400)], 50)
    poses.scores[:] = score
    assert_one_track_each(track(poses), people)


def test_repeated_and_reversed_time_stamps() -> None:
    poses, people = rows_of([Walker(100, velocity=(50, 0)), Walker(400)], 50)
    poses.t_s[poses.frame == 20] = 19 / 25
    poses.t_s[poses.frame == 30] = 3 / 25
    assert_one_track_each(track(poses), people)
    poses.t_s[:] = 0.0
    assert_one_track_each(track(poses), people)


def test_a_person_without_keypoints_has_no_track() -> None:
    poses, _ = rows_of([Walker(100), Walker(400, score=0.5)], 30)
    poses.keypoints[1::2] = np.nan
    assert track(poses).tolist() == [1, 0] * 30
    poses.keypoints[:] = np.nan
    assert not track(poses).any()


@settings(max_examples=15)
@given(crowds(), st.lists(st.integers(0, 120), max_size=12), st.sampled_from([1, 40, 8192]))
def test_chunk_sizes_do_not_change_the_tracks(poses: Poses, cuts: list[int], block: int) -> None:
    whole = track(poses)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_BLOCK", block)
        assert track(poses, cuts).tolist() == whole.tolist()
        assert track(poses, range(120)).tolist() == whole.tolist()


@settings(max_examples=20)
@given(crowds())
def test_no_track_has_two_rows_of_a_frame_and_none_is_short(poses: Poses) -> None:
    tracks = track(poses)
    for number in range(1, tracks.max(initial=0) + 1):
        frames = poses.frame[tracks == number]
        assert len(np.unique(frames)) == len(frames) >= PARAMS.min_rows
    firsts = [int(np.argmax(tracks == number)) for number in range(1, tracks.max(initial=0) + 1)]
    assert firsts == sorted(firsts)


def test_two_people_who_were_seen_as_one_keep_their_numbers() -> None:
    walkers = [Walker(100, velocity=(120, 0)), Walker(400, velocity=(-120, 0), y=104, height=192)]
    poses, people = rows_of(walkers, 75, noise_px=2)
    apart = np.abs(walkers[0].x - walkers[1].x + 240 * poses.t_s)
    lost = (apart < 40) & (people == 1 + (poses.frame >= 31))  # the first, then the second of the two
    assert lost.any()
    tracks = track(some(poses, ~lost))
    before_and_after = (apart >= 40)[~lost]
    assert_one_track_each(tracks[before_and_after], people[~lost][before_and_after])
