"""Motion of tracks, compared with a plain reference and scipy, and its mathematical properties."""

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from models.motion import held
from models.motion.motion import motion_of
from models.motion.params import MotionParams
from models.motion.types import MotionRows
from models.tracking.types import TrackedPoses
from models.types import KEYPOINT_NAMES
from tests.models.motion import reference
from tests.models.motion.tracks import STANDING, cut, joined, one_track, part, random_tracks, tracked

COLUMNS = [field.name for field in dataclasses.fields(MotionRows)]
MEASURES = COLUMNS[4:]
ANGLES = [name for name in COLUMNS if name.endswith("_angle_deg")]
SEEDS = st.integers(0, 2**32 - 1)
AS_THEY_ARE = MotionParams(outlier_window_s=0, smoothing_window_s=0)
LEFT_KNEE, NOSE = KEYPOINT_NAMES.index("left_knee"), 0


def motion(rows: TrackedPoses, params: MotionParams | None = None, frame_s: float | None = None) -> MotionRows:
    return joined(list(motion_of([rows], params or MotionParams(), frame_s)))


def assert_same(found: MotionRows, expected: MotionRows, names: list[str] = COLUMNS) -> None:
    """Check that both are bit-identical."""
    for name in names:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def params_of(rng: np.random.Generator) -> MotionParams:
    """Parameters that cut, keep and smooth more and less, or not at all."""
    return MotionParams(
        lowest_keypoint_score=float(rng.choice([0, 0.3])),
        fill_gap_s=float(rng.choice([0.02, 0.2, 0.6])),
        outlier_window_s=float(rng.choice([0, 0.31, 0.7])),
        outlier_deviations=float(rng.choice([2, 3.5])),
        smoothing_window_s=float(rng.choice([0, 0.23, 0.5])),
        body_window_s=float(rng.choice([0, 1.1])),
    )


def walk(rng: np.random.Generator, frames: int, fps: float = 30.0) -> tuple[NDArray, NDArray]:
    """(keypoints, t_s) of a person walking to the right with swinging limbs, with noise of a pixel."""
    t_s = np.arange(frames) / fps
    swing = 12 * np.sin(6 * t_s[:, None] + np.arange(17))
    points = STANDING + np.stack([90 * t_s[:, None] + swing, 0.3 * swing], axis=-1)
    return points + rng.normal(0, 1, points.shape), t_s


# Against other computations


@given(SEEDS)
@settings(max_examples=15)
def test_motion_equals_a_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, params = random_tracks(rng, int(rng.integers(1, 40)), int(rng.integers(1, 4))), params_of(rng)
    frame_s = [None, 0.1][int(rng.integers(2))]
    expected = reference.motion(rows, params, frame_s)
    found = motion(rows, params, frame_s)
    assert list(zip(found.frame.tolist(), found.track.tolist(), strict=True)) == list(expected)
    for name in MEASURES if expected else ():
        values = np.array([row[name] for row in expected.values()])
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-6, atol=2e-5, err_msg=name)
    assert found.filled.tolist() == [row["filled"] for row in expected.values()]
    np.testing.assert_allclose(found.t_s, [row["t_s"] for row in expected.values()], atol=1e-12)


@pytest.mark.parametrize(("fps", "window_s", "points"), [(30, 0.3, 9), (25, 0.4, 11), (10, 0.4, 5), (60, 0.25, 15)])
def test_at_a_constant_rate_it_is_the_filter_of_savitzky_and_golay(fps: float, window_s: float, points: int) -> None:
    keypoints, t_s = walk(np.random.default_rng(1), 50, fps)
    rows = one_track(keypoints, t_s)
    found = motion(rows, MotionParams(outlier_window_s=0, smoothing_window_s=window_s))
    raw = rows.poses.keypoints.astype(float)
    np.testing.assert_allclose(found.keypoints, savgol_filter(raw, points, 2, axis=0, mode="interp"), atol=1e-6)


@pytest.mark.parametrize("fps", [2.0, 12.5, 30.0])
def test_velocity_is_the_gradient_of_the_smoothed_centre(fps: float) -> None:
    """As numpy and `movement` compute it from the rows' own columns, at uneven times."""
    rng = np.random.default_rng(2)
    keypoints, t_s = walk(rng, 60, fps)
    t_s += rng.uniform(-0.2, 0.2, 60) / fps
    found = motion(one_track(keypoints, t_s), frame_s=1 / fps)
    hips = found.keypoints[:, [KEYPOINT_NAMES.index("left_hip"), KEYPOINT_NAMES.index("right_hip")]].mean(axis=1)
    np.testing.assert_allclose(np.stack([found.centre_x_px, found.centre_y_px], axis=1), hips, atol=1e-9)
    velocity = np.gradient(hips, t_s, axis=0)
    np.testing.assert_allclose(found.speed_px_per_s, np.hypot(*velocity.T), atol=1e-6)
    np.testing.assert_allclose(found.vertical_velocity_px_per_s, velocity[:, 1], atol=1e-6)


def test_a_constant_velocity_is_found_exactly_and_downwards_is_positive() -> None:
    t_s = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.06, 80))
    falling = STANDING + t_s[:, None, None] * (30, 40)
    found = motion(one_track(falling, t_s))
    np.testing.assert_allclose(found.speed_px_per_s, 50, atol=2e-3)  # poses are float32
    np.testing.assert_allclose(found.vertical_velocity_px_per_s, 40, atol=2e-3)


# Properties


@given(SEEDS, st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=15)
def test_the_rows_do_not_depend_on_the_chunks(seed: int, starts: list[int]) -> None:
    """Bit-identical in the smallest possible blocks and in one block."""
    rng = np.random.default_rng(seed)
    rows, params = random_tracks(rng, int(rng.integers(1, 300)), int(rng.integers(1, 4))), params_of(rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "_BLOCK_ROWS", 10**9)
        whole = motion(rows, params)
        patch.setattr(held, "_CHUNK_ROWS", 1)
        patch.setattr(held, "_BLOCK_ROWS", 1)
        patch.setattr(held, "_LEAST_SHARE", 0.0)
        parts = list(motion_of(cut(rows, starts), params))
    assert_same(joined(parts), whole)


def test_long_tracks_are_computed_in_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would compare one block with itself."""
    monkeypatch.setattr(held, "_CHUNK_ROWS", 1)
    monkeypatch.setattr(held, "_BLOCK_ROWS", 1)
    monkeypatch.setattr(held, "_LEAST_SHARE", 0.0)
    parts = list(motion_of([random_tracks(np.random.default_rng(5), 400, 2)], MotionParams()))
    assert len(parts) > 50
    order = joined(parts)
    assert sorted(zip(order.frame, order.track, strict=True)) == list(zip(order.frame, order.track, strict=True))


@given(SEEDS)
@settings(max_examples=10)
def test_it_follows_shifts_scales_and_mirrors(seed: int) -> None:
    """All by powers of two, so that float32 holds the moved poses exactly."""
    rng = np.random.default_rng(seed)
    rows, params = random_tracks(rng, 40, 2), params_of(rng)
    poses = rows.poses
    rounded = dataclasses.replace(poses, keypoints=(np.round(poses.keypoints * 64) / 64).astype(np.float32))
    plain = motion(TrackedPoses(rounded, rows.track), params)
    factor, shift = np.array([-4, 4], np.float32), np.array([1024, -512], np.float32)
    moved = dataclasses.replace(rounded, keypoints=rounded.keypoints * factor + shift)
    found = motion(TrackedPoses(moved, rows.track), params)
    np.testing.assert_allclose(found.keypoints, plain.keypoints * factor + shift, atol=1e-6)
    np.testing.assert_allclose(found.centre_x_px, -4 * plain.centre_x_px + 1024, atol=1e-6)
    for name in ("box_height_px", "speed_px_per_s", "vertical_velocity_px_per_s"):
        np.testing.assert_allclose(getattr(found, name), 4 * getattr(plain, name), atol=1e-5, err_msg=name)
    for name in ("speed_body_lengths_per_s", *ANGLES):
        np.testing.assert_allclose(getattr(found, name), getattr(plain, name), atol=1e-4, err_msg=name)


@given(SEEDS, st.floats(0.61, 100))
@settings(max_examples=10)
def test_nothing_crosses_a_gap_that_is_too_long(seed: int, gap_s: float) -> None:
    """The rows before it are those of a track that ends there, and those after it of one that begins there."""
    rng = np.random.default_rng(seed)
    keypoints, t_s = walk(rng, 60)
    t_s, frame = t_s + gap_s * (np.arange(60) >= 30), np.arange(60) + 20 * (np.arange(60) >= 30)
    rows, params = one_track(keypoints, t_s, frame), MotionParams(fill_gap_s=0.6)
    before, after = part(rows, slice(0, 30)), part(rows, slice(30, 60))
    assert_same(motion(rows, params), joined([motion(before, params), motion(after, params)]))


@given(SEEDS)
@settings(max_examples=10)
def test_found_keypoints_and_poses_stay(seed: int) -> None:
    """Each keypoint that was found has a place, and each pose its row, exactly once."""
    rng = np.random.default_rng(seed)
    rows, params = random_tracks(rng, 80, 3), params_of(rng)
    found = motion(rows, params)
    place = {key: row for row, key in enumerate(zip(found.frame.tolist(), found.track.tolist(), strict=True))}
    assert len(place) == len(found)
    own = np.flatnonzero(rows.track > 0)
    at = [place[key] for key in zip(rows.poses.frame[own].tolist(), rows.track[own].tolist(), strict=True)]
    sure = rows.poses.keypoint_scores[own] >= params.lowest_keypoint_score
    assert np.isfinite(found.keypoints[at][sure]).all()
    assert found.filled.sum() == len(found) - len(own)
    assert not found.filled[at].any()


# Gaps, frames and times


def without(rows: TrackedPoses, frames: list[int], track: int = 1) -> TrackedPoses:
    return part(rows, ~(np.isin(rows.poses.frame, frames) & (rows.track == track)))


def test_a_gap_of_a_track_is_filled_with_rows() -> None:
    t_s = np.arange(20) / 10
    straight = STANDING + 100 * t_s[:, None, None]
    found = motion(without(one_track(straight, t_s), [7, 8, 9]), AS_THEY_ARE)
    assert found.frame.tolist() == list(range(20))
    assert np.flatnonzero(found.filled).tolist() == [7, 8, 9]
    np.testing.assert_allclose(found.t_s, t_s)
    np.testing.assert_allclose(found.keypoints, straight, atol=1e-4)
    np.testing.assert_allclose(found.speed_px_per_s, 100 * np.sqrt(2), atol=1e-2)


def test_a_longer_gap_stays_empty() -> None:
    t_s = np.arange(20) / 10
    found = motion(without(one_track(np.tile(STANDING, (20, 1, 1)), t_s), [7, 8, 9, 10, 11]), AS_THEY_ARE)
    assert found.frame.tolist() == [*range(7), *range(12, 20)]


def test_filled_rows_have_the_times_of_frames_in_which_others_were_seen() -> None:
    t_s = np.array([0, 0.1, 0.15, 0.3, 0.4])
    both = tracked(np.repeat(np.arange(5), 2), np.repeat(t_s, 2), np.tile([1, 0], 5), np.tile(STANDING, (10, 1, 1)))
    found = motion(without(both, [2]), AS_THEY_ARE)
    assert found.t_s.tolist() == t_s.tolist()
    assert found.filled.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("step", [1, 3, 30])
def test_frames_skipped_by_sampling_are_no_gap(step: int) -> None:
    """One processed frame of `step`, at 30 frames per second, one of them without a detection."""
    frame = np.arange(0, 40 * step, step)
    frame = frame[frame != 20 * step]
    rows = one_track(np.tile(STANDING, (39, 1, 1)), frame / 30, frame)
    found = motion(rows, MotionParams(fill_gap_s=2.0), frame_s=step / 30)
    assert found.frame.tolist() == list(range(0, 40 * step, step))
    assert np.flatnonzero(found.filled).tolist() == [20]


def test_one_frame_per_second_has_velocities() -> None:
    t_s = np.arange(10.0)
    found = motion(one_track(STANDING + 30 * t_s[:, None, None], t_s, np.arange(10) * 25), frame_s=1.0)
    np.testing.assert_allclose(found.speed_px_per_s, 30 * np.sqrt(2), atol=1e-3)
    assert not found.filled.any()


def test_a_keypoint_that_vanishes_for_some_frames_comes_back() -> None:
    keypoints, t_s = walk(np.random.default_rng(4), 40)
    gone = keypoints.copy()
    gone[10, LEFT_KNEE] = gone[20:23, LEFT_KNEE] = gone[:, NOSE] = gone[38:, 9] = np.nan
    found, whole = motion(one_track(gone, t_s)), motion(one_track(keypoints, t_s))
    assert np.isfinite(found.left_knee_angle_deg).all()
    assert np.abs(found.keypoints[:, LEFT_KNEE] - whole.keypoints[:, LEFT_KNEE]).max() < 3
    assert np.isnan(found.keypoints[:, NOSE]).all()
    assert np.isnan(found.left_elbow_angle_deg).tolist() == [False] * 38 + [True] * 2
    assert_same(found, whole, ["speed_px_per_s", "trunk_angle_deg", "right_knee_angle_deg"])


def test_uncertain_keypoints_count_as_not_found() -> None:
    scores = np.full((10, 17), 0.9)
    scores[:, LEFT_KNEE] = 0.1
    rows = tracked(np.arange(10), np.arange(10) / 10, np.ones(10), np.tile(STANDING, (10, 1, 1)), scores)
    found = motion(rows, MotionParams(lowest_keypoint_score=0.2))
    assert np.isnan(found.left_knee_angle_deg).all()
    assert np.isfinite(found.right_knee_angle_deg).all()


def test_an_outlier_is_replaced_and_its_neighbours_stay() -> None:
    keypoints, t_s = walk(np.random.default_rng(6), 40)
    bad = keypoints.copy()
    bad[[0, 15, 39], LEFT_KNEE] += (150, -80)
    params = MotionParams(smoothing_window_s=0)
    found, whole = motion(one_track(bad, t_s), params), motion(one_track(keypoints, t_s), params)
    assert np.abs(found.keypoints - whole.keypoints).max() < 20
    others = np.setdiff1d(np.arange(40), [0, 15, 39])
    np.testing.assert_array_equal(found.keypoints[others], whole.keypoints[others])


def test_tracks_of_one_and_two_frames() -> None:
    rows = tracked(np.array([0, 0, 1]), np.array([0, 0, 0.1]), np.array([1, 2, 2]), np.tile(STANDING, (3, 1, 1)))
    found = motion(rows)
    assert np.isnan(found.speed_px_per_s).tolist() == [True, False, False]
    assert np.isfinite(found.trunk_angle_deg).all()
    assert np.abs(found.keypoints - STANDING).max() < 1e-5


def test_repeated_timestamps_give_no_infinite_speed() -> None:
    keypoints, t_s = walk(np.random.default_rng(7), 60)
    t_s[20:24] = t_s[20]
    found = motion(one_track(keypoints, t_s))
    assert np.isfinite(found.keypoints).all()
    assert np.nanmax(found.speed_px_per_s) < 1000
    assert np.isnan(found.speed_px_per_s).sum() == 2  # the frames in the middle of four have no other time beside them


@pytest.mark.parametrize("broken", [lambda t: t - 5.0 * (t > 1), lambda t: np.where(t > 1, np.nan, t)])
def test_descending_or_nan_times_end_a_piece(broken: Callable) -> None:
    keypoints, t_s = walk(np.random.default_rng(8), 60)
    rows = one_track(keypoints, broken(t_s))
    first = int((t_s <= 1).sum())
    found = motion(rows)
    assert len(found) == 60
    assert_same(motion(part(rows, slice(0, first))), MotionRows(*(getattr(found, n)[:first] for n in COLUMNS)))


def test_equal_timestamps_need_little_memory() -> None:
    rows = one_track(np.tile(STANDING, (12_000, 1, 1)), np.zeros(12_000))
    parts = list(motion_of(cut(rows, list(range(0, 12_000, 500))), MotionParams()))
    assert sum(len(each) for each in parts) == 12_000
    assert len(parts) > 1


def test_empty_input_and_rows_without_a_track_give_no_rows() -> None:
    nobody = tracked(np.empty(0), np.empty(0), np.empty(0), np.empty((0, 17, 2)), np.empty((0, 17)))
    assert list(motion_of([], MotionParams())) == []
    assert list(motion_of([nobody, nobody], MotionParams())) == []
    rows = tracked(np.arange(5), np.arange(5) / 10, np.zeros(5), np.tile(STANDING, (5, 1, 1)))
    assert sum(len(each) for each in motion_of([rows], MotionParams())) == 0


def test_sixty_people_in_a_frame_keep_their_own_courses() -> None:
    rng = np.random.default_rng(9)
    alone = [walk(rng, 30) for _ in range(60)]
    rows = tracked(
        np.tile(np.arange(30), 60),
        np.tile(alone[0][1], 60),
        np.repeat(np.arange(60) + 1, 30),
        np.concatenate([keypoints for keypoints, _ in alone]),
    )
    found = motion(rows)
    for track in (1, 31, 60):
        own = MotionRows(*(getattr(found, name)[found.track == track] for name in COLUMNS))
        single = one_track(*alone[track - 1])
        assert_same(own, motion(TrackedPoses(single.poses, single.track * track)))


def test_frames_that_do_not_ascend_are_refused() -> None:
    rows = one_track(np.tile(STANDING, (3, 1, 1)), np.arange(3.0))
    with pytest.raises(ValueError, match="Frame 0 comes after a later one"):
        list(motion_of([part(rows, slice(None, None, -1))], MotionParams()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "_CHUNK_ROWS", 1)
        with pytest.raises(ValueError, match="Frame 2 comes after a later one"):
            list(motion_of([rows, part(rows, slice(2, 3))], MotionParams()))


def test_two_poses_of_a_track_in_one_frame_are_refused() -> None:
    rows = tracked(np.array([4, 4]), np.zeros(2), np.array([3, 3]), np.tile(STANDING, (2, 1, 1)))
    with pytest.raises(ValueError, match=r"Track 3 has two poses in frame 4\. Give each pose its own track\."):
        list(motion_of([rows], MotionParams()))


# Speed and memory


def film(chunks: int, people: int = 3, frames: int = 400) -> Iterator[TrackedPoses]:
    """A film of the same people, who never leave."""
    points = np.tile(STANDING, (frames * people, 1, 1))
    for chunk in range(chunks):
        frame = np.repeat(np.arange(frames) + chunk * frames, people)
        yield tracked(frame, frame / 30, np.tile(np.arange(people) + 1, frames), points)


def test_memory_does_not_grow_with_the_film() -> None:
    def peak(chunks: int) -> int:
        tracemalloc.start()
        rows = sum(len(each) for each in motion_of(film(chunks), MotionParams()))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == chunks * 1200
        return highest

    assert peak(80) < 1.1 * peak(20)
