"""The presets of a fine-tuning, their bounds, and their JSON."""

import dataclasses

import pytest

from models.car_classifier.params import PRESETS, FinetuneError, FinetuneParams


def test_the_presets_are_the_three_experiments() -> None:
    one, two, three = map(FinetuneParams.preset, PRESETS)
    assert (one.backbone, one.shares, one.own_splits, one.dropout) == ("resnet50", (0.5, 0.3, 0.2), False, 0.0)
    assert two == dataclasses.replace(one, own_splits=True)
    assert three == dataclasses.replace(two, dropout=0.3)
    assert dataclasses.replace(three, batch_size=128, dense=(64,)).batch_size == 128


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backbone", "vgg16"),
        ("optimizer", "lion"),
        ("class_weights", "heavy"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("batch_size", 1025),
        ("seed", -1),
        ("dropout", 0.95),
        ("unfrozen_blocks", 17),
        ("augment", 1),
        ("dense", (0,)),
        ("dense", (8, 8, 8, 8, 8)),
        ("shares", (0.5, 0.3, 0.3)),
        ("shares", (0.5, 0.5, 0.0)),
    ],
)
def test_a_value_out_of_bounds_is_named(name: str, value: object) -> None:
    with pytest.raises(FinetuneError, match=f"^(The )?{name} (is|are) .*(should|Give)"):
        FinetuneParams(**{name: value})  # type: ignore[arg-type]


def test_the_smaller_backbone_has_fewer_blocks() -> None:
    assert FinetuneParams(backbone="mobilenet_0_25", unfrozen_blocks=13).unfrozen_blocks == 13
    with pytest.raises(FinetuneError, match="0 to 13"):
        FinetuneParams(backbone="mobilenet_0_25", unfrozen_blocks=14)


def test_params_survive_json() -> None:
    params = FinetuneParams(dense=(64, 16), augment=True, learning_rate=1e-4, shares=(0.6, 0.2, 0.2))
    assert FinetuneParams.from_json(params.to_json()) == params
    assert FinetuneParams.from_json("{}") == FinetuneParams()


@pytest.mark.parametrize("text", ["", "[1]", '{"speed": 1}', '{"epochs": "10"}', '{"dense": 3}'])
def test_invalid_parameters_are_refused(text: str) -> None:
    with pytest.raises(FinetuneError, match=r"Give|should be"):
        FinetuneParams.from_json(text)
