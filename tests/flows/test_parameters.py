"""Parameters are refused before a flow begins, and the form in the UI knows their bounds."""

from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from flows.infer_assignment import infer_assignment
from flows.nightly_batch import nightly_batch

NIGHT = {"archive": "/videos", "model": "posenet-075"}


GOOD_ASSIGNMENT = "01234567-89abcdef01234567"


@pytest.mark.parametrize(
    "assignment",
    [
        "",
        "0123456789abcdef01234567",
        "01234567-89abcdef0123456",
        "01234567-89abcdef012345678",
        "01234567-89ABCDEF01234567",
        f"{GOOD_ASSIGNMENT}/",
        f"{GOOD_ASSIGNMENT}\n",
        f"../{GOOD_ASSIGNMENT}",
        "'; DROP --",
    ],
)
def test_an_assignment_has_eight_and_sixteen_hexadecimal_digits(assignment: str) -> None:
    with pytest.raises(ParameterTypeError):
        infer_assignment.validate_parameters({"assignment": assignment})
    infer_assignment.validate_parameters({"assignment": GOOD_ASSIGNMENT})


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
