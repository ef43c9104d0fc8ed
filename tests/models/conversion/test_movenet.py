"""MoveNet's conversion: what it computes, its sizes, what is refused, and its accuracy on COCO's images."""

from pathlib import Path

import numpy as np
import pytest

from models.conversion import parity
from models.conversion.convert import convert
from models.conversion.movenet_graph import with_float_input
from models.conversion.parity import Reference, run_tensorflow
from models.conversion.sources import load_source
from models.conversion.spec import ConvertSpec
from models.evaluation.coco_file import read_coco
from models.evaluation.protocol import Figures, evaluate, plan_evaluation
from models.evaluation.spec import Mode
from models.heavy.tensorflow import tf
from models.inference.runtime import OpenVinoRuntime
from models.inference.scaling import ScalingRequest
from models.inference.sizes import InputSize
from models.manifest import MANIFEST_FILE, XML_FILE, ConversionError, Manifest
from tests.models.conftest import Converted

IMAGES = "coco_mini/train2017"
ANNOTATIONS = "coco_mini/annotations"


@pytest.fixture(scope="module")
def converted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Converted]:
    """Each model at its own size, and multipose at 320 and at 192x320 (name and size), made once."""
    folder, made = tmp_path_factory.mktemp("movenet"), {}
    for name, size in (
        ("lightning", ""),
        ("thunder", ""),
        ("multipose", ""),
        ("multipose", "320"),
        ("multipose", "192x320"),
    ):
        key = f"{name} {size}".strip()
        spec = ConvertSpec(f"movenet-{name}", size=size, images=data / IMAGES)
        made[key] = Converted(folder / key, convert(data / "movenet" / name, spec, folder / key))
    return made


def figures(data: Path, model: Converted, mode: Mode) -> Figures:
    annotations = next((data / ANNOTATIONS).glob("*.json"))
    runtime = OpenVinoRuntime(model.folder, model.manifest)
    plan = plan_evaluation(read_coco(annotations, data / IMAGES), model.manifest, runtime, mode, None)
    return evaluate(plan, runtime).figures


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "mode", "least_ap", "least_oks"),
    [
        ("multipose", "multi", 0.20, 0.365),
        ("multipose 320", "multi", 0.235, 0.40),
        ("thunder", "single", 0.70, 0.82),
        ("lightning", "single", 0.55, 0.75),
    ],
)
def test_the_accuracy_on_cocos_images(
    data: Path, converted: dict[str, Converted], name: str, mode: Mode, least_ap: float, least_oks: float
) -> None:
    found = figures(data, converted[name], mode)
    assert found.ap is not None
    assert found.ap >= least_ap
    assert found.mean_oks >= least_oks


@pytest.mark.real_data
def test_the_manifest_says_how_the_model_is_fed_and_read(converted: dict[str, Converted]) -> None:
    for key, size, resize, shape in (
        ("lightning", (192, 192), "stretch", (1, 1, 17, 3)),
        ("thunder", (256, 256), "stretch", (1, 1, 17, 3)),
        ("multipose", (256, 256), "fit", (1, 6, 56)),
        ("multipose 192x320", (192, 320), "fit", (1, 6, 56)),
    ):
        model = converted[key]
        manifest = Manifest.from_json((model.folder / MANIFEST_FILE).read_text())
        assert manifest == model.manifest
        assert (manifest.task, manifest.decoder, manifest.outputs) == ("pose", "movenet", {"people": shape})
        given = manifest.input
        assert (given.shape, given.resize, given.mean, given.scale) == ((1, *size, 3), resize, 0, 1)
        assert [manifest.decode_params[side] for side in ("height_px", "width_px")] == list(size)
        assert manifest.parity.mean_abs["people"] < 1e-4
        assert manifest.parity.mean_abs["people"] < manifest.parity.bound["people"]
        assert not manifest.stick.fit
        assert "opset11" in manifest.stick.reason
        assert 'element_type="u8"' in (model.folder / XML_FILE).read_text()


@pytest.mark.real_data
def test_each_size_is_a_version_of_its_own(converted: dict[str, Converted]) -> None:
    assert len({model.manifest.version_id for model in converted.values()}) == len(converted)


@pytest.mark.real_data
def test_a_multiple_of_32_is_taken_and_another_size_refused(data: Path) -> None:
    source = data / "movenet/multipose"
    assert load_source(source, width=None, size=InputSize(96, 160)).size == (96, 160)
    for size, near in ((InputSize(300, 300), "288"), (InputSize(192, 330), "192x320"), (InputSize(40, 256), "32x256")):
        with pytest.raises(ConversionError, match=rf"multiples of 32\. Give --size {near}\.$"):
            load_source(source, width=None, size=size)
    with pytest.raises(ConversionError, match="fixed to input size 192, but --size is 256"):
        load_source(data / "movenet/lightning", width=None, size=InputSize(256, 256))


@pytest.mark.real_data
def test_pixels_are_not_scaled(data: Path, tmp_path: Path) -> None:
    for scaling in (ScalingRequest("-1..1"), ScalingRequest(channels="BGR"), ScalingRequest(mean="10")):
        with pytest.raises(ConversionError, match="takes the pixels as they are, as whole numbers"):
            convert(data / "movenet/lightning", ConvertSpec("m", scaling=scaling), tmp_path / "out")


@pytest.mark.real_data
def test_an_ir_that_differs_from_its_source_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By 2 % of the input, where 1 % is allowed of FP16."""
    from models.conversion import convert as conversion

    def run(*args: object) -> Reference:
        found = run_tensorflow(*args)
        return Reference(found.images, found.tensors, [{"people": o["people"] + 0.02} for o in found.outputs])

    monkeypatch.setattr(conversion, "run_tensorflow", run)
    monkeypatch.setitem(parity._MOVENET_BOUNDS, "FP32", 1.0)
    with pytest.raises(
        ConversionError, match=r"Output people of the IR differs .* by 0.02 on average, and the bound is 0.01"
    ):
        convert(data / "movenet/lightning", ConvertSpec("m"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_computes_with_whole_numbers_is_refused() -> None:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.int32, [1, 8, 8, 3], name="image")
        tf.identity(image + 1, name="out")
    with pytest.raises(ConversionError, match=r"AddV2 .* computes with them"):
        with_float_input(graph.as_graph_def())


def test_an_integer_input_becomes_one_of_floats_also_behind_its_other_names() -> None:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [1, 2, 2, 3], name="image")
        tf.identity(tf.cast(tf.identity(image), tf.float32) / 255, name="out")
    ready, whole = with_float_input(graph.as_graph_def())
    assert whole
    with tf.Graph().as_default() as again:
        tf.import_graph_def(ready, name="")
        pixels = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) * 20
        with tf.compat.v1.Session(graph=again) as session:
            np.testing.assert_allclose(session.run("out:0", {"image:0": pixels}), pixels / 255)
