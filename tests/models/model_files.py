"""Model files for the tests of readers: paths of real ones, and functions that make small or altered ones."""

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.conversion.graph import OUTPUT_PREFIX, to_graph
from models.conversion.sources import LoadedModel, load_source
from models.conversion.tfjs import read_weights
from models.heavy.tensorflow import tf
from models.inference.sizes import InputSize

MANIFEST = "posenet/tfjs_manifest_075"
GRAPH = "posenet/tfjs_graph_uint16_050"
FROZEN = "posenet/frozen_050"
LAYERS = "imagenet/tfjs_layers_mobilenet_0_25"
WEIGHTS_ONLY = "keras/mobilenet_0_25_224_notop.h5"
CHANNELS_100 = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]

Tensor = NDArray[np.float32]


def run(loaded: LoadedModel, tensor: Tensor) -> dict[str, Tensor]:
    """TensorFlow's outputs of a loaded source."""
    names = {name: f"{OUTPUT_PREFIX}{name}:0" for name in loaded.outputs}
    with tf.compat.v1.Session(graph=to_graph(loaded.graph)) as session:
        return session.run(names, {f"{loaded.input}:0": tensor})


def load(path: Path, width: float | None = None, size: int | None = None) -> LoadedModel:
    return load_source(path, width=width, size=None if size is None else InputSize(size, size))


class Requantised:
    """Copies of the real uint16 graph model with the weights stored in another way."""

    def __init__(self, data: Path) -> None:
        self.source = data / GRAPH
        self.weights = read_weights(self.source / "model-stride16.json")

    def write(self, folder: Path, kind: str) -> None:
        raw = json.loads((self.source / "model-stride16.json").read_text())
        shards = []
        for entry in raw["weightsManifest"][0]["weights"]:
            stored, quantization = self._store(self.weights[entry["name"]], kind)
            entry.pop("quantization", None)
            if quantization:
                entry["quantization"] = quantization
            shards.append(stored.tobytes())
        content = b"".join(shards)
        middle = len(content) // 3  # two shards, cut in the middle of a value
        raw["weightsManifest"][0]["paths"] = ["group1-shard1of2.bin", "group1-shard2of2.bin"]
        (folder / "group1-shard1of2.bin").write_bytes(content[:middle])
        (folder / "group1-shard2of2.bin").write_bytes(content[middle:])
        (folder / "model.json").write_text(json.dumps(raw))

    def _store(self, values: NDArray[Any], kind: str) -> tuple[NDArray[Any], dict[str, Any] | None]:
        if kind == "float32":
            return values.astype("<f4"), None
        if kind == "float16":
            return values.astype("<f2"), {"dtype": "float16"}
        low, scale = float(values.min()), float(np.ptp(values)) / np.iinfo(kind).max or 1.0
        return np.rint((values - low) / scale).astype(kind), {"dtype": kind, "min": low, "scale": scale}


def save_module(
    function: Callable[[Any], Any], folder: Path, shape: tuple[int | None, ...] = (1, None, None, 3)
) -> None:
    """A SavedModel whose signature computes {name: tensor} from the image."""
    module = tf.Module()
    module.call = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    tf.saved_model.save(module, str(folder), signatures=module.call)


def write_graph_model(folder: Path, nodes: list[dict[str, Any]], weights: dict[str, Tensor]) -> None:
    """A TF.js graph model, float32, from nodes in JSON and the values of its Const nodes."""
    constants = [{"name": name, "op": "Const", "attr": {"dtype": {"type": "DT_FLOAT"}}} for name in weights]
    shape = {"dim": [{"size": "1"}, {"size": "32"}, {"size": "32"}, {"size": "3"}]}
    image = {"name": "image", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}, "shape": {"shape": shape}}}
    entries = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in weights.items()]
    (folder / "w.bin").write_bytes(b"".join(value.tobytes() for value in weights.values()))
    manifest = [{"paths": ["w.bin"], "weights": entries}]
    raw = {"modelTopology": {"node": [image, *constants, *nodes]}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(raw))


def fused(op: str, inputs: list[str], fused_ops: list[str], **attributes: Any) -> dict[str, Any]:
    """A fused node named `y` in JSON."""
    attr: dict[str, Any] = {"fused_ops": {"list": {"s": [_bytes(name) for name in fused_ops]}}, **attributes}
    attr["num_args"] = {"i": str(len(inputs) - 2)}
    if op != "_FusedMatMul":
        attr["strides"] = {"list": {"i": ["1", "2", "2", "1"]}}
        attr |= {"padding": {"s": _bytes("SAME")}, "data_format": {"s": _bytes("NHWC")}}
    return {"name": "y", "op": op, "input": inputs, "attr": attr}


def _bytes(text: str) -> str:
    """A bytes field of a graph, as protobuf's JSON has it."""
    return base64.b64encode(text.encode()).decode()


def random_variables(channels: list[int]) -> dict[str, Tensor]:
    """PoseNet's variables with random values, for widths whose weights are not available."""
    random = np.random.default_rng(5)
    shapes: dict[str, tuple[int, ...]] = {"Conv2d_0/weights": (3, 3, 3, channels[0]), "Conv2d_0/biases": (channels[0],)}
    for block, (before, after) in enumerate(pairwise(channels), 1):
        shapes |= {f"Conv2d_{block}_depthwise/depthwise_weights": (3, 3, before, 1)}
        shapes |= {f"Conv2d_{block}_depthwise/biases": (before,), f"Conv2d_{block}_pointwise/biases": (after,)}
        shapes |= {f"Conv2d_{block}_pointwise/weights": (1, 1, before, after)}
    for head, out in {"heatmap_2": 17, "offset_2": 34, "displacement_fwd_2": 32, "displacement_bwd_2": 32}.items():
        shapes |= {f"{head}/weights": (1, 1, channels[-1], out), f"{head}/biases": (out,)}
    scale = {name: (2 / np.prod(shape[:-1])) ** 0.5 for name, shape in shapes.items()}
    values = {name: random.normal(0, scale[name] if "weights" in name else 0.1, s) for name, s in shapes.items()}
    return {f"MobilenetV1/{name}": value.astype(np.float32) for name, value in values.items()}


def write_manifest_format(folder: Path, variables: dict[str, Tensor]) -> None:
    entries: dict[str, dict[str, Any]] = {
        name: {"filename": name.replace("/", "_"), "shape": list(v.shape)} for name, v in variables.items()
    }
    for name, value in variables.items():
        (folder / entries[name]["filename"]).write_bytes(value.tobytes())
    (folder / "manifest.json").write_text(json.dumps(entries))


def kernels(loaded: LoadedModel) -> list[Tensor]:
    """The weights of every convolution, by the name that both files use."""
    nodes = {n.name: n for n in loaded.graph.node if n.op == "Const" and n.name.endswith("weights")}
    return [tf.make_ndarray(nodes[name].attr["value"].tensor) for name in sorted(nodes)]
