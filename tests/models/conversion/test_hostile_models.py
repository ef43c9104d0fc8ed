"""Malicious models and unusual harmless ones: refused with a message, or converted; never run."""

import json
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from models.bounded import parse_json
from models.conversion.convert import convert
from models.conversion.operations import ARITHMETIC
from models.conversion.sources import detect_format
from models.conversion.spec import ConvertSpec
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, SavedModel, keras, op_def_registry, tf
from tests.conftest import ROOT
from tests.models.model_files import load, run, save_module

DEMO = ROOT / "models/data/posenet-demo"
HEADS = ("heatmap", "offset_2", "displacement_fwd_2", "displacement_bwd_2")


def demo_json() -> dict[str, Any]:
    return json.loads((DEMO / "model.json").read_text())


def write_demo(folder: Path, raw: Any, encoding: str = "utf-8") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_bytes(json.dumps(raw).encode(encoding))
    shutil.copyfile(DEMO / "group1-shard1of1.bin", folder / "group1-shard1of1.bin")
    return folder / "model.json"


def node(name: str, op: str, *inputs: str) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": {"T": {"type": "DT_FLOAT"}}}


# Unusual, but convertible


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_model_json_in_any_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    assert load(write_demo(tmp_path / "m", demo_json(), encoding)).task == "pose"


@pytest.mark.parametrize("path", ["weights/w.bin", "./w.bin", "a/b/../w.bin", "weights\\w.bin", "a b/ü.bin"])
def test_shards_in_subfolders_are_read(tmp_path: Path, path: str) -> None:
    raw = demo_json()
    raw["weightsManifest"][0]["paths"] = [path]
    file = write_demo(tmp_path / "m", raw)
    target = file.parent / path.replace("\\", "/")
    target.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "group1-shard1of1.bin").rename(target)
    if ".." in path:
        with pytest.raises(ConversionError, match="which is not inside its folder"):
            load(file)
        return
    assert set(load(file).files) == {"model.json", Path(path.replace("\\", "/")).as_posix()}


@pytest.mark.parametrize(
    "path", ["../w.bin", "/etc/passwd", "https://example.org/w.bin", "", "a/../../w.bin", "x\0", 7]
)
def test_shards_elsewhere_are_refused(tmp_path: Path, path: Any) -> None:
    raw = demo_json()
    raw["weightsManifest"][0]["paths"] = [path]
    (tmp_path / "w.bin").write_bytes(b"x")
    with pytest.raises(ConversionError, match="which is not inside its folder"):
        load(write_demo(tmp_path / "m", raw))


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    raw = demo_json()
    raw["weightsManifest"][0]["paths"] = ["link/group1-shard1of1.bin"]
    file = write_demo(tmp_path / "m", raw)
    (file.parent / "link").symlink_to(DEMO)
    with pytest.raises(ConversionError, match="is a link to elsewhere"):
        load(file)


def renamed(raw: dict[str, Any]) -> None:
    """Outputs called Identity, Identity_1 … as TensorFlow 2 exports them, without a signature."""
    nodes = raw["modelTopology"]["node"]
    nodes += [
        node(f"Identity_{number}" if number else "Identity", "Identity", head) for number, head in enumerate(HEADS)
    ]


def signed(raw: dict[str, Any]) -> None:
    """Only the signature names the heads; neither they nor the operations before them have usable names."""
    text = json.dumps(raw["modelTopology"])
    for number, head in enumerate(HEADS):
        text = text.replace(f'"{head}', f'"h{number}').replace("heatmap_2", "hh")
    raw["modelTopology"] = json.loads(text)
    weights = json.dumps(raw["weightsManifest"])
    for number, head in enumerate(HEADS):
        weights = weights.replace(f'"{head}', f'"h{number}').replace("heatmap_2", "hh")
    raw["weightsManifest"] = json.loads(weights)
    raw["signature"] = {"outputs": {head: {"name": f"h{number}:0"} for number, head in enumerate(HEADS)}}


def signed_by_an_older_converter(raw: dict[str, Any]) -> None:
    signed(raw)
    raw["userDefinedMetadata"] = {"signature": raw.pop("signature")}


def with_a_further_head(raw: dict[str, Any]) -> None:
    raw["modelTopology"]["node"].append(node("segments", "Sigmoid", "Conv2d_13_pointwise/relu6"))


def with_heads_made_of_heads(raw: dict[str, Any]) -> None:
    raw["modelTopology"]["node"] += [node("probability", "Sigmoid", "heatmap"), node("loud", "Relu", "offset_2")]


def with_a_head_that_nobody_can_convert(raw: dict[str, Any]) -> None:
    raw["modelTopology"]["node"] += [node("x", "Lgamma", "heatmap"), {"name": "y", "op": "Placeholder", "attr": {}}]
    raw["modelTopology"]["node"][-1]["attr"] = {"dtype": {"type": "DT_INT32"}}
    raw["modelTopology"]["node"].append(node("resnet_aux", "Neg", "x"))


@pytest.mark.parametrize(
    "change",
    [
        *(renamed, signed, signed_by_an_older_converter, with_a_further_head, with_heads_made_of_heads),
        with_a_head_that_nobody_can_convert,
    ],
)
def test_posenet_exported_by_other_tools_is_the_same_model(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    raw = demo_json()
    change(raw)
    loaded, plain = load(write_demo(tmp_path / "m", raw), size=64), load(DEMO / "model.json", size=64)
    assert (loaded.task, loaded.outputs) == ("pose", plain.outputs)
    tensor = np.random.default_rng(3).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    expected, found = run(plain, tensor), run(loaded, tensor)
    for name in HEADS:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_posenet_with_unnamed_heads_is_refused_as_such(tmp_path: Path) -> None:
    """Before, it became a classifier without rows."""
    raw = demo_json()
    signed(raw)
    del raw["signature"]
    with pytest.raises(ConversionError, match=r"h0 \(17 channels\).* look like PoseNet's.* with a signature"):
        load(write_demo(tmp_path / "m", raw))


@pytest.mark.cases
@pytest.mark.parametrize("name", ["bom_crlf", "identity_signature"])
def test_the_cases(cases: Path, tmp_path: Path, name: str) -> None:
    file = write_demo(tmp_path / "m", {})
    shutil.copyfile(cases / f"models/{name}.json", file)
    manifest = convert(file, ConvertSpec("p", size=65), tmp_path / "out")
    plain = convert(DEMO / "model.json", ConvertSpec("q", size=65), tmp_path / "plain")
    assert manifest.version_id == plain.version_id


@pytest.mark.parametrize("length", [60, 91, 123])
def test_a_frozen_graph_that_begins_like_text_is_recognised(tmp_path: Path, length: int) -> None:
    """The first byte after the line feed is the first node's length: `<`, `[` or `{`."""
    graph = GraphDef()
    first = graph.node.add(name="a", op="Const")
    first.name = "a" * (1 + length - first.ByteSize())
    assert graph.SerializeToString()[:2] == bytes([10, length])
    (tmp_path / "model.pb").write_bytes(graph.SerializeToString())
    assert detect_format(tmp_path / "model.pb") == "frozen-pb"


# Programs


def frozen(path: Path, build: Callable[[Any], Any]) -> Path:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [1, 32, 32, 3], name="image")
        build(image)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_operations_behind_a_control_input_are_not_run(tmp_path: Path) -> None:
    """SaveV2 behind a control input passed a list of forbidden operations, and wrote its file."""
    target = tmp_path / "written"

    def build(image: Any) -> None:
        save = tf.raw_ops.SaveV2(prefix=str(target), tensor_names=["x"], shape_and_slices=[""], tensors=[image])
        with tf.control_dependencies([save]):
            tf.identity(tf.reduce_mean(image, [1, 2]), name="output")

    file = frozen(tmp_path / "m.pb", build)
    convert(file, ConvertSpec("k", scaling=scaling()), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pb", "out"]


def scaling() -> Any:
    from models.inference.scaling import ScalingRequest

    return ScalingRequest("0..1")


@pytest.mark.parametrize("op", ["ReadFile", "MatchingFiles", "SaveV2", "WriteFile"])
def test_operations_other_than_arithmetic_are_refused_and_not_run(tmp_path: Path, op: str) -> None:
    secret, target = tmp_path / "secret", tmp_path / "target"
    secret.write_text("x")

    def build(image: Any) -> None:
        if op in ("ReadFile", "MatchingFiles"):
            text = tf.io.read_file(str(secret)) if op == "ReadFile" else tf.io.matching_files(str(secret))[0]
            tf.identity(image + tf.strings.to_number(text), name="output")
        else:
            write = tf.raw_ops.WriteFile(filename=str(target), contents="x")
            with tf.control_dependencies([write]):
                inner = tf.identity(image)
            tf.identity(inner + (tf.cast(tf.io.matching_files(str(target))[0] == "", tf.float32)), name="output")

    with pytest.raises(ConversionError, match="are not arithmetic on tensors: "):
        load(frozen(tmp_path / "m.pb", build))
    assert not target.exists()


def test_no_allowed_operation_accesses_files_or_network() -> None:
    """By TensorFlow's own account, and by name."""
    for op in ARITHMETIC:
        definition = op_def_registry.get(op)
        # Checked through the functions that they call; one must not be optimised away.
        stateful = {"If", "While", "StatefulPartitionedCall", "CheckNumerics"}
        assert definition is None or not definition.is_stateful or op in stateful, op
        for word in (
            "File",
            "Save",
            "Restore",
            "Py",
            "Reader",
            "Print",
            "Write",
            "Load",
            "Send",
            "Recv",
            "Queue",
            "Db",
        ):
            assert word not in op or op == "TensorListReserve", op


def test_a_saved_model_that_saves_when_it_is_called_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "written"

    def evil(image: Any) -> dict[str, Any]:
        tf.raw_ops.SaveV2(prefix=str(target), tensor_names=["x"], shape_and_slices=[""], tensors=[image])
        return {"output": image}

    save_module(evil, tmp_path / "model")
    with pytest.raises(ConversionError, match="not arithmetic on tensors: SaveV2"):
        load(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_saved_models_of_keras_load(tmp_path: Path) -> None:
    """They contain operations that save and restore, which nothing calls."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([*layers, keras.layers.Softmax()])
    model.export(tmp_path / "model", verbose=False)
    saved = SavedModel.FromString((tmp_path / "model/saved_model.pb").read_bytes())
    assert any(n.op == "SaveV2" for f in saved.meta_graphs[0].graph_def.library.function for n in f.node_def)
    assert load(tmp_path / "model").task == "classification"


# Bounds


def assert_refused_in_time(call: Callable[[], Any], words: str, seconds: float = 20) -> None:
    begun = time.monotonic()
    with pytest.raises(ConversionError, match=words):
        call()
    assert time.monotonic() - begun < seconds


def test_a_shard_that_is_listed_3000_times_is_refused(tmp_path: Path) -> None:
    raw = demo_json()
    raw["weightsManifest"][0]["paths"] *= 3000
    assert_refused_in_time(
        lambda: load(write_demo(tmp_path / "m", raw)), "lists 3000 files of weights, 1 of them different"
    )
    raw = {f"v{number}": {"filename": "w", "shape": [1]} for number in range(5)}
    (tmp_path / "m" / "w").write_bytes(bytes(4))
    (tmp_path / "m" / "model.json").write_text(json.dumps(raw))
    assert_refused_in_time(lambda: load(tmp_path / "m" / "model.json"), "lists 5 files of weights, 1 of them different")


@pytest.mark.parametrize("shape", [[10**12], [2**40, 2**40], [-1], ["a"], None])
def test_invalid_shapes_are_refused(tmp_path: Path, shape: Any) -> None:
    raw = demo_json()
    raw["weightsManifest"][0]["weights"][0]["shape"] = shape
    assert_refused_in_time(lambda: load(write_demo(tmp_path / "m", raw)), "not|damaged")


def huge_zip(path: Path, name: str, size_bytes: int) -> Path:
    """Return a zip member of this many zeros that takes some kilobytes: one compressed block, repeated."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.1"}')
        with archive.open(name, "w", force_zip64=True) as member:
            for _ in range(size_bytes >> 26):
                member.write(bytes(1 << 26))
    return path


def test_a_keras_file_with_a_high_compression_ratio_is_refused(tmp_path: Path) -> None:
    """Declare 3 GB in the archive's directory, without spending minutes on compressing them."""
    path = huge_zip(tmp_path / "m.keras", "config.json", 1 << 27)
    assert_refused_in_time(lambda: load(path), "config.json in m.keras has more than 67,108,864 bytes")
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 3 << 30)
    path.write_bytes(content)
    assert_refused_in_time(lambda: load(path), "unpacks to 3,221,225,496 bytes|not a Keras file")


@pytest.mark.parametrize("depth", [250, 900, 50_000])
@pytest.mark.parametrize("kind", ["h5", "keras", "json"])
def test_deep_nesting_is_refused(tmp_path: Path, depth: int, kind: str) -> None:
    config = '{"a":' * depth + "1" + "}" * depth
    path = tmp_path / f"m.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file.attrs.create(
                "model_config", np.bytes_(config) if len(config) < 60_000 else config, dtype=h5py.string_dtype()
            )
    elif kind == "keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("metadata.json", '{"keras_version": "3.1"}')
    else:
        path.write_text(config)
    assert_refused_in_time(lambda: load(path), "nested")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_document_type_is_refused_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    xml = (
        f'<?xml version="1.0" encoding="{encoding.split("-be")[0].replace("-sig", "")}"?>\n'
        '<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>\n<net name="&b;" version="11"><layers/></net>'
    )
    prefix = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "m.xml").write_bytes(prefix + xml.encode(encoding))
    (tmp_path / "m.bin").write_bytes(b"")
    assert detect_format(tmp_path / "m.xml") == "openvino-ir"
    assert_refused_in_time(
        lambda: convert(tmp_path / "m.xml", ConvertSpec("a"), tmp_path / "out"), "defines a document type"
    )


def test_a_deeply_nested_ir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text("<net>" + "<a>" * 100_000 + "</a>" * 100_000 + "</net>")
    (tmp_path / "m.bin").write_bytes(b"")
    assert_refused_in_time(lambda: convert(tmp_path / "m.xml", ConvertSpec("a"), tmp_path / "out"), "nested deeper")


def test_a_sparse_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "m.pb").open("wb") as file:
        file.truncate(64 << 30)
    assert_refused_in_time(lambda: load(tmp_path / "m.pb"), "more than the 2,147,483,648")


def test_json_within_bounds_is_read() -> None:
    assert parse_json(b"[" * 150 + b"]" * 150, "a")
    with pytest.raises(ConversionError, match="not JSON"):
        parse_json(zlib.compress(b"x"), "a")
