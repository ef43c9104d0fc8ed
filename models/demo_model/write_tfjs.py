"""Heavy: writes a frozen TensorFlow graph as a TF.js graph model, weights in uint16. tfjs.py reads it back.

The format: github.com/tensorflow/tfjs, tfjs-converter, docs/ and python/tensorflowjs/write_weights.py. The graph goes
into the JSON, the constants into one file next to it, which tensorflowjs writes, each quantised on its own so that 0
stays 0: value = stored * scale + min.
"""

import json
from pathlib import Path

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from models.conversion.graph import POSENET_OUTPUTS
from models.conversion.posenet_graph import build_graph
from models.demo_model.network import WIDTH
from models.heavy.tensorflow import GraphDef, NodeDef, tf
from models.inference.sizes import InputSize

MODEL_FILE = "model.json"
WEIGHTS_FILE = "group1-shard1of1.bin"
_ONE_SHARD_BYTES = 1 << 31


def write_posenet(variables: dict[str, NDArray[np.float32]], folder: Path) -> None:
    """Write model.json and its weights for the variables of posenet_graph.

    The input is `image` [1, any, any, 3], the outputs heatmap, offset_2, displacement_fwd_2, displacement_bwd_2.
    """
    graph, heads = build_graph(variables, WIDTH, InputSize(224, 224))
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
    """Write the graph as model.json and its constants next to it: float32 as uint16, other types unchanged."""
    from models.heavy.tensorflowjs import write_weights

    bare, weights = GraphDef(), []
    bare.CopyFrom(graph)
    for node in bare.node:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            weights.append({"name": node.name, "data": tf.make_ndarray(tensor)})
            tensor.CopyFrom(type(tensor)(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape))
    folder.mkdir(parents=True, exist_ok=True)
    manifest = write_weights([weights], str(folder), _ONE_SHARD_BYTES, False, {"uint16": True})
    model = {
        "format": "graph-model",
        "generatedBy": tf.__version__,
        "convertedBy": "nightjar",
        "modelTopology": json_format.MessageToDict(bare),
        "weightsManifest": manifest,
    }
    (folder / MODEL_FILE).write_text(json.dumps(model, separators=(",", ":"), sort_keys=True) + "\n")
