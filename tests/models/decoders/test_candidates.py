"""Decoders of one-stage heads: equal to the plain reference on any output, and what is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.decoders.candidates import CandidateParams, keep_apart
from models.decoders.rtmo import RTMO_PARAMS, decode_rtmo
from models.decoders.yolo_pose import ANCHOR_PARAMS, DETECTION_PARAMS, decode_yolo_pose
from models.inference.pipeline import DECODERS
from models.types import FramePoses, NightjarError
from tests.models import reference_candidates as reference
from tests.timing import least_cpu_s

ROW = 5 + 51
scores = st.one_of(st.floats(-0.5, 1.5, width=32), st.sampled_from([0.0, 0.25, 0.3, np.float32(0.3), 0.5, 0.7, 1.0]))
# Few values, so that boxes overlap, touch, coincide and have no area or a negative one.
sides = st.one_of(st.integers(-2, 12).map(float), st.floats(-50, 700, width=32))
params = st.builds(
    CandidateParams,
    *[st.sampled_from([0.0, 0.25, 0.3, 0.7, 1.0])] * 3,
    max_candidates=st.sampled_from([1, 3, 3000]),
    max_people=st.sampled_from([1, 2, 300]),
)


@st.composite
def rows(draw: st.DrawFn) -> NDArray[np.float32]:
    """(n, 56): four values of a box, score, keypoints."""
    count = draw(st.integers(0, 12))
    boxes = draw(arrays(np.float32, (count, 4), elements=sides))
    sure = draw(arrays(np.float32, (count, 1), elements=scores))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    points = random.uniform(-50, 700, (count, 17, 3))
    points[:, :, 2] = random.choice([-0.1, 0.0, 0.25, 0.3, 0.5, 0.7, 1.0], (count, 17))
    return np.hstack([boxes, sure, points.reshape(count, 51).astype(np.float32)])


def assert_same(found: FramePoses, expected: list[reference.Person]) -> None:
    assert found.scores.tolist() == [person.score for person in expected]
    for keypoints, sure, person in zip(found.keypoints, found.keypoint_scores, expected, strict=True):
        for place, score, known in zip(keypoints.tolist(), sure.tolist(), person.keypoints, strict=True):
            got = [*place, score]
            assert np.isnan(got).all() if known is None else tuple(got) == known
    assert found.scores.dtype == found.keypoints.dtype == found.keypoint_scores.dtype == np.float32
    assert found.keypoints.shape[1:] == (17, 2)
    assert found.keypoint_scores.shape[1:] == (17,)


@given(rows(), params)
def test_anchors_are_read_as_by_the_plain_reference(values: NDArray[np.float32], chosen: CandidateParams) -> None:
    output = np.ascontiguousarray(values.T)[None]
    assert_same(decode_yolo_pose({"anchors": output}, chosen), reference.people(reference.of_anchors(output), chosen))


@given(rows(), params)
def test_detections_are_read_as_by_the_plain_reference(values: NDArray[np.float32], chosen: CandidateParams) -> None:
    output = np.insert(values, 5, 0, axis=1)[None]
    assert_same(
        decode_yolo_pose({"detections": output}, chosen), reference.people(reference.of_detections(output), chosen)
    )


@given(rows(), params)
def test_rtmo_is_read_as_by_the_plain_reference(values: NDArray[np.float32], chosen: CandidateParams) -> None:
    dets, keypoints = values[None, :, :5], values[:, 5:].reshape(1, -1, 17, 3)
    found = decode_rtmo({"dets": dets, "keypoints": keypoints}, chosen)
    assert_same(found, reference.people(reference.of_rtmo(dets, keypoints), chosen))


@given(rows())
def test_suppressing_twice_changes_nothing(values: NDArray[np.float32]) -> None:
    """A graph that has suppressed with the same threshold already is read as it is."""
    boxes = values[:, :4]
    kept = keep_apart(boxes, RTMO_PARAMS)
    assert keep_apart(boxes[kept], RTMO_PARAMS).tolist() == list(range(len(kept)))


def crowd(count: int, seed: int = 0) -> NDArray[np.float32]:
    """(1, 56, 8400) anchors of 640x640, of which `count` people have eight sure ones each."""
    random = np.random.default_rng(seed)
    output = random.uniform(0, 640, (1, ROW, 8400)).astype(np.float32)
    output[0, 2:4], output[0, 4] = (40.0,), 0.01
    for person in range(count):
        places = slice(8 * person, 8 * person + 8)
        output[0, :2, places] = random.uniform(50, 590, (2, 1)) + random.uniform(-2, 2, (2, 8))
        output[0, 2:4, places] = [[60], [160]]
        output[0, 4, places] = random.uniform(0.3, 0.9, 8)
    return output


def test_a_frame_of_five_people_takes_milliseconds() -> None:
    """Measured: 0.2 ms. Suppression that compared all candidates with each other would take a second."""
    outputs = {"anchors": crowd(5)}
    assert len(decode_yolo_pose(outputs, ANCHOR_PARAMS).scores) == 5
    assert least_cpu_s(lambda: decode_yolo_pose(outputs, ANCHOR_PARAMS), 100) < 5e-3


def test_thousands_of_unsure_candidates_are_bounded() -> None:
    """As an evaluation asks for them, with a threshold of 0."""
    output = np.random.default_rng(1).uniform(0, 1, (1, ROW, 8400)).astype(np.float32)
    output[0, :4] *= 640
    unsure = dataclasses.replace(ANCHOR_PARAMS, pose_score_threshold=0.0, keypoint_score_threshold=0.0)
    assert len(decode_yolo_pose({"anchors": output}, unsure).scores) == unsure.max_people
    assert least_cpu_s(lambda: decode_yolo_pose({"anchors": output}, unsure), 5) < 1


@pytest.mark.parametrize("name", ["anchors", "detections"])
def test_the_outputs_memory_is_left_alone(name: str) -> None:
    """It belongs to the device, which writes the next frame's people there."""
    output = np.full((1, ROW, 4) if name == "anchors" else (1, 4, ROW + 1), 0.9, np.float32)
    found = decode_yolo_pose({name: output}, DETECTION_PARAMS)
    assert len(found.scores) == 4
    for array in found:
        array[:] = 0
    assert (output == np.float32(0.9)).all()
    dets, keypoints = np.full((1, 4, 5), 0.9, np.float32), np.full((1, 4, 17, 3), 0.9, np.float32)
    for array in decode_rtmo({"dets": dets, "keypoints": keypoints}, RTMO_PARAMS):
        array[:] = 0
    assert (dets == np.float32(0.9)).all()
    assert (keypoints == np.float32(0.9)).all()


def zeros(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("decoder", "outputs"),
    [
        ("yolo-pose", zeros(anchors=(1, 57, 8400))),
        ("yolo-pose", zeros(anchors=(2, 56, 10))),
        ("yolo-pose", zeros(detections=(1, 300, 56))),
        ("yolo-pose", zeros(output0=(1, 56, 10))),
        ("yolo-pose", zeros(anchors=(56,))),
        ("yolo-pose", {}),
        ("rtmo", zeros(dets=(1, 3, 5))),
        ("rtmo", zeros(dets=(1, 3, 5), keypoints=(1, 2, 17, 3))),
        ("rtmo", zeros(dets=(1, 3, 6), keypoints=(1, 3, 17, 3))),
        ("rtmo", zeros(dets=(3, 5), keypoints=(3, 17, 3))),
    ],
)
def test_outputs_of_other_shapes_are_refused(decoder: str, outputs: dict[str, Any]) -> None:
    read = DECODERS[decoder](dataclasses.asdict(ANCHOR_PARAMS))
    with pytest.raises(NightjarError, match="Convert the model again"):
        read([outputs])


@pytest.mark.parametrize(
    "wrong",
    [
        {"pose_score_threshold": 1.1},
        {"keypoint_score_threshold": -0.1},
        {"iou_threshold": float("nan")},
        {"max_candidates": 0},
        {"max_people": -1},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(ANCHOR_PARAMS, **wrong)
