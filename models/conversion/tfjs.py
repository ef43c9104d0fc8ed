"""Heavy: the three TF.js formats -> TensorFlow. Weights are checked here, then read and dequantised by tensorflowjs.

Not here: fetching files (storage.objects), recognising formats (sources.py), editing graphs (graph.py).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from models.bounded import (
    MAX_JSON_BYTES,
    MAX_MODEL_BYTES,
    MAX_NESTING,
    SHOWN_CHARACTERS,
    inside,
    parse_json,
    read_bounded,
)
from models.conversion.keras_files import freeze_keras, load_config
from models.conversion.posenet_graph import build_graph, width_of
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, tf
from models.inference.sizes import InputSize

Weights = dict[str, NDArray[Any]]

MAX_FILES = 2_000  # ResNet50 in TF.js's first format has 320

_ITEM_BYTES = {"float32": 4, "int32": 4, "bool": 1, "uint8": 1, "float16": 2}
_QUANTIZED_BYTES = {"uint8": 1, "uint16": 2, "float16": 2}


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ConversionError where it is not JSON, or larger or deeper than a model's."""
    return parse_json(read_bounded(path, MAX_JSON_BYTES), path.name)


def _groups(file: Path) -> list[dict[str, Any]]:
    """List the groups of weights in a model JSON; in a manifest.json each variable is a group of its own.

    Raises ConversionError where the file has neither.
    """
    raw = read_json(file)
    try:
        if "weightsManifest" in raw:
            return [
                {"paths": list(group["paths"]), "weights": list(group["weights"])} for group in raw["weightsManifest"]
            ]
        return [
            {"paths": [entry["filename"]], "weights": [{"name": name, "shape": entry["shape"], "dtype": "float32"}]}
            for name, entry in raw.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"{file.name} lists its weights in an unknown way ({error!r}). Fetch it again."
        ) from error


def weight_files(file: Path) -> list[Path]:
    """Return each file of weights that a model JSON or a manifest.json names, once, in its order.

    Raises ConversionError where they are more, or larger, than a model's.
    """
    names = [name for group in _groups(file) for name in group["paths"]]
    if len(names) > MAX_FILES or len(set(map(str, names))) < len(names):
        raise ConversionError(
            f"{file.name} lists {len(names)} files of weights, {len(set(map(str, names)))} of them different, but a "
            f"model has at most {MAX_FILES} and lists each once. Do not use this source."
        )
    files = [inside(file, name) for name in names]
    size_bytes = sum(path.stat().st_size for path in files)
    if size_bytes > MAX_MODEL_BYTES:
        raise ConversionError(
            f"The weights of {file.name} have {size_bytes:,} bytes, more than {MAX_MODEL_BYTES:,}. Do not use this "
            "source."
        )
    return files


def load_manifest_format(file: Path, width: float | None, size: InputSize) -> tuple[GraphDef, dict[str, str]]:
    """Load PoseNet from `manifest.json` and one raw float32 file per variable. Returns the graph and its heads."""
    variables = read_weights(file)
    first = variables.get("MobilenetV1/Conv2d_0/weights")
    if first is None or first.ndim != 4:
        raise ConversionError(f"{file.name} has no MobilenetV1/Conv2d_0/weights. Give a PoseNet.")
    return build_graph(variables, width_of(first.shape[3], width), size)


def read_weights(file: Path) -> Weights:
    """Read all weights that a model JSON or a manifest.json lists, dequantised: name -> array.

    Raises ConversionError where shards are missing, truncated or too long, or where a weight is of an unknown type or
    not finite.
    """
    from models.heavy.tensorflowjs import decode_weights

    weight_files(file)  # within bounds
    weights: Weights = {}
    for group in _groups(file):
        entries = [_checked(entry) for entry in group["weights"]]
        content = b"".join(inside(file, name).read_bytes() for name in group["paths"])
        expected = sum(map(_stored_bytes, entries))
        if expected != len(content):
            names = ", ".join(group["paths"])
            raise ConversionError(
                f"The weights in {names} have {len(content)} bytes, not {expected}. Fetch the source again."
            )
        found = decode_weights([{"weights": entries}], content, flatten=True)
        weights |= {weight["name"]: weight["data"] for weight in found}
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ConversionError(f"Weight {name!r} contains NaN or infinity. Fetch it again.")
    return weights


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return only the parts of a weight's entry that tensorflowjs reads, each checked.

    tensorflowjs accepts any type of numpy, a negative side as "all the rest", and whole numbers for scale and min,
    with which uint8 and uint16 overflow.
    """
    name, shape, kind = str(entry["name"]), list(entry["shape"]), entry["dtype"]
    quantization = entry.get("quantization")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ConversionError(
            f"Weight {name[:SHOWN_CHARACTERS]!r} has the shape {str(shape)[:SHOWN_CHARACTERS]}, not whole numbers "
            "from 0 on. Fetch it again."
        )
    checked = {"name": name, "shape": shape, "dtype": _one_of(kind, _ITEM_BYTES, name)}
    if not quantization:
        return checked
    stored = _one_of(quantization["dtype"], _QUANTIZED_BYTES, name)
    if stored == "float16":
        return checked | {"dtype": _one_of(kind, {"float32": 4}, name), "quantization": {"dtype": stored}}
    scale, low = float(quantization["scale"]), float(quantization["min"])
    if not (math.isfinite(scale) and math.isfinite(low)):
        raise ConversionError(f"Weight {name[:SHOWN_CHARACTERS]!r} is scaled by {scale} from {low}. Fetch it again.")
    return checked | {"quantization": {"dtype": stored, "scale": scale, "min": low}}


def _one_of(kind: object, known: dict[str, int], name: str) -> str:
    if not isinstance(kind, str) or kind not in known:
        raise ConversionError(
            f"Weight {name[:SHOWN_CHARACTERS]!r} is stored as {str(kind)[:SHOWN_CHARACTERS]}, not as one of "
            f"{', '.join(known)}. Export the model again."
        )
    return kind


def _stored_bytes(entry: dict[str, Any]) -> int:
    quantization = entry.get("quantization")
    item: int = _QUANTIZED_BYTES[quantization["dtype"]] if quantization else _ITEM_BYTES[entry["dtype"]]
    return item * int(math.prod(entry["shape"]))


def load_graph_model(file: Path) -> tuple[GraphDef, dict[str, str]]:
    """Load the graph in `modelTopology`, its constants filled from the shards, and the outputs of its signature."""
    raw = read_json(file)
    try:
        graph = json_format.ParseDict(raw["modelTopology"], GraphDef(), max_recursion_depth=MAX_NESTING)
    except json_format.ParseError as error:
        raise ConversionError(
            f"modelTopology of {file.name} is not a TensorFlow graph ({error}). Fetch it again."
        ) from error
    weights = read_weights(file)
    for node in graph.node:
        if node.op != "Const":
            continue
        if node.name in weights:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
            node.attr["dtype"].type = node.attr["value"].tensor.dtype
        elif "value" not in node.attr:
            raise ConversionError(f"Constant {node.name!r} has no weights in {file.name}. Fetch the source again.")
    return graph, _signature(raw, {node.name for node in graph.node})


def _signature(raw: dict[str, Any], nodes: set[str]) -> dict[str, str]:
    """Output name -> tensor name, empty where the file names none. tensorflowjs 2 kept it among the user's metadata."""
    signature = raw.get("signature") or (raw.get("userDefinedMetadata") or {}).get("signature") or {}
    outputs = {str(key).split(":")[0]: str(value["name"]) for key, value in (signature.get("outputs") or {}).items()}
    tensors = {key: tensor if ":" in tensor else f"{tensor}:0" for key, tensor in outputs.items()}
    return tensors if all(tensor.split(":")[0] in nodes for tensor in tensors.values()) else {}


def load_layers_model(file: Path, size: InputSize | None) -> tuple[GraphDef, dict[str, str]]:
    """Load a Keras network in JSON with its weights. Returns the frozen graph and its outputs."""
    topology = read_json(file)["modelTopology"]
    config = topology.get("model_config", topology)
    model = load_config(config)
    weights = read_weights(file)
    named = {variable.name.split(":")[0]: variable for variable in model.weights}
    if missing := named.keys() - weights.keys():
        raise ConversionError(f"{file.name} has no weights for {', '.join(sorted(missing)[:5])}. Fetch it again.")
    for name, variable in named.items():
        if tuple(variable.shape) != weights[name].shape:
            raise ConversionError(
                f"Weight {name} has the shape {weights[name].shape}, the network needs {tuple(variable.shape)}. Give "
                "the network's own weights."
            )
        variable.assign(weights[name])
    return freeze_keras(model, size)
