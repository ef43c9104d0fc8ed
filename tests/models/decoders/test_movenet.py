"""MoveNet's decoder: equality with the plain reference on any output, speed, and refusals."""

import dataclasses
import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.decoders.movenet import MULTI_SHAPE, SINGLE_SHAPE, MoveNetParams, decode_movenet
from models.types import NightjarError
from tests.models import reference_movenet

PARAMS = MoveNetParams(192, 320)
values = st.one_of(
    st.floats(-0.5, 1.5, width=32),
    st.sampled_from([0.0, 0.25, np.float32(0.3), 0.5, 1.0]),  # thresholds and ties
)
thresholds = st.sampled_from([0.0, 0.1, 0.25, 0.3, 1.0])


@given(
    output=st.one_of(
        arrays(np.float32, MULTI_SHAPE, elements=values), arrays(np.float32, SINGLE_SHAPE, elements=values)
    ),
    pose=thresholds,
    keypoint=thresholds,
)
def test_people_equal_those_of_the_plain_reference(output: NDArray[np.float32], pose: float, keypoint: float) -> None:
    params = dataclasses.replace(PARAMS, pose_score_threshold=pose, keypoint_score_threshold=keypoint)
    found = decode_movenet({"people": output}, params)
    expected = reference_movenet.people(output, params)
    if output.size == 51 and expected and abs(expected[0][0] - pose) < 1e-6:
        return  # a mean of float32 values may fall on either side of the threshold
    assert len(found.scores) == len(expected)
    for index, (score, keypoints) in enumerate(expected):
        assert found.scores[index] == pytest.approx(score, rel=1e-5, abs=1e-6)
        for k, place in enumerate(keypoints):
            got = [*found.keypoints[index, k], found.keypoint_scores[index, k]]
            assert np.isnan(got).all() if place is None else got == pytest.approx(place, rel=1e-5, abs=1e-4)
    assert found.scores.dtype == found.keypoints.dtype == found.keypoint_scores.dtype == np.float32


def test_the_outputs_are_not_modified() -> None:
    """The memory belongs to the device, which writes the next frame's people to it."""
    output = np.full(MULTI_SHAPE, 0.9, np.float32)
    found = decode_movenet({"people": output}, PARAMS)
    found.keypoints[:] = 0
    found.keypoint_scores[:] = 0
    found.scores[:] = 0
    assert (output == np.float32(0.9)).all()


def test_six_people_are_decoded_in_less_than_50_microseconds() -> None:
    output = {"people": np.random.default_rng(0).uniform(0.3, 1, MULTI_SHAPE).astype(np.float32)}
    assert len(decode_movenet(output, PARAMS).scores) == 6
    assert min(timeit.repeat(lambda: decode_movenet(output, PARAMS), number=50, repeat=60)) / 50 < 50e-6


def test_an_output_of_another_shape_is_refused() -> None:
    for shape in ((1, 6, 55), (1, 17, 3, 1, 2), ()):
        with pytest.raises(NightjarError, match="Convert the model again"):
            decode_movenet({"people": np.zeros(shape, np.float32)}, PARAMS)


@pytest.mark.parametrize(
    "wrong", [{"pose_score_threshold": 1.1}, {"keypoint_score_threshold": -0.1}, {"height_px": 0}, {"width_px": -32}]
)
def test_invalid_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(PARAMS, **wrong)
