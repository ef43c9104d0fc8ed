"""PoseNet's decoder: compared with the plain one, on known scenes, on random outputs, and its speed."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.decoders.posenet import DecodeParams, cell_origin_px, decode_frames, decode_poses
from models.types import FramePoses
from tests.models.posenet_scenes import crowd, make_outputs, noise, standing_people
from tests.models.reference_posenet import decode_poses_plainly
from tests.timing import times_as_fast

Outputs = dict[str, NDArray[np.float32]]
CELLS = (14, 14)
EVERYTHING = DecodeParams(keypoint_score_threshold=0, pose_score_threshold=0)


def assert_same(found: FramePoses, expected: FramePoses) -> None:
    for name in FramePoses._fields:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=name)


any_params = st.builds(
    DecodeParams,
    mode=st.sampled_from(["multi", "multi", "multi", "multi", "multi", "single"]),
    root_score_threshold=st.sampled_from([0.5, 0.3, 0.8]),
    nms_radius_px=st.sampled_from([20.0, 2.0, 60.0]),
    keypoint_score_threshold=st.sampled_from([0.0, 0.3, 0.8]),
    pose_score_threshold=st.sampled_from([0.0, 0.0, 0.0, 0.3]),
    max_people=st.sampled_from([30, 3, 1]),
    origin_px=st.sampled_from([0, 15]),
)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 9)


@settings(max_examples=400)
@given(seed=seeds, height=sides, width=sides, logit_mean=st.sampled_from([0.0, -2.0, -4.0, -9.0]), params=any_params)
def test_fast_equals_plain_on_noise(
    seed: int, height: int, width: int, logit_mean: float, params: DecodeParams
) -> None:
    outputs = noise(seed, (height, width), logit_mean)
    assert_same(decode_poses(outputs, params), decode_poses_plainly(outputs, params))


@settings(max_examples=150)
@given(seed=seeds, count=st.integers(0, 4), height=st.integers(9, 15), width=st.integers(9, 15), params=any_params)
def test_fast_equals_plain_on_scenes(seed: int, count: int, height: int, width: int, params: DecodeParams) -> None:
    outputs = make_outputs(standing_people(count, (height, width), seed), (height, width))
    assert_same(decode_poses(outputs, params), decode_poses_plainly(outputs, params))


@settings(max_examples=200)
@given(seed=seeds, counts=st.lists(st.integers(0, 4), min_size=1, max_size=9), params=any_params)
def test_frames_together_give_what_each_gives_alone_bit_for_bit(
    seed: int, counts: list[int], params: DecodeParams
) -> None:
    """Frames with and without people, and every other one of noise."""
    cells = (seed % 9 + 1, seed % 7 + 1)
    scenes = [make_outputs(standing_people(count, cells, seed % 1000 + count), cells) for count in counts]
    scenes[1::2] = [noise(seed + number, cells, -3.0) for number in range(len(scenes[1::2]))]
    together = decode_frames(scenes, params)
    for found, scene in zip(together, scenes, strict=True):
        for mine, alone in zip(found, decode_poses(scene, params), strict=True):
            np.testing.assert_array_equal(mine, alone, strict=True)


HALVES = np.array([8, -8, 24, -24, 40, 0, 1e-9, -1e-9, 1e30, -1e30], np.float32)


@settings(max_examples=150)
@given(seed=seeds, height=sides, width=sides, params=any_params)
def test_positions_halfway_between_cells_are_rounded_as_published(
    seed: int, height: int, width: int, params: DecodeParams
) -> None:
    """Offsets and displacements that end exactly halfway, or the smallest step before or behind it."""
    outputs = noise(seed, (height, width), logit_mean=0)
    rng = np.random.default_rng(seed)
    for name in ("offset_2", "displacement_fwd_2", "displacement_bwd_2"):
        chosen = rng.choice(HALVES, outputs[name].shape)
        towards = rng.choice(np.array([-np.inf, 0, np.inf], np.float32), chosen.shape)
        outputs[name] = np.where(towards == 0, chosen, np.nextafter(chosen, towards))
    found, expected = decode_poses(outputs, params), decode_poses_plainly(outputs, params)
    assert_same(found, expected)


@settings(max_examples=150)
@given(seed=seeds, levels=st.integers(1, 3), params=any_params)
def test_equal_scores_are_taken_in_scan_order(seed: int, levels: int, params: DecodeParams) -> None:
    outputs = noise(seed, (5, 6))
    outputs["heatmap"] = np.floor(outputs["heatmap"] % levels) + 0.5  # plateaus: nearly every score is equal to others
    assert_same(decode_poses(outputs, params), decode_poses_plainly(outputs, params))


@settings(max_examples=150)
@given(seed=seeds, params=any_params, share=st.sampled_from([0.05, 0.001, 0.3, 1.0]))
def test_values_that_are_not_finite_are_ignored(seed: int, params: DecodeParams, share: float) -> None:
    rng = np.random.default_rng(seed)
    outputs = noise(seed, (6, 5), logit_mean=0)
    for array in outputs.values():
        hit = np.asarray(rng.random(array.shape) < share)
        array[hit] = rng.choice([np.nan, np.inf, -np.inf], hit.sum())
    found = decode_poses(outputs, params)
    assert_same(found, decode_poses_plainly(outputs, params))
    assert np.isfinite(found.scores).all()
    assert not np.isinf(found.keypoints).any()


def test_fast_equals_plain_in_a_crowd() -> None:
    outputs = make_outputs(crowd(30, (33, 33)), (33, 33))
    params = DecodeParams(max_people=40)
    found = decode_poses(outputs, params)
    assert_same(found, decode_poses_plainly(outputs, params))
    assert len(found.scores) > 20


@pytest.mark.parametrize("cells", [(14, 14), (12, 20), (20, 12)])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_people_are_decoded_within_a_pixel(count: int, cells: tuple[int, int]) -> None:
    people = standing_people(count, cells, seed=count)
    found = decode_poses(make_outputs(people, cells), DecodeParams())
    assert found.keypoints.shape == (count, 17, 2)
    left_to_right = np.argsort(found.keypoints[:, 0, 0])
    np.testing.assert_allclose(found.keypoints[left_to_right], people, atol=1)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("size", range(65, 400, 7))
def test_the_origin_is_that_of_four_same_padded_layers(size: int) -> None:
    """Follow one output cell back through each layer, by TensorFlow's own rule for the padding."""
    inputs = [size]
    for _ in range(4):
        inputs.append(-(-inputs[-1] // 2))
    centre = 0
    for side, out in zip(reversed(inputs[:-1]), reversed(inputs[1:]), strict=True):
        padded_before = max((out - 1) * 2 + 3 - side, 0) // 2
        centre = 2 * centre - padded_before + 1
    assert cell_origin_px(size) == centre


def test_single_mode_takes_each_maximum() -> None:
    people = standing_people(1, CELLS)
    outputs = make_outputs(people, CELLS)
    found = decode_poses(outputs, DecodeParams(mode="single"))
    np.testing.assert_allclose(found.keypoints, people, atol=1)
    empty = make_outputs(people[:0], CELLS)
    assert len(decode_poses(empty, DecodeParams(mode="single")).scores) == 0
    assert len(decode_poses(empty, dataclasses.replace(EVERYTHING, mode="single")).scores) == 1


def test_x_is_across_and_y_is_down() -> None:
    outputs = make_outputs(standing_people(1, (10, 20)), (10, 20))
    (nose, *_, ankle) = decode_poses(outputs, DecodeParams()).keypoints[0]
    assert nose == pytest.approx((160, 37), abs=10)  # the middle of 320 pixels, near the top of 160
    assert ankle[1] - nose[1] > 70


def test_uncertain_keypoints_are_nan_and_uncertain_people_omitted() -> None:
    people = standing_people(1, CELLS)
    outputs = make_outputs(people, CELLS)
    outputs["heatmap"][..., 9] = -5
    found = decode_poses(outputs, DecodeParams())
    assert np.isnan(found.keypoints[0, 9]).all()
    assert np.isnan(found.keypoint_scores[0, 9])
    assert np.isfinite(np.delete(found.keypoints[0], 9, axis=0)).all()
    outputs["heatmap"][..., 3:] = -5
    assert len(decode_poses(outputs, DecodeParams()).scores) == 0
    assert len(decode_poses(outputs, dataclasses.replace(DecodeParams(), pose_score_threshold=0.1)).scores) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("logit", [-105, -699, -701, -1e30])
def test_any_low_logit_is_a_score_of_0(logit: float) -> None:
    outputs = make_outputs(standing_people(1, CELLS), CELLS)
    outputs["heatmap"][..., 9] = logit
    found = decode_poses(outputs, EVERYTHING)
    assert found.keypoint_scores[0, 9] == 0
    assert found.scores[0] == pytest.approx(found.keypoint_scores[0].sum() / 17)


def test_max_people_keeps_the_roots_with_the_highest_scores() -> None:
    outputs = make_outputs(standing_people(3, CELLS), CELLS)
    assert len(decode_poses(outputs, DecodeParams(max_people=2)).scores) == 2


def test_batch_dimension_and_dtype_do_not_matter() -> None:
    outputs = make_outputs(standing_people(2, CELLS), CELLS)
    expected = decode_poses(outputs, DecodeParams())
    assert_same(decode_poses({name: array[0] for name, array in outputs.items()}, DecodeParams()), expected)
    doubles = {name: np.asfortranarray(array, np.float64) for name, array in outputs.items()}
    assert_same(decode_poses(doubles, DecodeParams()), expected)


def test_decoding_does_not_modify_the_outputs() -> None:
    outputs = noise(1, CELLS)
    outputs["offset_2"][3, 4] = np.nan
    before = {name: array.copy() for name, array in outputs.items()}
    decode_poses(outputs, EVERYTHING)
    for name, array in before.items():
        np.testing.assert_array_equal(outputs[name], array)


def test_params_survive_json() -> None:
    params = DecodeParams(mode="single", max_people=3, nms_radius_px=12.5)
    assert DecodeParams(**json.loads(json.dumps(dataclasses.asdict(params)))) == params


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "many"}, "mode is 'many'"),
        ({"root_score_threshold": 1.5}, "root_score_threshold is 1.5"),
        ({"pose_score_threshold": float("nan")}, "pose_score_threshold is nan"),
        ({"nms_radius_px": 0}, "nms_radius_px is 0"),
        ({"max_people": 0}, "max_people is 0"),
        ({"output_stride_px": 12}, "output_stride_px is 12. Give a power of two"),
    ],
)
def test_invalid_params_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodeParams(**wrong)  # type: ignore[arg-type]


def test_outputs_of_another_model_are_refused() -> None:
    outputs = make_outputs(standing_people(1, CELLS), CELLS)
    with pytest.raises(ValueError, match=r"not .*heatmap"):
        decode_poses({"probabilities": np.zeros((1, 2))}, DecodeParams())
    with pytest.raises(ValueError, match=r"heatmap is \(1, 14, 14, 34\), not \(h, w, 17\)"):
        decode_poses({**outputs, "heatmap": outputs["offset_2"]}, DecodeParams())
    with pytest.raises(ValueError, match="and the heatmap"):
        decode_poses({**outputs, "offset_2": outputs["offset_2"][:, :7]}, DecodeParams())
    with pytest.raises(ValueError, match="heatmap is"):
        decode_poses({**outputs, "heatmap": np.zeros((2, 14, 14, 17))}, DecodeParams())


def test_the_decoder_is_ten_times_as_fast_as_the_plain_one() -> None:
    outputs = make_outputs(standing_people(3, CELLS), CELLS)
    params = DecodeParams()
    times = times_as_fast(lambda: decode_frames([outputs], params), lambda: decode_poses_plainly(outputs, params))
    assert times > 10, f"only {times:.1f} times as fast as the plain one"
