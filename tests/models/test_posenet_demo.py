"""The model that the project ships: it is small, whole, and as accurate as its card says."""

import json
from pathlib import Path

import pytest

from models.evaluate import SEVERAL, SINGLE, Accuracy, measure, render_test_set
from models.posenet_infer import posenet_from_tfjs

FOLDER = Path(__file__).parents[2] / "models/data/posenet-demo"
LARGEST_BYTES = 1_500_000
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, float]]:
    """training/accuracy.json beside the model: what was measured when it was made, on a large and a small test set."""
    return json.loads((FOLDER / "training/accuracy.json").read_text())


@pytest.fixture(scope="module")
def found(said: dict[str, dict[str, float]]) -> Accuracy:
    frames = int(said["small"]["frames"]) // 2
    infer = posenet_from_tfjs(FOLDER / "model.json", 224)
    return measure(infer, render_test_set(1, frames, 224, SEVERAL), render_test_set(2, frames, 224, SINGLE))


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.bin")) <= LARGEST_BYTES


@pytest.mark.parametrize("measure_name", ["ap", "ap50", "pck_box"])
def test_its_accuracy_has_not_dropped(measure_name: str, said: dict, found: Accuracy) -> None:
    """By more than 0.02 against the same frames when it was made: a change of decoder, renderer or reader would."""
    assert getattr(found, measure_name) >= said["small"][measure_name] - TOLERANCE


def test_the_small_test_set_is_like_the_large_one(said: dict) -> None:
    assert said["large"]["frames"] >= 1000
    assert abs(said["small"]["ap"] - said["large"]["ap"]) < 0.1
