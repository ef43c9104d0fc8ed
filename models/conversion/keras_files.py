"""Heavy: Keras files and configurations -> a frozen TensorFlow graph. No code from a file is run.

Lambda layers (Python byte code in the file) and classes of other modules than Keras's own are refused before Keras
sees them: its own safe mode did not cover .h5 files in all versions (CVE-2025-9905).
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]

from models.bounded import check_archive, parse_json, read_member
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, convert_variables_to_constants_v2, keras, silent_stderr, tf, tf_keras
from models.inference.sizes import InputSize

_OWN_MODULES = ("keras", "tf_keras", "builtins")
_READ_FILES = ("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization")


def refuse_code(config: Any) -> None:
    """Raise ConversionError where a Keras configuration contains Python code or names a foreign class."""
    if isinstance(config, list):
        for item in config:
            refuse_code(item)
    elif isinstance(config, dict):
        module = config.get("module")
        if config.get("class_name") in _READ_FILES:
            raise ConversionError(
                f"The model has a {config['class_name']} layer, which reads a vocabulary from a file. Leave the layer "
                "out."
            )
        if config.get("class_name") in ("Lambda", "TFSMLayer", "__lambda__"):
            raise ConversionError(
                f"The model has a {config['class_name']} layer, which contains Python code. "
                "Build the model from Keras's own layers, or export it as a SavedModel or frozen graph."
            )
        if "class_name" in config and isinstance(module, str) and module.split(".")[0] not in _OWN_MODULES:
            raise ConversionError(
                f"The model names the class {module}.{config['class_name']}. Use Keras's own classes only."
            )
        for item in config.values():
            refuse_code(item)


def load_config(config: dict[str, Any]) -> Any:
    """Build a tf_keras model without its weights from the configuration in a TF.js layers model."""
    refuse_code(config)
    try:
        return tf_keras.models.model_from_json(json.dumps(config))
    except Exception as error:  # Keras raises what its layers raise
        raise ConversionError(
            f"tf_keras {tf_keras.__version__} cannot read this network ({error}). Export it again."
        ) from error


def load_keras(path: Path, size: InputSize | None) -> tuple[GraphDef, dict[str, str]]:
    """Load a whole model from .h5 or .keras, of Keras 2 or 3. Returns the frozen graph and its outputs.

    Raises ConversionError for a file of weights only, code inside, or what Keras cannot read.
    """
    config, version = _h5_config(path) if h5py.is_hdf5(path) else _zip_config(path)
    refuse_code(config)
    library = keras if version.startswith("3") else tf_keras
    try:
        model = library.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what its layers raise
        raise ConversionError(f"Keras cannot read {path.name} ({error}). Save the whole model again.") from error
    return freeze_keras(model, size)


def _h5_config(path: Path) -> tuple[Any, str]:
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "2")
    except OSError as error:
        raise ConversionError(f"{path.name} is a broken HDF5 file ({error}). Fetch it again.") from error
    if config is None:
        raise ConversionError(
            f"{path.name} contains weights only. Save the whole model with model.save(), not save_weights()."
        )
    content = config.encode() if isinstance(config, str) else bytes(config)
    return parse_json(content, f"the configuration in {path.name}"), str(version)


def _zip_config(path: Path) -> tuple[Any, str]:
    try:
        check_archive(path)
        return read_member(path, "config.json"), str(read_member(path, "metadata.json")["keras_version"])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{path.name} is not a Keras file ({error}). Save the whole model again.") from error


def freeze_keras(model: Any, size: InputSize | None) -> tuple[GraphDef, dict[str, str]]:
    """Freeze a model at a size (None: its own input size): (graph, output name -> tensor name)."""
    inputs = model.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (3, None):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise ConversionError(f"The model's inputs are {shapes}. Export a model with one image [1, height, width, 3].")
    asked = size or (None, None)
    shape = [1, *(own or side for own, side in zip(inputs[0].shape[1:3], asked, strict=True)), 3]
    if None in shape:
        raise ConversionError("The model takes any input size. Choose one with --size.")
    function = tf.function(lambda image: model(image, training=False))
    return freeze(function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image")))


def freeze(function: Any) -> tuple[GraphDef, dict[str, str]]:
    """Freeze a concrete TensorFlow function to a graph; a dict of outputs keeps its keys as names."""
    structure = function.structured_outputs
    with silent_stderr():
        frozen = convert_variables_to_constants_v2(function)
    tensors = [tensor.name for tensor in frozen.outputs]
    keys = sorted(structure) if isinstance(structure, dict) else [name.split(":")[0] for name in tensors]
    return frozen.graph.as_graph_def(), dict(zip(keys, tensors, strict=True))
