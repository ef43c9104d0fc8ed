"""Specs: flat values and back, defaults, bounds by pydantic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models.spec import Option, Overrides, Parameter, build, complaints, flatten, parameters


@dataclass(frozen=True)
class Network:
    """Parameters that another spec overrides."""

    rate: Annotated[float, Option("Step size.", gt=0, le=1)] = 0.5
    widths: Annotated[tuple[Annotated[int, Option("", ge=1, le=8)], ...], Option("Widths.", max_length=3)] = ()
    augment: Annotated[bool, Option("Augment.")] = False
    internal: int = 7


@dataclass(frozen=True)
class Place:
    folder: Annotated[Path | None, Option("Folder.", place="folder", when_empty="none")] = None
    kind: Annotated[Literal["a", "b"], Option("Kind.")] = "a"


@dataclass(frozen=True)
class Job:
    """Every kind of parameter. `threshold` is for programs."""

    name: Annotated[str, Option("Name.", pattern="^[a-z]+$", max_length=5)]
    place: Place = field(default=Place())
    labels: Annotated[tuple[str, ...], Option("Labels.", separator=",")] = ()
    several: Annotated[tuple[str, ...] | None, Option("Several.", flags="--other")] = None
    limit: Annotated[int | None, Option("Limit.", ge=1)] = None
    overrides: Annotated[Mapping[str, Any], Overrides(Network, "the network's")] = field(default_factory=dict)
    threshold: float = 0.25


NAMES = ["name", "folder", "kind", "labels", "several", "limit", "rate", "widths", "augment"]
words = st.text("abcde", min_size=1, max_size=5)
networks = st.fixed_dictionaries(
    {},
    optional={
        "rate": st.floats(0.01, 1),
        "widths": st.lists(st.integers(1, 8), max_size=3).map(tuple),
        "augment": st.booleans(),
    },
)
jobs = st.builds(
    Job,
    words,
    st.builds(Place, st.none() | words.map(Path), st.sampled_from(["a", "b"])),
    st.lists(words).map(tuple),
    st.none() | st.lists(words).map(tuple),
    st.none() | st.integers(1),
    networks,
)


def test_parameters_are_flat_and_in_order() -> None:
    assert list(parameters(Job)) == NAMES


@given(jobs)
@settings(max_examples=50)
def test_flat_values_survive_a_round_trip(job: Job) -> None:
    flat = flatten(job)
    assert set(flat) <= set(NAMES)
    assert build(Job, flat) == job


@given(jobs)
@settings(max_examples=50)
def test_flat_values_are_json_that_the_form_accepts(job: Job) -> None:
    flat = flatten(job)
    admitted = {
        name: TypeAdapter(parameters(Job)[name].form_annotation).validate_json(TypeAdapter(Any).dump_json(value))
        for name, value in flat.items()
    }
    assert build(Job, admitted) == job


def test_omitted_values_have_their_default() -> None:
    assert build(Job, {"name": "a"}) == Job("a")
    assert build(Job, {"name": "a", "rate": None, "folder": "", "labels": ""}) == Job("a")
    with pytest.raises(KeyError):
        build(Job, {})


def test_a_form_shows_its_defaults() -> None:
    shown = {name: each.form_default for name, each in parameters(Job).items() if not each.required}
    assert shown == {
        "folder": "", "kind": "a", "labels": "", "several": None, "limit": None,
        "rate": None, "widths": None, "augment": None,
    }  # fmt: skip


def test_a_home_folder_is_expanded() -> None:
    assert build(Place, {"folder": "~/pictures"}).folder == Path.home() / "pictures"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rate", 0), ("rate", 1.5), ("rate", float("nan")), ("widths", [9]), ("widths", [1, 1, 1, 1]),
        ("name", "A"), ("name", "abcdef"), ("kind", "c"), ("limit", 0), ("limit", 1.5), ("folder", None),
    ],
)  # fmt: skip
def test_a_form_refuses_values_out_of_bounds(name: str, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(parameters(Job)[name].form_annotation).validate_python(wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"rate": True}, {"rate": "0.5"}, {"widths": (0,)}, {"widths": 3}, {"augment": 1}],
    ids=str,
)
def test_values_out_of_bounds_are_named(wrong: dict[str, Any]) -> None:
    [name] = wrong
    [complaint] = complaints(Network(**wrong))
    assert complaint.startswith(f"{name} is {wrong[name]!r}. ")
    assert list(complaints(Network())) == []


def test_names_are_spelled_as_on_the_command_line() -> None:
    spelled = {name: each.flag for name, each in parameters(Job).items()}
    assert (spelled["several"], spelled["limit"]) == ("--other", "--limit")
    assert Parameter("frames_per_second", int, Option(""), 1).flag == "--frames-per-second"
