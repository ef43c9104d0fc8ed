"""Segments cover a video exactly, for any keyframes and times."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inference.segments import plan_segments, sampled_frames


@st.composite
def indexes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    frames = draw(st.integers(1, 400))
    keyframes = sorted(draw(st.sets(st.integers(0, frames - 1), max_size=60)) | {0})
    gaps = draw(st.lists(st.floats(0.001, 5.0), min_size=frames, max_size=frames))
    return np.array(keyframes), np.cumsum(gaps), frames


@given(indexes(), st.floats(0.01, 500))
def test_segments_cover_the_video_and_begin_on_keyframes(index, segment_s):
    keyframes, times, frames = index
    plan = plan_segments("ab", keyframes, times, frames, segment_s)
    assert plan[0].start_frame == 0
    assert plan[-1].stop_frame == frames
    assert all(one.stop_frame == two.start_frame for one, two in itertools.pairwise(plan))
    assert all(segment.frames > 0 and segment.start_frame in keyframes for segment in plan)
    assert plan == plan_segments("ab", keyframes, times, frames, segment_s)


@given(indexes(), st.floats(0.01, 500))
def test_segment_lengths_are_bounded_by_keyframes(index, segment_s):
    keyframes, times, frames = index
    plan = plan_segments("ab", keyframes, times, frames, segment_s)
    for segment in plan[:-1]:
        inside = [key for key in keyframes if segment.start_frame < key < segment.stop_frame]
        # Ending a keyframe earlier would be farther from segment_s, so the one before the end is short of it.
        assert not inside or times[inside[-1]] - times[segment.start_frame] <= segment_s
        ends = keyframes[keyframes > segment.start_frame]
        misses = abs(times[ends] - times[segment.start_frame] - segment_s)
        chosen = abs(times[segment.stop_frame] - times[segment.start_frame] - segment_s)
        assert chosen <= misses.min() + 1e-9
    if len(plan) > 1:
        assert times[-1] - times[plan[-1].start_frame] >= segment_s / 2


def test_even_keyframes_give_even_segments_and_a_short_tail_joins_the_last():
    times = np.arange(2600) / 10
    plan = plan_segments("ab", np.arange(0, 2600, 10), times, 2600, 60.0)
    assert [(segment.start_frame, segment.stop_frame) for segment in plan] == [
        (0, 600), (600, 1200), (1200, 1800), (1800, 2600),
    ]  # fmt: skip


def test_a_single_keyframe_gives_one_segment_of_any_length():
    plan = plan_segments("ab", np.array([0]), np.arange(90_000) / 25, 90_000, 60.0)
    assert [segment.frames for segment in plan] == [90_000]


@pytest.mark.parametrize(
    ("keyframes", "frames", "segment_s"),
    [([1, 5], 10, 60.0), ([], 10, 60.0), ([0, 10], 10, 60.0), ([0], 9, 60.0), ([0], 10, 0.0), ([0], 10, float("nan"))],
)
def test_an_invalid_index_is_refused(keyframes, frames, segment_s):
    with pytest.raises(ValueError, match="Give"):
        plan_segments("ab", np.array(keyframes, np.int64), np.arange(10) / 25, frames, segment_s)


times = st.lists(st.floats(0, 100), min_size=1, max_size=300, unique=True).map(sorted).map(np.array)


@given(times, st.floats(0.01, 100))
def test_a_sample_has_one_frame_per_step_that_has_frames(timestamps_s: np.ndarray, frames_per_second: float) -> None:
    """Compared with a plain loop: a frame is processed if it is the first one of a step."""
    half_s = float(np.median(np.diff(timestamps_s))) / 2 if len(timestamps_s) > 1 else 0.0
    seen, expected = set(), []
    for number, t_s in enumerate(timestamps_s):
        step = int(np.floor((t_s - timestamps_s[0] + half_s) * frames_per_second))
        if step not in seen:
            seen.add(step)
            expected.append(number)
    assert sampled_frames(timestamps_s, frames_per_second).tolist() == expected


@pytest.mark.parametrize(("fps", "asked", "expected"), [(25, 5, 5), (30, 30, 1), (30, 60, 1), (25, 1, 25), (30, 10, 3)])
def test_a_constant_frame_rate_is_sampled_evenly(fps: int, asked: float, expected: int) -> None:
    """Also where times are rounded to milliseconds, as in Matroska."""
    exact = np.arange(1000) / fps
    for times_s in (exact, np.round(exact, 3), exact + 17.3):
        assert sampled_frames(times_s, asked).tolist() == list(range(0, 1000, expected))


def test_a_rate_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        sampled_frames(np.arange(3.0), 0)
