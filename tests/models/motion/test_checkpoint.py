"""Motion that goes on from a checkpoint has the rows of one that never stopped."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoints import read_arrays, write_arrays
from models.motion import held, motion
from models.motion.motion import Motion, motion_of
from models.motion.params import MotionParams
from models.motion.types import MotionRows
from models.tracking.params import TrackParams
from models.tracking.tracker import Tracker, track_poses
from models.tracking.types import TrackedPoses
from tests.models.motion.tracks import STANDING, cut, joined, part, random_tracks, tracked
from tests.models.tracking.people import SIZE, Walker, rows_of

PARAMS, FRAME_S = MotionParams(), 0.05
COLUMNS = [field.name for field in dataclasses.fields(MotionRows)]


def new(state: bytes | None = None) -> Motion:
    return Motion(PARAMS, FRAME_S, state)


def uncut(rows: TrackedPoses) -> list[MotionRows]:
    whole = new()
    return whole.push(rows) + whole.finish()


def resumed_at_each(parts: list[TrackedPoses], flush: bool) -> list[MotionRows]:
    """The rows of objects of which each continues from the one before, which ends with provisional rows."""
    found: list[MotionRows] = []
    state = None
    for each in parts:
        one = new(state)
        found += one.push(each) + (one.flush() if flush else [])
        state, from_frame = one.checkpoint(), one.undecided_from()
        assert state == one.checkpoint()
        final, provisional = np.concatenate([[], *(some.frame for some in found)]), one.finish()
        assert not len(final) or from_frame is None or final.max() < from_frame
        assert all(from_frame is not None and some.frame.min() >= from_frame for some in provisional if len(some))
    return found + new(state).finish()


def assert_same(found: list[MotionRows], expected: list[MotionRows]) -> None:
    assert sum(map(len, found)) == sum(map(len, expected))
    for name in COLUMNS if any(map(len, expected)) else ():
        np.testing.assert_array_equal(getattr(joined(found), name), getattr(joined(expected), name), err_msg=name)


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 10**6), max_size=5), st.booleans(), st.booleans())
def test_checkpoints_do_not_change_the_rows(seed: int, cuts: list[int], small: bool, flush: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = random_tracks(rng, 200, 2)
    rows.poses.t_s[rows.poses.frame >= rng.integers(0, 500)] -= rng.choice([0.0, 3.0])
    expected = uncut(rows)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(held, "_CHUNK_ROWS", 30)
            patch.setattr(held, "_BLOCK_ROWS", 30)
            patch.setattr(held, "_LEAST_SHARE", 0.0)
        assert_same(resumed_at_each(cut(rows, cuts), flush), expected)


def test_a_checkpoint_after_every_frame() -> None:
    rows = random_tracks(np.random.default_rng(3), 60, 2)
    assert_same(resumed_at_each(cut(rows, list(range(60))), flush=True), uncut(rows))


def test_a_gap_between_two_files_is_filled() -> None:
    """The provisional rows of the first file end before the gap; the rows in it belong to the frames that follow."""
    frame = np.array([*range(20), *range(23, 40)])
    rows = tracked(frame, frame * FRAME_S, np.ones(37), STANDING + 3.0 * frame[:, None, None])
    first, second = part(rows, frame < 20), part(rows, frame >= 23)
    one = new()
    assert not one.push(first)
    other = new(one.checkpoint())
    assert joined(one.finish()).frame.tolist() == list(range(20))
    given = joined(other.push(second) + other.finish())
    assert given.frame.tolist() == list(range(40))
    assert np.flatnonzero(given.filled).tolist() == [20, 21, 22]


def test_a_checkpoint_before_the_first_row() -> None:
    rows = random_tracks(np.random.default_rng(4), 30, 1)
    one = new(new().checkpoint())
    assert one.undecided_from() is None
    assert_same(one.push(rows) + one.finish(), uncut(rows))


def test_the_size_does_not_grow_with_the_recording() -> None:
    """100 kB for each of the people in view, at 25 frames per second."""
    rng, sizes, one = np.random.default_rng(5), [], new()
    for minute in range(3):
        frame = np.repeat(np.arange(1200) + 1200 * minute, 2)
        points = STANDING + rng.normal(0, 2, (2400, 17, 2))
        one.push(tracked(frame, frame / 25, np.tile([1, 2], 1200), points))
        one.flush()
        sizes.append(len(one.checkpoint()))
    assert max(sizes) < 1.1 * min(sizes) < 200_000


def test_files_that_follow_each_other_have_the_rows_of_one_film() -> None:
    """Each file replaces what the one before could not decide yet, from its first undecided frame on."""
    walkers = [Walker(100, velocity=(60, 0), hidden=((90, 110),)), Walker(400, velocity=(-50, 0), y=108), Walker(600)]
    film, _ = rows_of(walkers, 300, 25.0, noise_px=2)
    tracks = list(track_poses([film], TrackParams(), SIZE, FRAME_S))
    expected = joined(list(motion_of(tracks, PARAMS, FRAME_S)))
    stored: list[MotionRows] = []
    tracker_state = motion_state = None
    for start, stop in ((0, 100), (100, 104), (104, 250), (250, 300)):
        file = TrackedPoses(film, np.zeros(len(film), np.int32))
        poses = part(file, (film.frame >= start) & (film.frame < stop)).poses
        tracker, one = Tracker(TrackParams(), SIZE, FRAME_S, tracker_state), new(motion_state)
        undecided = one.undecided_from()
        stored = [before(rows, undecided) for rows in stored] if undecided is not None else stored
        for rows in tracker.push(poses) + tracker.flush():
            stored += one.push(rows)
        stored += one.flush()
        tracker_state, motion_state = tracker.checkpoint(), one.checkpoint()
        for rows in tracker.finish():
            stored += one.push(rows)
        stored += one.finish()
        assert joined(stored).frame.max() == stop - 1
    assert_same(stored, [expected])


def before(rows: MotionRows, frame: int) -> MotionRows:
    return MotionRows(*(getattr(rows, name)[rows.frame < frame] for name in COLUMNS))


# Bytes that are refused


@pytest.mark.parametrize("arguments", [(MotionParams(fill_gap_s=0.4), FRAME_S), (PARAMS, None)])
def test_a_checkpoint_with_other_arguments_is_refused(arguments: tuple[MotionParams, float | None]) -> None:
    with pytest.raises(ValueError, match="other parameters or another version"):
        Motion(*arguments, state=new().checkpoint())


def test_a_checkpoint_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = new().checkpoint()
    monkeypatch.setattr("models.motion.params.MOTION_VERSION", 99)
    with pytest.raises(ValueError, match="other parameters or another version"):
        new(state)


@settings(max_examples=40)
@given(st.data())
def test_numbers_that_do_not_fit_are_refused_or_harmless(data: st.DataObject) -> None:
    """A forged checkpoint gives ValueError, or wrong motion; nothing else."""
    one, maker = new(), motion._maker(PARAMS, FRAME_S)
    one.push(random_tracks(np.random.default_rng(6), 60, 2))
    arrays = read_arrays(one.checkpoint(), maker, held.LAYOUT)
    flat = arrays[data.draw(st.sampled_from(sorted(arrays)))].reshape(-1)
    kinds: dict[str, list[float]] = {"f": [np.nan, np.inf, -1.0, 1e30], "i": [-1, 0, 1, 7, 2**30]}
    flat[data.draw(st.integers(0, len(flat) - 1))] = data.draw(st.sampled_from(kinds[flat.dtype.kind]))
    later = random_tracks(np.random.default_rng(7), 60, 2)
    poses = dataclasses.replace(later.poses, frame=later.poses.frame + 1000, t_s=later.poses.t_s + 10)
    try:
        other = new(write_arrays(maker, arrays))
        given = other.push(TrackedPoses(poses, later.track)) + other.finish()
    except ValueError:
        return
    assert sum(map(len, given))
