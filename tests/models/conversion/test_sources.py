"""Recognition of model formats: Keras files, SavedModels, frozen graphs; refusal of other files."""

import gzip
import json
import pickle
import shutil
from pathlib import Path
from random import Random
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from google.protobuf import json_format

from models.conversion.sources import detect_format
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, keras, tf, tf_keras
from tests.models.model_files import (
    FROZEN,
    GRAPH,
    LAYERS,
    MANIFEST,
    WEIGHTS_ONLY,
    Tensor,
    kernels,
    load,
    run,
    save_module,
    write_graph_model,
)


@pytest.fixture(scope="session")
def small_keras() -> Any:
    """A Keras 3 classifier of 32x32 images with fixed weights."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, 2, "same"), keras.layers.BatchNormalization()]
    tail = [keras.layers.ReLU(6.0), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")]
    return keras.Sequential([*layers, *tail])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (MANIFEST, "tfjs-manifest"),
        (GRAPH, "tfjs-graph"),
        (LAYERS, "tfjs-layers"),
        (FROZEN, "frozen-pb"),
        (WEIGHTS_ONLY, "keras"),
    ],
)
def test_real_formats_are_distinguished(data: Path, source: str, expected: str) -> None:
    assert detect_format(data / source) == expected


@pytest.mark.real_data
def test_formats_are_recognised_by_content(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / FROZEN / "model-mobilenet_v1_050.pb", tmp_path / "model.json")
    assert detect_format(tmp_path / "model.json") == "frozen-pb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"{", "not JSON"),
        (b'{"modelTopology": ', "not JSON"),
        (b"{}", "not a TF.js model"),
        (b"[1, 2]", "not a TF.js model"),
        (b'{"hello": {"world": 1}}', "not a TF.js model"),
        (b'{"modelTopology": {"strange": 1}, "weightsManifest": []}', "not a TF.js model"),
        (bytes(range(256)), "not complete"),
        (pickle.dumps({"weights": [1.0]}), "not complete"),
        (b"PK\x03\x04not a zip", "not a Keras file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "broken HDF5|weights only|not a Keras"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=message):
        load(path)


@pytest.mark.real_data
@pytest.mark.parametrize("kept", [1, 7, 1000, 100_000, 2_339_027])
def test_a_truncated_frozen_graph_is_refused(data: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.pb"
    path.write_bytes((data / FROZEN / "model-mobilenet_v1_050.pb").read_bytes()[:kept])
    with pytest.raises(ConversionError):
        load(path)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("source", "name"),
    [(FROZEN, "model-mobilenet_v1_050.pb"), (GRAPH, "model-stride16.json"), (MANIFEST, "manifest.json")],
)
def test_damage_anywhere_is_refused_or_harmless(data: Path, tmp_path: Path, source: str, name: str) -> None:
    """Change, remove and repeat random bytes: no error other than the readable one occurs."""
    random = Random(8)
    for path in (data / source).iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    whole = (data / source / name).read_bytes()
    refused = 0
    for _ in range(25):
        content = bytearray(whole)
        for _ in range(random.choice([1, 3, 20])):
            at, length = random.randrange(min(len(content), 60_000)), random.randrange(1, 40)
            changes = [bytes([random.randrange(256)]), b"", bytes(content[at : at + 2 * length])]
            content[at : at + length] = random.choice(changes)
        (tmp_path / name).write_bytes(content)
        try:
            load(tmp_path / name)
        except ConversionError:
            refused += 1
    assert refused >= 15


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="does not exist"):
        load(tmp_path / "absent")
    with pytest.raises(ConversionError, match=r"contains no such file\. Name the one model file"):
        load(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.pb").write_text("")
    with pytest.raises(ConversionError, match=r"a\.json, b\.pb\. Name the one model file"):
        load(tmp_path)


@pytest.mark.real_data
@pytest.mark.parametrize(("source", "width"), [(MANIFEST, 0.75), (GRAPH, 0.50), (FROZEN, 0.50)])
def test_the_width_of_a_posenet_source_is_detected(data: Path, source: str, width: float) -> None:
    loaded = load(data / source)
    assert (loaded.task, loaded.size, loaded.width) == ("pose", (353, 353), width)
    assert loaded.outputs == ("heatmap", "offset_2", "displacement_fwd_2", "displacement_bwd_2")
    load(data / source, width=width)
    for wrong in (0.5 if width == 0.75 else 0.75, 1.0, 1.01):
        with pytest.raises(ConversionError, match=rf"width {width:.2f}, but --width is {wrong:.2f}"):
            load(data / source, width=wrong)
    with pytest.raises(ConversionError, match=r"Give 0\.50, 0\.75"):
        load(data / source, width=0.33)


@pytest.mark.real_data
@pytest.mark.parametrize("size", [0, -224, 16, 5000])
def test_invalid_sizes_are_refused(data: Path, size: int) -> None:
    with pytest.raises(ConversionError, match=rf"--size is {size}\. Give 32 to"):
        load(data / FROZEN, size=size)


@pytest.mark.real_data
def test_frozen_and_graph_model_agree(data: Path, tensor: Tensor) -> None:
    """The same network, by half a step of uint16 in each weight; measured 0.027 logits and 0.14 px on average."""
    frozen, graph = load(data / FROZEN, size=224), load(data / GRAPH, size=224)
    ours, theirs = kernels(frozen), kernels(graph)
    assert len(ours) == len(theirs) == 31
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one - other).max() <= 0.51 / 65535 * np.ptp(other)
    expected, found = run(frozen, tensor), run(graph, tensor)
    for name, bound in {"heatmap": 0.1, "offset_2": 0.5, "displacement_fwd_2": 0.5, "displacement_bwd_2": 0.5}.items():
        assert np.abs(expected[name] - found[name]).mean() < bound
    assert expected["heatmap"].min() < -1, "logits, and not the sigmoid that the frozen graph ends in"


@pytest.mark.real_data
def test_weights_without_a_network_are_refused(data: Path) -> None:
    with pytest.raises(ConversionError, match=r"weights only\. Save the whole model with model\.save"):
        load(data / WEIGHTS_ONLY)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_3_files(small_keras: Any, noise: Tensor, tmp_path: Path, name: str) -> None:
    small_keras.save(tmp_path / name)
    loaded = load(tmp_path / name)
    assert (loaded.format, loaded.size, loaded.task) == ("keras", (32, 32), "classification")
    np.testing.assert_allclose(run(loaded, noise)["output"], small_keras(noise, training=False), atol=1e-6)
    with pytest.raises(ConversionError, match="fixed to input size 32, but --size is 48"):
        load(tmp_path / name, size=48)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_2_files(tmp_path: Path, noise: Tensor, name: str) -> None:
    layers = [tf_keras.Input((None, None, 3)), tf_keras.layers.Conv2D(4, 3), tf_keras.layers.GlobalMaxPooling2D()]
    model = tf_keras.Sequential(layers)
    model.save(tmp_path / name)
    with pytest.raises(ConversionError, match="Choose one with --size"):
        load(tmp_path / name)
    np.testing.assert_allclose(run(load(tmp_path / name, size=32), noise)["output"], model(noise), atol=1e-6)


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_python_code_in_a_keras_file_is_refused(tmp_path: Path, library: Any, name: str) -> None:
    model = library.Sequential([library.Input((32, 32, 3)), library.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / name)
    with pytest.raises(ConversionError, match="has a Lambda layer, which contains Python code"):
        load(tmp_path / name)


def test_python_code_in_a_layers_model_is_refused(tmp_path: Path) -> None:
    model = tf_keras.Sequential([tf_keras.Input((32, 32, 3)), tf_keras.layers.Lambda(lambda x: x * 2)])
    raw = {"modelTopology": {"model_config": json.loads(model.to_json())}, "weightsManifest": []}
    (tmp_path / "model.json").write_text(json.dumps(raw))
    with pytest.raises(ConversionError, match="Lambda"):
        load(tmp_path)


def test_classes_of_other_modules_are_refused(tmp_path: Path) -> None:
    config = {"module": "os", "class_name": "system", "config": {"command": "true"}}
    raw = {"modelTopology": {"model_config": config}, "weightsManifest": []}
    (tmp_path / "model.json").write_text(json.dumps(raw))
    with pytest.raises(ConversionError, match=r"names the class os\.system"):
        load(tmp_path)


@pytest.mark.real_data
def test_a_saved_model_of_posenet(data: Path, tmp_path: Path, tensor: Tensor) -> None:
    graph = GraphDef.FromString((data / FROZEN / "model-mobilenet_v1_050.pb").read_bytes())
    names = ["heatmap", "offset_2", "displacement_fwd_2", "displacement_bwd_2"]

    def posenet(image: Any) -> dict[str, Any]:
        tensors = tf.graph_util.import_graph_def(graph, {"image": image}, [f"{name}:0" for name in names])
        return dict(zip(names, tensors, strict=True))

    save_module(posenet, tmp_path)
    loaded = load(tmp_path, size=224)
    assert (loaded.format, loaded.task, loaded.width) == ("saved-model", "pose", 0.5)
    assert loaded.files.keys() >= {"saved_model.pb", "variables/variables.index"}
    expected = run(load(data / FROZEN, size=224), tensor)
    for name, found in run(loaded, tensor).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-3)


def test_a_saved_model_that_writes_files_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "written"

    def evil(image: Any) -> dict[str, Any]:
        tf.io.write_file(str(target), "x")
        return {"output": image}

    save_module(evil, tmp_path / "model")
    with pytest.raises(ConversionError, match="not arithmetic on tensors: WriteFile"):
        load(tmp_path / "model")
    assert not target.exists()


@pytest.mark.real_data
def test_a_posenet_without_an_output_is_refused(data: Path, tmp_path: Path) -> None:
    raw = json.loads((data / GRAPH / "model-stride16.json").read_text())
    nodes = raw["modelTopology"]["node"]
    raw["modelTopology"]["node"] = [
        node for node in nodes if not node["name"].startswith("MobilenetV1/offset_2/BiasAdd")
    ]
    shutil.copyfile(data / GRAPH / "group1-shard1of1.bin", tmp_path / "group1-shard1of1.bin")
    (tmp_path / "model.json").write_text(json.dumps(raw))
    with pytest.raises(ConversionError, match="without PoseNet's offset_2"):
        load(tmp_path)


def test_a_graph_with_two_inputs_or_no_image_is_refused(tmp_path: Path) -> None:
    both = {"name": "sum", "op": "AddV2", "input": ["image", "other"], "attr": {"T": {"type": "DT_FLOAT"}}}
    nodes = [{"name": "other", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}}, both]
    write_graph_model(tmp_path, nodes, {})
    with pytest.raises(ConversionError, match="with exactly one input"):
        load(tmp_path)
    save_module(lambda image: {"output": image}, tmp_path / "flat", (1, 10))
    with pytest.raises(ConversionError, match=r"\[1, 10\], not float32 \[1, height, width, 3\]"):
        load(tmp_path / "flat")


def test_a_graph_with_variables_is_refused(tmp_path: Path) -> None:
    graph = json_format.ParseDict({"node": [{"name": "v", "op": "VarHandleOp"}]}, GraphDef())
    (tmp_path / "model.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ConversionError, match="Freeze it first"):
        load(tmp_path)


OTHER_KINDS = {
    "a TensorFlow Lite model": b"\x1c\0\0\0TFL3" + bytes(99),
    "a safetensors file": (40).to_bytes(8, "little") + b'{"a": {"dtype": "F32"}}' + bytes(99),
    "packed by gzip, to be unpacked": gzip.compress(b"{}"),
    "a Python pickle, which is never opened": pickle.dumps({"weights": 1}, protocol=2),
}


@pytest.mark.parametrize("words", OTHER_KINDS)
def test_a_model_of_another_kind_is_named(tmp_path: Path, words: str) -> None:
    """By its content, even if its name is that of a supported format."""
    (tmp_path / "model.json").write_bytes(OTHER_KINDS[words])
    with pytest.raises(ConversionError, match=rf"model\.json is {words}.*Give a TF\.js"):
        detect_format(tmp_path / "model.json")


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("archive/data.pkl", "is a PyTorch file"),
        ("web/model.json", "is an archive with model.json. Unpack it"),
        ("model/saved_model.pb", "is an archive with saved_model.pb. Unpack it"),
    ],
)
def test_an_archive_of_another_kind_is_named(tmp_path: Path, inside: str, words: str) -> None:
    with ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr(inside, b"anything")
    with pytest.raises(ConversionError, match=words):
        detect_format(tmp_path / "model.keras")


@pytest.mark.parametrize("text", [b'{"ab": [{"filename": "a", "shape": [1]}]}', b'{"modelTopology": 7}'])
def test_other_json_files_are_not_taken_for_models(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(ConversionError, match=r"is JSON, but not a TF\.js model"):
        detect_format(tmp_path / "model.json")
