"""Wrong parameters are refused before a flow starts; the form in the UI, the command line and the spec agree."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from deployments.cli import main
from deployments.deploy import PLAN
from flows.infer_assignment import infer_assignment
from flows.nightly_batch import nightly_batch
from models.car_classifier.params import FinetuneParams, FinetuneSpec
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.demo_model.spec import TrainSpec
from models.evaluation.spec import EvaluateSpec
from models.inference.spec import BenchmarkSpec
from models.spec import Option, Parameter, parameters
from models.synthetic.frame import TEST_SET
from tasks.analysis.spec import AnalyzeSpec
from tasks.batch.spec import NightSpec


@dataclass(frozen=True)
class Agreed:
    """One definition, its form and its command. names: of the parameters, which schedules and callers contain"""

    spec: type[Any]
    command: str
    names: str


# Deployment -> definition and command. The names must not change: deployments and schedules on servers use them.
AGREED = {
    "nightly": Agreed(NightSpec, "run", "archive model segment_s dispatch overlay device precision frames_per_second"),
    "convert": Agreed(
        ConvertSpec,
        "convert",
        "name source width size precision device_target images labels scale mean std channels labelled",
    ),
    "train": Agreed(TrainSpec, "train-demo", "minutes seed steps folder"),
    "finetune": Agreed(
        FinetuneSpec,
        "finetune",
        "preset stanford devkit caltech folders backgrounds crop weights name backbone learning_rate optimizer epochs "
        "batch_size seed dropout dense unfrozen_blocks augment class_weights own_splits moving_regions tiles",
    ),
    "evaluate": Agreed(EvaluateSpec, "evaluate", "model coco images mode device limit"),
    "quantize": Agreed(QuantizeSpec, "quantize", "model archive frames name coco images max_drop device"),
    "analyze": Agreed(
        AnalyzeSpec,
        "analyze",
        "since video start_score unsure_s min_rows max_speed position_noise velocity_s short_gap_s max_gap_s "
        "look_ahead_s min_affinity lowest_keypoint_score fill_gap_s outlier_window_s outlier_deviations "
        "smoothing_window_s body_window_s smoothed_keypoints",
    ),
    "benchmark": Agreed(BenchmarkSpec, "benchmark", "models device precision seconds video"),
}
DEPLOYED = {each["name"]: each["entrypoint"] for each in yaml.safe_load(PLAN.read_text())["deployments"]}
EACH = [(name, parameter) for name in AGREED for parameter in parameters(AGREED[name].spec).values()]
each_parameter = pytest.mark.parametrize(
    ("deployment", "parameter"), EACH, ids=[f"{name} {parameter.name}" for name, parameter in EACH]
)


def form_of(deployment: str) -> dict[str, Any]:
    """The properties of the form's JSON schema on Prefect's server."""
    module, _, function = DEPLOYED[deployment].rpartition(".")
    flow: Flow[..., Any] = getattr(importlib.import_module(module), function)
    schema = parameter_schema(flow).model_dump()
    for name, entry in schema["properties"].items():
        entry["required"] = name in schema["required"]
    return schema["properties"]


def option_of(deployment: str, name: str) -> click.Parameter:
    [found] = [each for each in main.commands[AGREED[deployment].command].params if each.name == name]
    return found


def bounds_in(entry: dict[str, Any]) -> dict[str, Any]:
    """The bounds of a form's entry; if it may be None, of the other alternative."""
    kinds = [kind for kind in entry.get("anyOf", [entry]) if kind.get("type") != "null"]
    known = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems",
             "maxItems", "pattern")  # fmt: skip
    return {name: value for kind in kinds for name, value in kind.items() if name in known}


def bounds_of(parameter: Parameter) -> dict[str, Any]:
    """The same from the spec."""
    option = parameter.option
    items = get_origin(parameter.kind) is tuple and not option.separator
    length = "Items" if items else "Length"
    bounds = {
        "minimum": option.ge, "maximum": option.le, "exclusiveMinimum": option.gt, "exclusiveMaximum": option.lt,
        f"min{length}": option.min_length, f"max{length}": option.max_length, "pattern": option.pattern,
    }  # fmt: skip
    return {name: value for name, value in bounds.items() if value is not None}


def test_every_deployment_has_its_definition() -> None:
    """The deployment edge has one parameter, which a batch sets."""
    assert set(DEPLOYED) - {"edge"} == set(AGREED)


@pytest.mark.parametrize("deployment", AGREED)
def test_spec_form_and_command_line_have_the_same_parameters(deployment: str) -> None:
    """Also with the names in deployments and schedules."""
    agreed = AGREED[deployment]
    assert list(parameters(agreed.spec)) == agreed.names.split()
    assert list(form_of(deployment)) == agreed.names.split()
    assert [each.name for each in main.commands[agreed.command].params] == agreed.names.split()


@each_parameter
def test_the_form_has_the_specs_default_bounds_and_help(deployment: str, parameter: Parameter) -> None:
    entry = form_of(deployment)[parameter.name]
    assert entry["description"] == parameter.option.described
    assert entry["required"] == parameter.required
    if not parameter.required:
        assert entry["default"] == parameter.form_default
    if parameter.option.address:
        assert entry.pop("pattern").startswith("^(?!")
    assert bounds_in(entry) == bounds_of(parameter)


@each_parameter
def test_the_command_line_has_the_specs_default_bounds_and_help(deployment: str, parameter: Parameter) -> None:
    option = option_of(deployment, parameter.name)
    assert option.required == parameter.required
    if isinstance(option, click.Option):
        assert option.help == parameter.option.help
        assert parameter.required or (option.default or None) == (parameter.form_default or None)
        assert (parameter.option.when_empty or "") in (option.show_default, "")
        assert parameter.flag in option.opts
    kind, own = item_of(parameter)
    if isinstance(option.type, click.Choice):
        assert list(option.type.choices) == [value for value in get_args(kind) if value]
    if isinstance(option.type, click.IntRange | click.FloatRange):
        assert (option.type.min, option.type.max) == (own.gt if own.ge is None else own.ge, own.le)
        assert (option.type.min_open, option.type.max_open) == (own.gt is not None, False)
    assert isinstance(option.type, click.Choice) == (get_origin(kind) is Literal)
    bounded = kind in (int, float) and (own.ge, own.gt, own.le) != (None, None, None)
    assert isinstance(option.type, click.IntRange | click.FloatRange) == bounded
    assert isinstance(option.type, click.Path) == (kind is Path or bool(own.place))


def item_of(parameter: Parameter) -> tuple[Any, Option]:
    """Type and bounds of a value, or of each of several."""
    if get_origin(parameter.kind) is not tuple or parameter.option.separator:
        return parameter.kind, parameter.option
    item = get_args(parameter.kind)[0]
    return getattr(item, "__origin__", item), next(iter(getattr(item, "__metadata__", [parameter.option])))


def test_every_parameter_that_decides_a_training_can_be_overridden() -> None:
    assert set(parameters(FinetuneParams)) <= set(parameters(FinetuneSpec))


def test_seeds_of_test_sets_are_refused_for_trainings() -> None:
    highest = parameters(TrainSpec)["seed"].option.le
    assert highest is not None
    assert highest < TEST_SET


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
def test_a_night_with_wrong_parameters_does_not_start(wrong: dict[str, Any]) -> None:
    nightly_batch.validate_parameters(NIGHT)
    with pytest.raises((ParameterTypeError, TypeError)):
        nightly_batch.validate_parameters({**NIGHT, **wrong})


def test_the_servers_schema_has_bounds_choices_and_the_pattern() -> None:
    """So that the API also refuses wrong values before it creates a run."""
    night = parameter_schema(nightly_batch).properties
    assert (night["segment_s"]["minimum"], night["segment_s"]["maximum"]) == (1, 3600)
    assert set(night["dispatch"]["enum"]) == {"local", "fleet"}
    assert set(night["precision"]["enum"]) == {"f32", "bf16"}
    assignment = parameter_schema(infer_assignment).properties["assignment"]
    assert assignment["pattern"] == "^[0-9a-f]{8}-[0-9a-f]{16}$"
