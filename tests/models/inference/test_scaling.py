"""The range of a model's input: by option, from each format, by labelled pictures; and the failing case."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from deployments.cli import main
from models.conversion.convert import convert
from models.conversion.own_scaling import OwnScaling, own_scaling
from models.conversion.parity import as_tensor
from models.conversion.sources import load_source
from models.conversion.spec import ConvertSpec
from models.errors import ConversionError
from models.heavy.tensorflow import keras, tf, tf_keras
from models.inference.runtime import OpenVinoRuntime
from models.inference.scaling import RANGES, Scaling, ScalingRequest, named, scaling_of
from models.manifest import InputSpec, Manifest
from tests.matrix import pairs
from tests.models.model_files import CHANNELS_100, random_variables, save_module, write_manifest_format

SIZE = 32
LABELS = ("dark", "bright")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ScalingRequest("-1..1"), Scaling(127.5, 127.5)),
        (ScalingRequest("0..1", channels="BGR"), Scaling(0, 255, "BGR")),
        (ScalingRequest("imagenet"), Scaling((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))),
        (ScalingRequest("0..1", "0.485,0.456,0.406", "0.229,0.224,0.225"), named("imagenet")),
        (ScalingRequest(mean="103.939,116.779,123.68", channels="BGR"), Scaling((103.939, 116.779, 123.68), 1, "BGR")),
        (ScalingRequest(std="255"), Scaling(0, 255)),
        (ScalingRequest("-1..1", "0", "2"), Scaling(127.5, 255)),
        (ScalingRequest(channels="BGR"), None),
        (ScalingRequest(), None),
    ],
)
def test_scaling_options_are_parsed(request_: ScalingRequest, expected: Scaling | None) -> None:
    found = request_.parse()
    assert (found is None) == (expected is None)
    if found and expected:
        np.testing.assert_allclose(found.mean, expected.mean)
        np.testing.assert_allclose(found.std, expected.std)
        assert found.color == expected.color


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ScalingRequest("0-1"), "no scale '0-1'"),
        (ScalingRequest(mean="a"), "--mean is 'a'"),
        (ScalingRequest(mean="1,2"), "Give one number, or three"),
        (ScalingRequest(mean="nan"), "Give one number, or three"),
        (ScalingRequest(std="0"), "Give positive numbers"),
        (ScalingRequest(mean="0.485,0.456,0.406", std="0.229,0.224,0.225"), "Add --scale 0..1"),
        (ScalingRequest("imagenet", mean="1"), "Leave --mean and --std out"),
        (ScalingRequest(channels="GBR"), "Give RGB or BGR"),
    ],
)
def test_invalid_scaling_options_are_refused(request_: ScalingRequest, words: str) -> None:
    with pytest.raises(ConversionError, match=words):
        request_.parse()


def test_an_invalid_scaling_is_reported_at_once(tmp_path: Path) -> None:
    words = ["convert", "k", "--source", str(tmp_path), "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "Add --scale 0..1" in result.output


# Detection


def keras_model(*first: Any, library: Any = keras) -> Any:
    library.utils.set_random_seed(3)
    layers = library.layers
    rest = [layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")]
    return library.Sequential([library.Input((SIZE, SIZE, 3)), *first, *rest])


def found_in(path: Path) -> OwnScaling | None:
    loaded = load_source(path, width=None, size=None)
    return own_scaling(loaded.graph, loaded.input, loaded.size)


FIRST: dict[str, tuple[Callable[[Any], list[Any]], Scaling | None]] = {
    "1/255": (lambda layers: [layers.Rescaling(1 / 255)], named("0..255")),
    "1/127.5 - 1": (lambda layers: [layers.Rescaling(1 / 127.5, -1)], named("0..255")),
    "per channel": (
        lambda layers: [layers.Rescaling([1 / 58.4, 1 / 57.1, 1 / 57.4], [-2.1, -2.0, -1.8])],
        named("0..255"),
    ),
    "2x - 1": (lambda layers: [layers.Rescaling(2, -1)], named("0..1")),
    "255x": (lambda layers: [layers.Rescaling(255)], named("0..1")),
    "x/2 + 1/2": (lambda layers: [layers.Rescaling(0.5, 0.5)], named("-1..1")),
    "127.5x + 127.5": (lambda layers: [layers.Rescaling(127.5, 127.5)], named("-1..1")),
    "normalization": (
        lambda layers: [layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3000.0, 2500.0])],
        named("0..255"),
    ),
    "dark films": (lambda layers: [layers.Normalization(mean=20.0, variance=225.0)], named("0..255")),
    "of 0..1": (
        lambda layers: [layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.0524, 0.0502, 0.0506])],
        named("0..1"),
    ),
    "blue first": (
        lambda layers: [layers.Normalization(mean=[103.9, 116.8, 123.7], variance=[1.0, 1.0, 1.0])],
        named("0..255", "BGR"),
    ),
    "rescaled, then normalised": (
        lambda layers: [layers.Rescaling(1 / 255), layers.Normalization(mean=0.45, variance=0.05)],
        named("0..255"),
    ),
    "resized before": (lambda layers: [layers.Resizing(24, 24), layers.Rescaling(1 / 255)], named("0..255")),
    "turned in training": (lambda layers: [layers.RandomFlip(), layers.Rescaling(1 / 255)], named("0..255")),
    "nothing": (lambda layers: [], None),
    "a layer that changes nothing": (lambda layers: [layers.Rescaling(1.0)], None),
    "numbers that fit several": (lambda layers: [layers.Rescaling(3.0, -0.1)], None),
}


KERAS_FILES = {"Keras 3": (keras, "m.keras"), "HDF5": (keras, "m.h5"), "HDF5 of Keras 2": (tf_keras, "m.h5")}


@pytest.mark.parametrize(("case", "kind"), pairs(FIRST, KERAS_FILES))
def test_scaling_is_found_in_keras_files(tmp_path: Path, case: str, kind: str) -> None:
    (first, expected), (library, name) = FIRST[case], KERAS_FILES[kind]
    keras_model(*first(library.layers), library=library).save(tmp_path / name)
    found = found_in(tmp_path / name)
    assert (found.expects if found else None) == expected


def test_scaling_is_found_in_a_saved_model_and_in_a_frozen_graph(tmp_path: Path) -> None:
    model = keras_model(keras.layers.Rescaling(1 / 127.5, -1))
    model.export(tmp_path / "saved", verbose=False)
    found = found_in(tmp_path / "saved")
    assert found is not None
    assert found.expects == named("0..255")
    graph = load_source(tmp_path / "saved", width=None, size=None).graph
    del graph.node[-1]  # which names the output for the IR
    (tmp_path / "model.pb").write_bytes(graph.SerializeToString())
    assert found_in(tmp_path / "model.pb") == found


def test_scaling_is_found_in_tfjs_models(tmp_path: Path) -> None:
    """Layers model and graph model, as tensorflowjs writes them."""
    model = keras_model(tf_keras.layers.Rescaling(1 / 255), library=tf_keras)
    weights = {weight.name.split(":")[0]: weight.numpy() for weight in model.weights}
    entries = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in weights.items()]
    (tmp_path / "w.bin").write_bytes(b"".join(value.tobytes() for value in weights.values()))
    raw = {"modelTopology": {"model_config": json.loads(model.to_json())}}
    (tmp_path / "model.json").write_text(
        json.dumps(raw | {"weightsManifest": [{"paths": ["w.bin"], "weights": entries}]})
    )
    found = found_in(tmp_path / "model.json")
    assert found is not None
    assert found.expects == named("0..255")


def test_preprocess_input_inside_a_model_is_found(tmp_path: Path) -> None:
    """Keras's function for ResNet50 subtracts ImageNet's means and reverses the channels: the input itself is RGB."""
    for name, module in (("resnet50", keras.applications.resnet50), ("mobilenet", keras.applications.mobilenet_v2)):
        image = keras.Input((SIZE, SIZE, 3))
        x = keras.layers.Conv2D(4, 3)(module.preprocess_input(image))
        keras.Model(image, keras.layers.GlobalMaxPooling2D()(x)).save(tmp_path / f"{name}.keras")
        found = found_in(tmp_path / f"{name}.keras")
        assert found is not None, name
        assert found.expects == named("0..255"), name


def test_operations_not_linear_per_channel_are_no_scaling(tmp_path: Path) -> None:
    functions: dict[str, Callable[[Any], Any]] = {
        "square": lambda image: image * image / 255,
        "grey": lambda image: tf.image.rgb_to_grayscale(image) * tf.ones((1, 1, 1, 3)),
        "clipped": lambda image: tf.clip_by_value(image, 0.0, 1.0),
        "forked": lambda image: tf.pad(image / 255, [[0, 0], [1, 1], [1, 1], [0, 0]])[:, 1:-1, 1:-1] + image,
    }
    for name, function in functions.items():
        save_module(convolved(function), tmp_path / name, (1, SIZE, SIZE, 3))
        assert found_in(tmp_path / name) is None, name


def convolved(first: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """A network with one convolution after `first`."""
    kernel = np.ones((3, 3, 3, 2), np.float32)
    return lambda image: {"output": tf.nn.conv2d(first(image), kernel, 1, "SAME")}


@given(
    st.sampled_from([name for name in RANGES if name != "imagenet"]),
    st.floats(0.3, 0.7),
    st.floats(0.1, 0.5),
)
def test_mean_and_std_determine_the_range_or_none(name: Any, mean: float, std: float) -> None:
    """Statistics of natural pictures, as a Normalization layer measures them."""
    low, high = {"-1..1": (-1, 1), "0..1": (0, 1), "0..255": (0, 255)}[name]
    width = high - low
    own = OwnScaling((low + mean * width,) * 3, (std * width,) * 3)
    assert own.expects in (named(name), None) or name == "-1..1"
    if name != "-1..1":
        assert own.expects == named(name)


# Conversion


def classifier(path: Path, *first: Any) -> Path:
    """A classifier that calls a picture bright if its mean, after `first`, is above 0.5; it has no trained layer."""
    model = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), *first, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1, "sigmoid")]
    )
    model.layers[-1].set_weights([np.full((3, 1), 10, np.float32), np.full(1, -15, np.float32)])
    model.save(path)
    return path


def test_a_foreign_classifier_without_a_scaling_is_refused_with_advice(tmp_path: Path) -> None:
    source = classifier(tmp_path / "m.keras")
    with pytest.raises(ConversionError, match=r"no Rescaling or Normalization .* Give --scale .* or give --labelled"):
        convert(source, ConvertSpec("k", labels=LABELS), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    manifest = convert(source, ConvertSpec("k", labels=LABELS, scaling=ScalingRequest("0..1")), tmp_path / "out")
    assert (scaling_of(manifest.input), manifest.input_basis) == (named("0..1"), "as requested")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five dark and five bright pictures of noise; only a scaling to 0..1 puts them on both sides of 0.5."""
    random = np.random.default_rng(4)
    for label, low in (("dark", 70), ("bright", 130)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(low, low + 10, (60, 80, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "pictures" / label / f"{number}.png"), pixels)
    return tmp_path / "pictures"


def test_labelled_pictures_confirm_or_refute_a_scaling(tmp_path: Path, pictures: Path) -> None:
    source = classifier(tmp_path / "m.keras")
    spec = ConvertSpec("k", labels=LABELS, labelled=pictures)
    decided = convert(source, spec, tmp_path / "decided")
    assert scaling_of(decided.input) == named("0..1")
    assert decided.proof is not None
    assert decided.proof.describe() == "bright 5 of 5, dark 5 of 5"
    assert Manifest.from_json(decided.to_json()).proof == decided.proof
    wrong = ConvertSpec("k", labels=LABELS, labelled=pictures, scaling=ScalingRequest("0..255"))
    with pytest.raises(ConversionError, match=r"5 of 10 of 10 pictures.* with 0\.\.1, RGB"):
        convert(source, wrong, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    turned = ConvertSpec("k", labels=LABELS[::-1], labelled=pictures, scaling=ScalingRequest("0..1"))
    with pytest.raises(ConversionError, match=r"0 of 10 .*"):
        convert(source, turned, tmp_path / "turned")


def test_ambiguous_pictures_decide_nothing(tmp_path: Path, pictures: Path) -> None:
    """All pictures are dark: every scaling is right half of the time."""
    source = classifier(tmp_path / "m.keras")
    for path in (pictures / "bright").iterdir():
        shutil.copyfile(next((pictures / "dark").iterdir()), path)
    with pytest.raises(ConversionError, match=r"do not decide it: right are, by scaling, -1\.\.1, RGB: 5"):
        convert(source, ConvertSpec("k", labels=LABELS, labelled=pictures), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda folder: (folder / "dark").rename(folder / "gloomy"),
            "has the folder 'gloomy'.* labels are dark, bright",
        ),
        (lambda folder: shutil.rmtree(folder / "dark"), "pictures of 1 labels"),
        (lambda folder: shutil.rmtree(folder), "There is no folder"),
    ],
)
def test_invalid_folders_of_labels_are_refused(tmp_path: Path, pictures: Path, change: Any, words: str) -> None:
    change(pictures)
    source = classifier(tmp_path / "m.keras", keras.layers.Rescaling(1 / 255))
    with pytest.raises(ConversionError, match=words):
        convert(source, ConvertSpec("k", labels=LABELS, labelled=pictures), tmp_path / "out")


def test_runtime_and_parity_scale_channels_alike(tmp_path: Path) -> None:
    """ImageNet's values in both channel orders, by OpenVINO's preprocessing and by numpy."""
    save_module(lambda image: {"output": image + 0.0}, tmp_path / "model", (1, SIZE, SIZE, 3))
    picture = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    for color in ("RGB", "BGR"):
        scaling = ScalingRequest("imagenet", channels=color)
        manifest = convert(tmp_path / "model", ConvertSpec("k", precision="FP32", scaling=scaling), tmp_path / color)
        runtime = OpenVinoRuntime(tmp_path / color, manifest)
        runtime.start(0, picture[None])
        np.testing.assert_allclose(runtime.wait(0)["output"], as_tensor(picture, manifest.input), atol=1e-4)
        red, blue = (0, 2) if color == "RGB" else (2, 0)
        expected = (picture[..., 0] / 255 - 0.485) / 0.229
        np.testing.assert_allclose(as_tensor(picture, manifest.input)[0, ..., red], expected, atol=1e-5)
        expected = (picture[..., 2] / 255 - 0.406) / 0.225
        np.testing.assert_allclose(as_tensor(picture, manifest.input)[0, ..., blue], expected, atol=1e-5)


def test_the_version_of_a_posenet_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write_manifest_format(tmp_path / "source", random_variables(CHANNELS_100))
    manifest = convert(tmp_path / "source", ConvertSpec("r", size=64), tmp_path / "out")
    assert (manifest.input.mean, manifest.input.scale) == (127.5, 127.5)
    assert manifest.input_basis == "as PoseNet was published"
    old = json.loads(manifest.to_json())
    del old["input_basis"], old["proof"]  # as in manifests from before the option existed
    assert Manifest.from_json(json.dumps(old)).version_id == manifest.version_id


def test_a_scaling_that_contradicts_the_model_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = classifier(tmp_path / "m.keras", keras.layers.Rescaling(1 / 255))
    spec = ConvertSpec("k", labels=LABELS, scaling=ScalingRequest("-1..1"))
    manifest = convert(source, spec, tmp_path / "out")
    assert "although the network subtracts 0 and divides by 255 itself" in manifest.input_basis
    assert "Check it with --labelled" in caplog.text


@pytest.mark.cases
def test_the_case_labels_bright_and_dark_films_correctly(cases: Path, tmp_path: Path) -> None:
    """The model contains Rescaling(1/255), and a bright film was called dark. Keras's own answers are the truth."""
    source = cases / "classifier/bright.keras"
    frames = {name: cv2.VideoCapture(str(cases / f"classifier/{name}.mp4")).read()[1] for name in LABELS}
    for name, frame in frames.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "pictures" / name / "0.png"), frame)
    spec = ConvertSpec("bright", labels=LABELS, labelled=tmp_path / "pictures")
    manifest = convert(source, spec, tmp_path / "out")
    assert (scaling_of(manifest.input), manifest.proof and manifest.proof.right) == (
        named("0..255"),
        {"bright": 1, "dark": 1},
    )
    runtime = OpenVinoRuntime(tmp_path / "out", manifest)
    model = keras.models.load_model(source)
    for frame in frames.values():
        small = cv2.resize(frame, (64, 64))[..., ::-1]
        runtime.start(0, np.ascontiguousarray(small)[None])
        expected = model(small[None].astype(np.float32)).numpy()
        np.testing.assert_allclose(next(iter(runtime.wait(0).values())), expected, atol=2e-3)


def test_the_input_spec_of_old_manifests_has_one_value() -> None:
    assert InputSpec("image", (1, 8, 8, 3)).mean == 127.5
