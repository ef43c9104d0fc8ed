"""Heavy: writes a frozen TensorFlow graph as a TF.js graph model, weights in uint16. tfjs.py reads it back.

The format: github.com/tensorflow/tfjs, tfjs-converter, docs/ and python/tensorflowjs/write_weights.py. The graph goes
into the JSON, the constants into one file beside it, each quantised on its own: value = stored * scale + min.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from models.conversion.graph import POSENET_OUTPUTS
from models.conversion.posenet_graph import build_graph
from models.demo_model.network import WIDTH
from models.heavy.tensorflow import GraphDef, NodeDef, tf

MODEL_FILE = "model.json"
WEIGHTS_FILE = "group1-shard1of1.bin"
_STEPS = 65_535  # of uint16


def write_posenet(variables: dict[str, NDArray[np.float32]], folder: Path) -> None:
    """model.json and its weights for the variables of posenet_graph: input `image` [1, any, any, 3], outputs
    heatmap, offset_2, displacement_fwd_2, displacement_bwd_2."""
    graph, heads = build_graph(variables, WIDTH, 224)
    for node in graph.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.CopyFrom(tf.TensorShape([1, None, None, 3]).as_proto())
    for name, aliases in POSENET_OUTPUTS.items():
        tensor = next(tensor for head, tensor in heads.items() if head in aliases)
        output = NodeDef(name=name, op="Identity", input=[tensor.removesuffix(":0")])
        output.attr["T"].type = tf.float32.as_datatype_enum
        graph.node.append(output)
    write_graph_model(graph, folder)


def write_graph_model(graph: GraphDef, folder: Path) -> None:
    """Raises ValueError where a constant is neither float32 nor small."""
    weights, entries = [], []
    bare = GraphDef()
    bare.CopyFrom(graph)
    for node in bare.node:
        if node.op != "Const":
            continue
        value = tf.make_ndarray(node.attr["value"].tensor)
        stored, entry = _quantised(node.name, value)
        weights.append(stored.tobytes())
        entries.append(entry)
        node.attr["value"].tensor.ClearField("tensor_content")
        node.attr["value"].tensor.ClearField("float_val")
    model = {
        "format": "graph-model",
        "generatedBy": tf.__version__,
        "convertedBy": "nightjar",
        "modelTopology": json_format.MessageToDict(bare),
        "weightsManifest": [{"paths": [WEIGHTS_FILE], "weights": entries}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(b"".join(weights))
    (folder / MODEL_FILE).write_text(json.dumps(model, separators=(",", ":"), sort_keys=True) + "\n")


def _quantised(name: str, value: NDArray[Any]) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    if value.dtype != np.float32:
        raise ValueError(f"constant {name!r} is {value.dtype}, expected float32: only these are written")
    low, high = float(value.min()), float(value.max())
    scale = (high - low) / _STEPS or 1.0
    stored = np.rint((value.astype(np.float64) - low) / scale).astype("<u2")
    quantization = {"dtype": "uint16", "min": low, "scale": scale, "original_dtype": "float32"}
    return stored, {"name": name, "shape": list(value.shape), "dtype": "float32", "quantization": quantization}
