"""Parameters are refused before a flow begins, and the form in the UI knows their bounds."""

from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from flows.infer_assignment import infer_assignment
from flows.nightly_batch import nightly_batch

NIGHT = {"archive": "/videos", "model": "posenet-075"}


@pytest.mark.parametrize(
    "assignment",
    [
        "",
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789ABCDEF",
        "../../../etc/ab",
        "0123456789abcde/",
        "'; DROP --",
    ],
)
def test_an_assignment_is_sixteen_hexadecimal_digits(assignment: str) -> None:
    with pytest.raises(ParameterTypeError):
        infer_assignment.validate_parameters({"assignment": assignment})
    infer_assignment.validate_parameters({"assignment": "0123456789abcdef"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"archive": ""},
        {"model": ""},
        {"segment_s": 0},
        {"segment_s": 3601},
        {"segment_s": "many"},
        {"dispatch": "somewhere"},
        {"overlay": "always"},
        {"precision": "f64"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_night_with_wrong_parameters_does_not_begin(wrong: dict[str, Any]) -> None:
    nightly_batch.validate_parameters(NIGHT)
    with pytest.raises((ParameterTypeError, TypeError)):
        nightly_batch.validate_parameters({**NIGHT, **wrong})


def test_the_servers_schema_has_bounds_choices_and_the_pattern() -> None:
    """So that the API refuses them, too, before a run is made."""
    night = parameter_schema(nightly_batch).properties
    assert (night["segment_s"]["minimum"], night["segment_s"]["maximum"]) == (1, 3600)
    assert set(night["dispatch"]["enum"]) == {"local", "fleet"}
    assert set(night["precision"]["enum"]) == {"f32", "bf16"}
    assignment = parameter_schema(infer_assignment).properties["assignment"]
    assert assignment["pattern"] == "^[0-9a-f]{8}-[0-9a-f]{16}$"
