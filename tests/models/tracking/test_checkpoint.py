"""A tracker that goes on from a checkpoint gives the rows of one that never stopped."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.checkpoints import Arrays, read_arrays, write_arrays
from models.tracking import engine, tracker
from models.tracking.params import TrackParams
from models.tracking.tracker import Tracker
from models.tracking.types import TrackedPoses
from models.types import Poses
from tests.models.tracking.people import SIZE, Walker, crowds, rows_of, some

PARAMS, FRAME_S = TrackParams(), 0.04


def new(state: bytes | None = None) -> Tracker:
    return Tracker(PARAMS, SIZE, FRAME_S, state)


def chunks(poses: Poses, cuts: Sequence[int]) -> list[Poses]:
    """The rows before, between and after the frames `cuts`."""
    bounds = [0, *np.searchsorted(poses.frame, sorted(cuts)).tolist(), len(poses)]
    return [some(poses, slice(a, b)) for a, b in itertools.pairwise(bounds)]


def assert_same(found: list[TrackedPoses], expected: list[TrackedPoses]) -> None:
    for name in Poses.__dataclass_fields__:
        none = getattr(Poses.gather([]), name)
        one, other = (
            np.concatenate([none, *(getattr(each.poses, name) for each in some)]) for some in (found, expected)
        )
        np.testing.assert_array_equal(one, other, err_msg=name)
    tracks = [np.concatenate([np.empty(0, int), *(one.track for one in some)]) for some in (found, expected)]
    assert tracks[0].tolist() == tracks[1].tolist()


def resumed_at_each(parts: list[Poses], flush: bool) -> list[TrackedPoses]:
    """The rows of trackers of which each continues from the one before, which ends with provisional rows."""
    found: list[TrackedPoses] = []
    pushed, state = 0, None
    for part in parts:
        one = new(state)
        found += one.push(part) + (one.flush() if flush else [])
        pushed += len(part)
        state, from_frame = one.checkpoint(), one.undecided_from()
        given = sum(len(each.track) for each in found)
        assert state == one.checkpoint()
        provisional = one.finish()
        assert given + sum(len(each.track) for each in provisional) == pushed
        frames = [int(each.poses.frame[0]) for each in provisional[:1]]
        assert frames == ([] if from_frame is None else [from_frame])
    return found + new(state).finish()


@settings(max_examples=40)
@given(crowds(), st.lists(st.integers(0, 130), max_size=6), st.sampled_from([1, 40, 8192]), st.booleans())
def test_checkpoints_do_not_change_the_rows(poses: Poses, cuts: list[int], block: int, flush: bool) -> None:
    whole = new()
    expected = whole.push(poses) + whole.finish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_BLOCK", block)
        assert_same(resumed_at_each(chunks(poses, cuts), flush), expected)


def test_a_checkpoint_after_every_frame() -> None:
    walkers = [Walker(100, velocity=(120, 0), hidden=((40, 50),)), Walker(400, velocity=(-130, 0), y=108)]
    poses, _ = rows_of(walkers, 60, noise_px=2)
    whole = new()
    expected = whole.push(poses) + whole.finish()
    assert_same(resumed_at_each(chunks(poses, range(60)), flush=True), expected)


def test_the_old_object_goes_on_as_if_there_was_no_checkpoint() -> None:
    poses, _ = rows_of([Walker(100, velocity=(120, 0)), Walker(400, velocity=(-130, 0), y=108)], 75, noise_px=2)
    whole, observed = new(), new()
    expected = whole.push(poses) + whole.finish()
    found = []
    for part in chunks(poses, range(0, 75, 5)):
        found += observed.push(part)
        observed.checkpoint()
    assert_same(found + observed.finish(), expected)


def test_a_checkpoint_before_the_first_row() -> None:
    poses, _ = rows_of([Walker(100)], 30)
    one, whole = new(new().checkpoint()), new()
    assert one.undecided_from() is None
    assert_same(one.push(poses) + one.finish(), whole.push(poses) + whole.finish())


def test_the_size_does_not_grow_with_the_recording() -> None:
    """100 kB for each of the people in view, at 25 frames per second."""
    sizes = []
    one = new()
    for minute in range(3):
        poses, _ = rows_of([Walker(100), Walker(500)], 1500, noise_px=2)
        frame = poses.frame + 1500 * minute
        moved = Poses(frame, poses.person, frame / 25, poses.scores, poses.keypoints, poses.keypoint_scores)
        one.push(moved)
        one.flush()
        sizes.append(len(one.checkpoint()))
    assert max(sizes) < 1.1 * min(sizes) < 200_000


# Bytes that are refused


def checkpoint() -> bytes:
    walkers = [Walker(100, velocity=(120, 0), hidden=((20, 35),)), Walker(400, velocity=(-130, 0), y=108)]
    one = new()
    one.push(rows_of(walkers, 75, noise_px=2)[0])
    one.flush()
    return one.checkpoint()


@pytest.mark.parametrize(
    "arguments", [(TrackParams(min_rows=4), SIZE, FRAME_S), (PARAMS, (640, 481), FRAME_S), (PARAMS, SIZE, None)]
)
def test_a_checkpoint_with_other_arguments_is_refused(arguments: tuple[TrackParams, tuple[int, int], float]) -> None:
    with pytest.raises(ValueError, match="other parameters or another version"):
        Tracker(*arguments, state=checkpoint())


def test_a_checkpoint_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = checkpoint()
    monkeypatch.setattr("models.tracking.params.TRACKER_VERSION", 99)
    with pytest.raises(ValueError, match="other parameters or another version"):
        new(state)


MAKER = tracker._maker(PARAMS, SIZE, FRAME_S)


def test_each_forged_number_of_a_chain_is_refused_or_harmless() -> None:
    """Each number of the chains and encounters in turn becomes another one."""
    arrays, refused = read_arrays(checkpoint(), MAKER, tracker._LAYOUT), 0
    for number in [each for name in ("counts", "chains", "encounters") for each in numbers(arrays[name])]:
        before = number.item()
        for forged in (-1, 0, 1, 7, 100, 101) if number.dtype.kind != "f" else (np.nan, np.inf, -1.0, 1e30):
            number[...] = forged % 256 if number.dtype == np.uint8 else forged
            refused += is_refused(arrays)
        number[...] = before
    assert refused > 100


def numbers(array: NDArray) -> Iterator[NDArray]:
    """Yield a view of each number of an array, of structured ones, too."""
    if array.dtype.names:
        for name in array.dtype.names:
            yield from numbers(array[name])
    else:
        yield from (array[(*at, ...)] for at in np.ndindex(array.shape))


@settings(max_examples=60)
@given(st.data())
def test_numbers_that_do_not_fit_are_refused_or_harmless(data: st.DataObject) -> None:
    arrays = read_arrays(checkpoint(), MAKER, tracker._LAYOUT)
    forge(arrays[data.draw(st.sampled_from(sorted(arrays)))], data)
    is_refused(arrays)


def is_refused(arrays: Arrays) -> bool:
    """Return whether a forged checkpoint gives ValueError. If not, the later rows have tracks, right or wrong."""
    later = rows_of([Walker(300), Walker(100)], 150, noise_px=2)[0]
    try:
        one = new(write_arrays(MAKER, arrays))
        given = one.push(some(later, later.frame >= 75)) + one.finish()
    except ValueError:
        return True
    assert sum(len(each.track) for each in given) >= 150
    return False


def forge(array: NDArray, data: st.DataObject) -> None:
    """Replace a number."""
    flat = array.reshape(-1)
    if not len(flat):
        return
    at = data.draw(st.integers(0, len(flat) - 1))
    if flat.dtype.names:
        forge(flat[at : at + 1][data.draw(st.sampled_from(flat.dtype.names))], data)
    elif flat.dtype.kind == "f":
        flat[at] = data.draw(st.sampled_from([np.nan, np.inf, -1.0, 0.0, 1e30]))
    else:
        flat[at] = data.draw(st.sampled_from([-1, 0, 1, 2, 7, 100])) % 256
