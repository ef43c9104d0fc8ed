"""Heavy: runs a PoseNet in TF.js format with TensorFlow, for measuring a model before its conversion.

Batches use models/inference/runtime.py with OpenVINO instead.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.conversion.graph import candidate_outputs, image_input, posenet_outputs, prepare, to_graph, unfuse
from models.conversion.tfjs import load_graph_model
from models.errors import ConversionError
from models.heavy.tensorflow import tf
from models.inference.sizes import InputSize


def posenet_from_tfjs(file: Path, size: int) -> Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]:
    """Return a function from (n, size, size, 3) uint8 RGB to PoseNet's four outputs (n, size / 16, size / 16, …).

    Raises ConversionError where the file is not a PoseNet.
    """
    graph = unfuse(load_graph_model(file)[0])
    outputs = posenet_outputs(graph, candidate_outputs(graph))
    if outputs is None:
        raise ConversionError(f"{file.name} does not have PoseNet's outputs. Give a PoseNet in TF.js format.")
    ready = prepare(graph, outputs, InputSize(size, size))
    shape = image_input(ready).attr["shape"].shape
    shape.CopyFrom(tf.TensorShape([None, size, size, 3]).as_proto())
    session = tf.compat.v1.Session(graph=to_graph(ready))
    tensors = {name: f"nightjar/{name}:0" for name in outputs}

    def infer(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = session.run(
            tensors, {f"{image_input(ready).name}:0": images.astype(np.float32) / 127.5 - 1}
        )
        return found

    return infer
