"""Heavy: the three TF.js formats -> TensorFlow. Weights are read and dequantised here, without tensorflowjs.

Not here: where files come from (storage.objects), telling formats apart (sources.py), graph surgery (graph.py).
"""

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from models.bounded import MAX_JSON_BYTES, MAX_MODEL_BYTES, MAX_NESTING, parse_json, read_bounded
from models.conversion.keras_files import freeze_keras, load_config
from models.conversion.posenet_graph import build_graph, width_of
from models.heavy.tensorflow import GraphDef, tf
from models.manifest import ConversionError

Weights = dict[str, NDArray[Any]]

SHOWN_CHARACTERS = 200  # of a name from outside
MAX_FILES = 2_000  # ResNet50 in TF.js's first format has 320

_DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_, "uint8": np.uint8, "float16": np.float16}
_QUANTIZED = {"uint8": np.uint8, "uint16": np.uint16, "float16": np.float16}


def read_json(path: Path) -> Any:
    """Raises ConversionError where the file is no JSON, or larger or deeper than a model's."""
    return parse_json(read_bounded(path, MAX_JSON_BYTES), path.name)


def inside(file: Path, name: object) -> Path:
    """The file that a manifest names: beside it, or in a folder below.

    Raises ConversionError for a name that leads elsewhere, also by a linked folder, and where there is no such file.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConversionError(
            f"{file.name} names the file {str(name)[:SHOWN_CHARACTERS]!r}, expected a name inside its folder: do not "
            "trust it"
        )
    path = PurePosixPath(name.replace("\\", "/"))
    found, folder = file.parent / path, file.parent.resolve()
    if "://" in name or path.is_absolute() or ".." in path.parts or path.parts == ():
        raise ConversionError(
            f"{file.name} names the file {name[:SHOWN_CHARACTERS]!r}, expected a name inside its folder: do not trust "
            "it, or fetch that file, put it beside the model and name it without its address"
        )
    shown = name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"
    try:
        inside_folder, there = found.parent.resolve().is_relative_to(folder), found.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a part of 300 bytes, a ring of links, half a character
        raise ConversionError(f"{file.name} names a file that cannot be there, {shown!r}: do not trust it") from error
    if not inside_folder:
        raise ConversionError(f"{file.name} names {shown!r}, whose folder is a link to elsewhere: do not trust it")
    if not there:
        raise ConversionError(f"{file.name} names {shown!r}, which is not there: fetch all its files into one folder")
    return found


def weight_files(file: Path) -> list[Path]:
    """Every file with weights that a model JSON or a manifest.json names, in its order, each once.

    Raises ConversionError where there are more, or larger ones, than a model has.
    """
    raw = read_json(file)
    try:
        if "weightsManifest" in raw:
            names = [name for group in raw["weightsManifest"] for name in group["paths"]]
        else:
            names = [entry["filename"] for entry in raw.values()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConversionError(f"{file.name} lists its weights in an unknown way ({error!r}): fetch it again") from error
    if len(names) > MAX_FILES or len(set(map(str, names))) < len(names):
        raise ConversionError(
            f"{file.name} lists {len(names)} files of weights, {len(set(map(str, names)))} of them different, expected "
            f"at most {MAX_FILES} and each once. Do not trust this source"
        )
    files = [inside(file, name) for name in names]
    size_bytes = sum(path.stat().st_size for path in files)
    if size_bytes > MAX_MODEL_BYTES:
        raise ConversionError(f"the weights of {file.name} have {size_bytes:,} bytes, more than {MAX_MODEL_BYTES:,}")
    return files


def load_manifest_format(file: Path, width: float | None, size: int) -> tuple[GraphDef, dict[str, str]]:
    """PoseNet from `manifest.json` and one raw float32 file a variable. Returns the graph and its heads."""
    weight_files(file)  # within bounds
    variables = {name: _read_variable(file, entry) for name, entry in read_json(file).items()}
    first = variables.get("MobilenetV1/Conv2d_0/weights")
    if first is None or first.ndim != 4:
        raise ConversionError(f"{file.name} has no MobilenetV1/Conv2d_0/weights, expected PoseNet's: wrong model")
    return build_graph(variables, width_of(first.shape[3], width), size)


def _read_variable(file: Path, entry: dict[str, Any]) -> NDArray[np.float32]:
    path = inside(file, entry["filename"])
    return _reshape(np.frombuffer(_exactly(path, 4 * _count(entry)), "<f4"), entry, path.name)


def _exactly(path: Path, size_bytes: int) -> bytes:
    found = path.stat().st_size
    if found != size_bytes:
        raise ConversionError(f"{path.name} has {found} bytes, expected {size_bytes}: fetch it again")
    return path.read_bytes()


def _count(entry: dict[str, Any]) -> int:
    return math.prod(int(side) for side in entry["shape"])


def _reshape(values: NDArray[Any], entry: dict[str, Any], name: str) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise ConversionError(f"{name} holds NaN or infinity, expected finite weights: fetch it again")
    return values.reshape(entry["shape"])


def read_weights(file: Path) -> Weights:
    """All weights of a graph or layers model, dequantised: name -> array.

    Raises ConversionError where shards are missing, cut short or too long, or of an unknown type.
    """
    weights: Weights = {}
    weight_files(file)  # within bounds
    for group in read_json(file)["weightsManifest"]:
        content = b"".join(inside(file, name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            stored = _stored_type(entry)
            end = offset + _count(entry) * stored.itemsize
            if end > len(content):
                break
            weights[entry["name"]] = _dequantised(np.frombuffer(content[offset:end], stored), entry)
            offset = end
        expected = sum(_count(entry) * _stored_type(entry).itemsize for entry in group["weights"])
        if expected != len(content):
            names = ", ".join(group["paths"])
            raise ConversionError(f"{names}: {len(content)} bytes found, {expected} expected: fetch the source again")
    return weights


def _stored_type(entry: dict[str, Any]) -> np.dtype[Any]:
    quantization = entry.get("quantization")
    kind = quantization["dtype"] if quantization else entry["dtype"]
    known = _QUANTIZED if quantization else _DTYPES
    if kind not in known:
        raise ConversionError(f"weight {entry['name']!r} is stored as {kind}, expected one of {', '.join(known)}")
    return np.dtype(known[kind]).newbyteorder("<")


def _dequantised(stored: NDArray[Any], entry: dict[str, Any]) -> NDArray[Any]:
    """uint8 and uint16: value * scale + min, in float64 as TF.js does; float16: widened."""
    quantization = entry.get("quantization") or {}
    values = (
        stored.astype(np.float64) * quantization["scale"] + quantization["min"] if "scale" in quantization else stored
    )
    target = np.dtype(_DTYPES.get(entry["dtype"], np.float32))
    rounded = np.rint(values) if target.kind == "i" else values
    return _reshape(rounded.astype(target), entry, entry["name"])


def load_graph_model(file: Path) -> tuple[GraphDef, dict[str, str]]:
    """The graph in `modelTopology`, its constants filled from the shards, and the outputs that a signature names."""
    raw = read_json(file)
    try:
        graph = json_format.ParseDict(raw["modelTopology"], GraphDef(), max_recursion_depth=MAX_NESTING)
    except json_format.ParseError as error:
        raise ConversionError(
            f"modelTopology of {file.name} is no TensorFlow graph ({error}): fetch it again"
        ) from error
    weights = read_weights(file)
    for node in graph.node:
        if node.op != "Const":
            continue
        if node.name in weights:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
            node.attr["dtype"].type = node.attr["value"].tensor.dtype
        elif "value" not in node.attr:
            raise ConversionError(f"constant {node.name!r} has no weights in {file.name}: fetch the source again")
    return graph, _signature(raw, {node.name for node in graph.node})


def _signature(raw: dict[str, Any], nodes: set[str]) -> dict[str, str]:
    """Output name -> tensor name, empty where the file names none. tensorflowjs 2 kept it among the user's metadata."""
    signature = raw.get("signature") or (raw.get("userDefinedMetadata") or {}).get("signature") or {}
    outputs = {str(key).split(":")[0]: str(value["name"]) for key, value in (signature.get("outputs") or {}).items()}
    tensors = {key: tensor if ":" in tensor else f"{tensor}:0" for key, tensor in outputs.items()}
    return tensors if all(tensor.split(":")[0] in nodes for tensor in tensors.values()) else {}


def load_layers_model(file: Path, size: int | None) -> tuple[GraphDef, dict[str, str]]:
    """A Keras network in JSON with its weights beside it. Returns the frozen graph and its outputs."""
    topology = read_json(file)["modelTopology"]
    config = topology.get("model_config", topology)
    model = load_config(config)
    weights = read_weights(file)
    named = {variable.name.split(":")[0]: variable for variable in model.weights}
    if missing := named.keys() - weights.keys():
        raise ConversionError(f"{file.name} has no weights for {', '.join(sorted(missing)[:5])}: fetch it again")
    for name, variable in named.items():
        if tuple(variable.shape) != weights[name].shape:
            raise ConversionError(
                f"weight {name} is {weights[name].shape}, expected {tuple(variable.shape)}: wrong file"
            )
        variable.assign(weights[name])
    return freeze_keras(model, size)
