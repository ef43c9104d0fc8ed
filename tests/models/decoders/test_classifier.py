"""A classifier's output becomes the label of a frame."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decoders.classifier import ClassifyParams, classify, fits
from models.types import Classifications, FrameLabel, NightjarError

CAR = ClassifyParams(("not_car", "car"))


@pytest.mark.parametrize(
    ("value", "threshold", "expected"),
    [
        (0.75, 0.5, ("car", 0.75)),
        (0.25, 0.5, ("not_car", 0.75)),
        (0.5, 0.5, ("car", 0.5)),
        (0.75, 0.8, ("not_car", 0.25)),
    ],
)
def test_one_value_is_the_probability_of_the_second_label(value: float, threshold: float, expected: tuple) -> None:
    params = dataclasses.replace(CAR, threshold=threshold)
    assert classify({"any": np.array([[value]], np.float32)}, params) == FrameLabel(*expected)


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=9, unique=True))
def test_the_largest_of_many_values_is_the_label(values: list[float]) -> None:
    params = ClassifyParams(tuple(map(str, range(len(values)))))
    found = classify({"out": np.array([values], np.float32)}, params)
    assert found == FrameLabel(str(values.index(max(values))), max(values))


def test_an_output_that_does_not_match_the_labels_is_refused() -> None:
    with pytest.raises(NightjarError, match="3 values, which does not fit the labels not_car, car"):
        classify({"out": np.zeros((1, 3), np.float32)}, CAR)


@pytest.mark.parametrize(("value", "expected"), [(1.0005, ("car", 1.0)), (-0.0005, ("not_car", 1.0))])
def test_rounding_is_accepted_and_logits_are_refused(value: float, expected: tuple[str, float]) -> None:
    assert classify({"out": np.array([[value]], np.float32)}, CAR) == FrameLabel(*expected)
    with pytest.raises(NightjarError, match=r"is not a probability\. End the network with a sigmoid"):
        classify({"out": np.array([[4.2]], np.float32)}, CAR)


@pytest.mark.parametrize(
    "bad", [{"labels": ("one",)}, {"labels": ("a", "a")}, {"labels": ("a", "")}, {"threshold": 1.0}]
)
def test_invalid_parameters_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="Give"):
        dataclasses.replace(CAR, **bad)


def test_parameters_survive_json() -> None:
    assert ClassifyParams(**json.loads(json.dumps(dataclasses.asdict(CAR)))) == CAR


def test_rows_of_many_frames_are_built() -> None:
    rows = Classifications.gather([(3, 0.1, FrameLabel("car", 0.9)), (7, 0.2, FrameLabel("not_car", 0.6))])
    assert (rows.frame.tolist(), rows.label.tolist(), rows.t_s.tolist()) == ([3, 7], ["car", "not_car"], [0.1, 0.2])
    assert rows.scores.dtype == np.float32
    assert len(Classifications.gather([])) == 0


@pytest.mark.parametrize(
    ("labels", "values", "fit"), [(2, 1, True), (2, 2, True), (3, 3, True), (3, 1, False), (2, 3, False)]
)
def test_the_number_of_labels_follows_the_output(labels: int, values: int, fit: bool) -> None:
    assert fits(tuple("abc"[:labels]), values) is fit


def test_two_values_are_one_per_label() -> None:
    assert classify({"out": np.array([[0.7, 0.3]], np.float32)}, CAR) == FrameLabel("not_car", pytest.approx(0.7))
