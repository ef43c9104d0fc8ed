"""The model that the project ships: it is small, whole, and as accurate as its card says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
from models.decoders.posenet import cell_origin_px
from models.demo_model.accuracy import SEVERAL, SINGLE, Accuracy, measure, render_test_set
from models.inference.runtime import OpenVinoRuntime

FOLDER = Path(__file__).parents[3] / "models/data/posenet-demo"
LARGEST_BYTES = 1_500_000
FRAMES = 500
TOLERANCE = 0.01
PCK_ASKED_FOR = 0.95  # reached; of AP 0.60 and AP50 0.85, asked for too, the card says how far off they are
MEASURES = ("ap", "ap50", "pck_box")


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, Any]]:
    """training/accuracy.json beside the model: what was measured when it was made, by TensorFlow."""
    return json.loads((FOLDER / "training/accuracy.json").read_text())


# The seeds by which an earlier recipe was judged, and those that show that it was not bent towards them.
SETS = ["held out", pytest.param("never looked at", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=SETS)
def seeds(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def found(seeds: str, said: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Accuracy:
    """The product's accuracy on the same frames: through the converted model and OpenVINO."""
    folder = tmp_path_factory.mktemp("posenet-demo")
    manifest = convert(FOLDER / "model.json", ConvertSpec("posenet-demo"), folder)
    assert manifest.decode_params["origin_px"] == cell_origin_px(224)
    runtime = OpenVinoRuntime(folder, manifest)

    def infer(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        rows = []
        for image in images:
            runtime.start(0, image[None])
            rows.append({name: values.copy() for name, values in runtime.wait(0).items()})
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    sets = zip(said[seeds]["seeds"], (SEVERAL, SINGLE), strict=True)
    return measure(infer, *(render_test_set(seed, FRAMES, 224, scene) for seed, scene in sets))


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.bin")) <= LARGEST_BYTES


@pytest.mark.slow
def test_its_keypoints_are_as_right_as_was_asked_for(found: Accuracy) -> None:
    assert found.frames == 2 * FRAMES
    assert found.pck_box >= PCK_ASKED_FOR


@pytest.mark.parametrize("name", MEASURES)
def test_its_accuracy_is_what_its_card_says(
    name: str, seeds: str, said: dict[str, dict[str, Any]], found: Accuracy
) -> None:
    """A change of decoder, renderer, reader or conversion would show."""
    assert getattr(found, name) == pytest.approx(said[seeds][name], abs=TOLERANCE)
