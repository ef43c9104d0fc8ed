"""The shipped model: it is small, complete, and as accurate as its card says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
from models.decoders.posenet import cell_origin_px
from models.demo_model.accuracy import SEVERAL, SINGLE, Accuracy, Infer, measure, render_test_set
from models.inference.runtime import OpenVinoRuntime

FOLDER = Path(__file__).parents[3] / "models/data/posenet-demo"
LARGEST_BYTES = 1_500_000
FRAMES = 500
TOLERANCE = 0.01
PCK_ASKED_FOR = 0.95  # reached; the targets AP 0.60 and AP50 0.85 are missed, as the card says
MEASURES = ("ap", "ap50", "pck_box")


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, Any]]:
    """training/accuracy.json next to the model: TensorFlow's figures at the end of the training."""
    return json.loads((FOLDER / "training/accuracy.json").read_text())


# The seeds that evaluated an earlier recipe, and unseen ones that show that it was not fitted to them.
SETS = ["held out", "never looked at"]
FEW_FRAMES, FEW_AP, FEW_PCK = 40, 0.5502, 0.9113  # of the set "held out", as measured when this test was written


@pytest.fixture(scope="module", params=SETS)
def seeds(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def infer(tmp_path_factory: pytest.TempPathFactory) -> Infer:
    """Inference as in the product: through the converted model and OpenVINO."""
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

    return infer


def measured(infer: Infer, seeds: list[int], frames: int) -> Accuracy:
    """The accuracy on this many frames of both kinds. Rendering takes most of the time."""
    sets = zip(seeds, (SEVERAL, SINGLE), strict=True)
    return measure(infer, *(render_test_set(seed, frames, 224, scene) for seed, scene in sets))


@pytest.fixture(scope="module")
def found(infer: Infer, seeds: str, said: dict[str, dict[str, Any]]) -> Accuracy:
    """The accuracy on the frames of the card."""
    return measured(infer, said[seeds]["seeds"], FRAMES)


def test_the_shipped_model_finds_people_on_a_few_frames(infer: Infer, said: dict[str, dict[str, Any]]) -> None:
    few = measured(infer, said[SETS[0]]["seeds"], FEW_FRAMES)
    assert few.frames == 2 * FEW_FRAMES
    assert few.ap == pytest.approx(FEW_AP, abs=TOLERANCE)
    assert few.pck_box == pytest.approx(FEW_PCK, abs=TOLERANCE)


def test_the_shipped_model_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.bin")) <= LARGEST_BYTES


@pytest.mark.slow
def test_the_shipped_model_reaches_the_target_accuracy(found: Accuracy) -> None:
    assert found.frames == 2 * FRAMES
    assert found.pck_box >= PCK_ASKED_FOR


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURES)
def test_the_shipped_models_accuracy_equals_its_card(
    name: str, seeds: str, said: dict[str, dict[str, Any]], found: Accuracy
) -> None:
    """A change of decoder, renderer, reader or conversion would change the figures."""
    assert getattr(found, name) == pytest.approx(said[seeds][name], abs=TOLERANCE)
