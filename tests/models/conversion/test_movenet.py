"""MoveNet's conversion: results, sizes, refusals, and accuracy on COCO's images."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.conversion import parity
from models.conversion.convert import convert
from models.conversion.movenet_graph import with_float_input
from models.conversion.parity import Reference, run_tensorflow
from models.conversion.sources import load_source
from models.conversion.spec import ConvertSpec
from models.errors import ConversionError
from models.evaluation.coco_file import read_coco
from models.evaluation.protocol import Figures, evaluate, plan_evaluation
from models.evaluation.reference import read_reference
from models.evaluation.spec import Mode
from models.heavy.tensorflow import tf
from models.inference.runtime import OpenVinoRuntime
from models.inference.scaling import ScalingRequest
from models.inference.sizes import InputSize
from models.manifest import MANIFEST_FILE, XML_FILE, Manifest
from tests.models.conftest import Converted

IMAGES = "coco_mini/train2017"
ANNOTATIONS = "coco_mini/annotations"


@pytest.fixture(scope="module")
def converted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Converted]:
    """converted("NAME" or "NAME SIZE"): the model at its own size or at this one, converted once."""
    folder = tmp_path_factory.mktemp("movenet")

    @cache
    def once(key: str) -> Converted:
        name, _, size = key.partition(" ")
        spec = ConvertSpec(f"movenet-{name}", size=size, images=data / IMAGES)
        return Converted(folder / key, convert(data / "movenet" / name, spec, folder / key))

    return once


def figures(data: Path, model: Converted, mode: Mode) -> Figures:
    annotations = next((data / ANNOTATIONS).glob("*.json"))
    runtime = OpenVinoRuntime(model.folder, model.manifest)
    plan = plan_evaluation(read_coco(annotations, data / IMAGES), model.manifest, runtime, mode, None)
    return evaluate(plan, runtime).figures


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "size", "mode", "least_ap", "least_oks"),
    [
        ("multipose", "256", "multi", 0.20, 0.365),
        ("multipose 320", "320", "multi", 0.235, 0.40),
        ("thunder", "256", "single", 0.70, 0.82),
        ("lightning", "192", "single", 0.55, 0.75),
    ],
)
def test_accuracy_on_cocos_images(
    data: Path,
    converted: Callable[[str], Converted],
    name: str,
    size: str,
    mode: Mode,
    least_ap: float,
    least_oks: float,
) -> None:
    """At least as much as was asked for, and as `nightjar models` says."""
    found = figures(data, converted(name), mode)
    assert found.ap is not None
    assert found.ap >= least_ap
    assert found.mean_oks >= least_oks
    kind = f"movenet-{name.split()[0]}"
    [shown] = [model for model in read_reference().models if (model.model, model.size) == (kind, size)]
    expected = shown.mean_oks if mode == "multi" else shown.single_mean_oks
    assert found.mean_oks == pytest.approx(expected, abs=0.002)
    assert mode == "single" or found.ap == pytest.approx(shown.ap, abs=0.002)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("key", "size", "resize", "shape"),
    [
        ("lightning", (192, 192), "stretch", (1, 1, 17, 3)),
        pytest.param("thunder", (256, 256), "stretch", (1, 1, 17, 3), marks=pytest.mark.slow),
        pytest.param("multipose", (256, 256), "fit", (1, 6, 56), marks=pytest.mark.slow),
        ("multipose 192x320", (192, 320), "fit", (1, 6, 56)),
    ],
)
def test_the_manifest_describes_input_and_decoder(
    converted: Callable[[str], Converted], key: str, size: tuple[int, int], resize: str, shape: tuple[int, ...]
) -> None:
    model = converted(key)
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


@pytest.mark.slow
@pytest.mark.real_data
def test_each_size_is_a_separate_version(converted: Callable[[str], Converted]) -> None:
    keys = ("lightning", "thunder", "multipose", "multipose 320", "multipose 192x320")
    assert len({converted(key).manifest.version_id for key in keys}) == len(keys)


@pytest.mark.real_data
def test_only_multiples_of_32_are_accepted(data: Path) -> None:
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
    """The difference is 2 % of the input; 1 % is allowed for FP16."""
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


def test_a_graph_that_computes_with_integers_is_refused() -> None:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.int32, [1, 8, 8, 3], name="image")
        tf.identity(image + 1, name="out")
    with pytest.raises(ConversionError, match=r"AddV2 .* computes with them"):
        with_float_input(graph.as_graph_def())


def test_an_integer_input_becomes_a_float_input_under_all_its_names() -> None:
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
