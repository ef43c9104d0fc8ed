"""Heavy: an ONNX file -> OpenVINO's model of a known pose head, its input fixed and its names ours."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

from models.conversion.onnx_source.differences import CONVOLUTION
from models.conversion.onnx_source.file import OnnxFile, read_onnx
from models.conversion.onnx_source.heads import Head, Shape, recognise
from models.conversion.onnx_source.reference import last_convolutions
from models.errors import ConversionError
from models.heavy.openvino import ov
from models.inference.sizes import InputSize, checked

CHANNELS = 3
STRIDE = 32  # pixels; the sides of most networks are multiples of it


@dataclass(frozen=True, eq=False)
class LoadedOnnx:
    """An ONNX model, ready to convert.

    source: the checked model itself; source_input: its input's name
    model: OpenVINO's, one input of static shape, outputs in the head's order under the head's names
    watched: name in the IR -> the source's name, of all outputs, then of the last convolutions
    shapes: name in the IR -> shape; -1 = differs from frame to frame
    layout, size: of the input
    files: every file that was read
    """

    source: onnx.ModelProto
    source_input: str
    model: Any
    head: Head
    watched: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    layout: Literal["NHWC", "NCHW"]
    size: InputSize
    files: dict[str, Path]


def load_onnx(path: Path, size: InputSize | None, input_name: str) -> LoadedOnnx:
    """Read a model at an input size (None: the model's own). input_name: of the input in the IR

    Raises ConversionError where it is not one, is broken, has unknown outputs, or cannot have the size.
    """
    if size is not None:
        checked(size)
    try:
        return _loaded(read_onnx(path), path.name, size, input_name)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise ConversionError(f"{path.name} is damaged ({error!r}). Fetch it again.") from error


def _loaded(file: OnnxFile, name: str, asked: InputSize | None, input_name: str) -> LoadedOnnx:
    model = _in_openvino(file.model, name)
    given, layout = _image_input(model)
    size = _choose_size(given, layout, asked, _told_size(file.model))
    _reshape(model, layout, size)
    head, names = recognise(_shapes(model))
    source_input = given.get_any_name()
    inner = {f"{CONVOLUTION}{place}": tensor for place, tensor in enumerate(last_convolutions(file.model))}
    ports = {ours: model.output(names[ours]) for ours in head.outputs}
    _name_inner(model, {tensor: ours for ours, tensor in inner.items()})
    results = [_named(port, ours) for ours, port in ports.items()]
    given.get_tensor().set_names({input_name})
    given.get_node().set_friendly_name(input_name)
    renamed = ov.Model(results, [given.get_node()], "nightjar")
    shapes = {ours: _plain(shape) for ours, shape in _shapes(renamed).items()}
    watched = names | inner
    return LoadedOnnx(file.model, source_input, renamed, head, watched, shapes, layout, size, file.files)


def _in_openvino(source: onnx.ModelProto, name: str) -> Any:
    """Convert from memory: a path would let OpenVINO read other files that the model names."""
    try:
        return ov.Core().read_model(source.SerializeToString())
    except Exception as error:  # the frontends have no public error class
        lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
        found = next((line for line in lines if "not support" in line or "No conversion" in line), " ".join(lines))
        raise ConversionError(f"OpenVINO cannot convert {name} ({found[:300]}). Export another graph.") from error


def _image_input(model: Any) -> tuple[Any, Literal["NHWC", "NCHW"]]:
    """Return the one input, a picture of floats, and its layout. Raises ConversionError for other inputs."""
    found = ", ".join(
        f"{port.get_any_name()} {port.get_element_type().get_type_name()} {port.partial_shape}" for port in model.inputs
    )
    wanted = f"one of floats [1, {CHANNELS}, height, width] or [1, height, width, {CHANNELS}]"
    if len(model.inputs) == 1 and model.inputs[0].get_element_type() == ov.Type.f32:
        shape = _shape(model.inputs[0])
        if shape is not None and len(shape) == 4 and shape[0] in (1, None):
            if shape[1] == CHANNELS:
                return model.inputs[0], "NCHW"
            if shape[3] == CHANNELS:
                return model.inputs[0], "NHWC"
    raise ConversionError(f"The inputs are {found or 'none'}, not {wanted}. Export the model with such an input.")


def _choose_size(given: Any, layout: str, asked: InputSize | None, told: InputSize | None) -> InputSize:
    """Choose the input size. Raises ConversionError where none is known, or the model is fixed to another one."""
    shape = _shape(given) or ()
    height, width = shape[layout.index("H")], shape[layout.index("W")]
    if (height is None) != (width is None):
        raise ConversionError("One side of the input is fixed, the other is not. Export the model with both or none.")
    if height is None or width is None:
        chosen = asked or told
        if chosen is None:
            raise ConversionError("The model takes any input size. Choose one with --size.")
        return checked(chosen)
    own = InputSize(height, width)
    if asked not in (None, own):
        raise ConversionError(f"The model is fixed to input size {own}, but --size is {asked}. Leave --size out.")
    return own


def _told_size(source: onnx.ModelProto) -> InputSize | None:
    """Return the size that Ultralytics' exporter writes into the metadata: `imgsz`, height and width."""
    text = next((entry.value for entry in source.metadata_props if entry.key == "imgsz"), "")
    try:
        height, width = json.loads(text[:100])
        return InputSize(int(height), int(width))
    except (ValueError, TypeError, RecursionError):
        return None


def _reshape(model: Any, layout: str, size: InputSize) -> None:
    sides = {"N": 1, "C": CHANNELS, "H": size.height, "W": size.width}
    try:
        model.reshape([sides[axis] for axis in layout])
    except RuntimeError as error:
        near = InputSize(*(max(1, round(side / STRIDE)) * STRIDE for side in size))
        raise ConversionError(
            f"The model cannot have the input size {size}. Give the size that it was exported for, or multiples of "
            f"{STRIDE}, such as --size {near}."
        ) from error


def _shapes(model: Any) -> dict[str, Shape | None]:
    return {port.get_any_name(): _shape(port) for port in model.outputs}


def _shape(port: Any) -> Shape | None:
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return None
    return tuple(side.get_length() if side.is_static else None for side in shape)


def _plain(shape: Shape | None) -> tuple[int, ...]:
    return tuple(-1 if side is None else side for side in shape or ())


def _name_inner(model: Any, ours: dict[str, str]) -> None:
    """Name the inner tensors that are compared, and no others: a conversion's bytes depend on no exporter's names.

    ours: the source's name -> ours
    """
    for operation in model.get_ops():
        if operation.get_type_name() not in ("Parameter", "Result"):
            for port in operation.outputs():
                port.get_tensor().set_names({ours[name] for name in port.get_names() if name in ours})


def _named(port: Any, name: str) -> Any:
    """Give an output our name. Returns its node."""
    port.get_tensor().set_names({name})
    port.get_node().set_friendly_name(name)
    return port.get_node()
