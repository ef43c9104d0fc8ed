"""Heavy: reading an OpenVINO IR as a source, and writing one: equal operations and weights are equal bytes.

An IR does not say what its numbers mean, so only IRs that are recognised by their outputs are accepted: OpenPose's.
"""

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from models.bounded import check_size, check_xml, root_element
from models.decoders.openpose import CHANNELS, OpenPoseParams
from models.errors import ConversionError
from models.heavy.openvino import ov
from models.inference.sizes import InputSize
from models.manifest import BIN_FILE, XML_FILE, InputSpec, Precision, file_sha256


@dataclass(frozen=True)
class LoadedIr:
    """model: OpenVINO's, shapes static; outputs: name -> shape; precision: of the weights; xml, bin: its files

    reshaped: the model has another input size than its files
    """

    model: Any
    input: InputSpec
    outputs: dict[str, tuple[int, ...]]
    precision: Precision
    xml: Path
    bin: Path
    reshaped: bool = False


def is_ir(file: Path) -> bool:
    """Return whether the file is XML, of any encoding, whose first element is an IR's."""
    return root_element(file) == "net"


def load_ir(xml: Path, size: InputSize | None = None) -> LoadedIr:
    """Read model.xml, with the .bin of the same name next to it. size: of the input; None = the file's own

    Raises ConversionError where it is not an IR, is broken, or is not an OpenPose.
    """
    weights = xml.with_suffix(".bin")
    if not weights.is_file():
        raise ConversionError(f"There is no {weights.name} next to {xml.name}. Put the weights there.")
    check_xml(xml)
    check_size(weights)
    try:
        model = ov.Core().read_model(str(xml), str(weights))
        precision = _precision(xml)
    except (RuntimeError, ElementTree.ParseError) as error:
        raise ConversionError(f"OpenVINO cannot read {xml.name} ({error}). Fetch it again.") from error
    own = _input(model)
    given = own if size in (None, (own.height, own.width)) else _reshape(model, size)
    return LoadedIr(model, given, _outputs(model, given), precision, xml, weights, given != own)


def _reshape(model: Any, size: InputSize) -> InputSpec:
    """Give the model another input size. Raises ConversionError where it cannot have it."""
    cell_px = OpenPoseParams.cell_px
    if size.height % cell_px or size.width % cell_px:
        raise ConversionError(f"--size is {size}. Give multiples of {cell_px} for OpenPose.")
    try:
        model.reshape([1, 3, *size])
    except RuntimeError as error:
        raise ConversionError(f"The IR cannot have the input size {size} ({error}). Leave --size out.") from error
    return _input(model)


def _precision(xml: Path) -> Precision:
    """Return the type of most bytes of floats; INT8 where values or weights are quantised."""
    layers = list(ElementTree.parse(xml).getroot().iter("layer"))  # noqa: S314 - without a document type
    size_bytes: Counter[str] = Counter()
    for constant in (layer.find("data") for layer in layers if layer.get("type") == "Const"):
        if constant is not None:
            size_bytes[constant.get("element_type", "")] += int(constant.get("size", "0"))
    quantised = any(layer.get("type") == "FakeQuantize" for layer in layers)
    name = f"{'FP16' if size_bytes['f16'] >= size_bytes['f32'] else 'FP32'}{'-INT8' if quantised else ''}"
    return next(precision for precision in get_args(Precision) if precision == name)


def _input(model: Any) -> InputSpec:
    """Return the input as the Open Model Zoo converts it: BGR, 0 to 255, scaled inside."""
    if len(model.inputs) != 1 or model.inputs[0].partial_shape.is_dynamic:
        found = ", ".join(str(port.partial_shape) for port in model.inputs)
        raise ConversionError(f"The IR's inputs are {found}. Export it with one input of static shape.")
    (port,) = model.inputs
    shape = tuple(port.shape)
    if len(shape) != 4 or shape[:2] != (1, 3):
        raise ConversionError(f"The IR's input is {shape}. Export it with (1, 3, height, width).")
    return InputSpec(port.get_any_name(), shape, layout="NCHW", color="BGR", mean=0, scale=1, resize="corner")


def _outputs(model: Any, given: InputSpec) -> dict[str, tuple[int, ...]]:
    cells = (given.height // OpenPoseParams.cell_px, given.width // OpenPoseParams.cell_px)
    expected: dict[str, tuple[int, ...]] = {name: (1, channels, *cells) for name, channels in CHANNELS.items()}
    names = {name for port in model.outputs for name in port.get_names()}
    if len(model.outputs) != len(expected) or not expected.keys() <= names:
        raise ConversionError(
            f"The IR's outputs are {', '.join(sorted(names))}, not {', '.join(expected)} of "
            "human-pose-estimation-0001. Give the TensorFlow or TensorFlow.js weights of other models."
        )
    for name, shape in expected.items():
        found = model.output(name).partial_shape
        if found.is_dynamic or tuple(found.to_shape()) != shape:
            raise ConversionError(f"Output {name} has the shape {found}, not {shape}. Give an OpenPose.")
    return expected


XML_BYTES = 1 << 20  # room for the network in addition to its weights


def name_plainly(model: Any) -> None:
    """Replace the names of operations by plain ones.

    OpenVINO's and NNCF's contain a count that runs through the process's life, and would change the hash each time.
    """
    for place, operation in enumerate(model.get_ordered_ops()):
        if operation.get_type_name() not in ("Parameter", "Result"):
            operation.set_friendly_name(f"{operation.get_type_name()}_{place}")


def save_ir(model: Any, folder: Path, *, fp16: bool) -> None:
    """Write model.xml and model.bin. fp16: floats are rounded to it. Raises OSError where the disk is full."""
    xml = folder / XML_FILE
    try:
        ov.save_model(model, str(xml), compress_to_fp16=fp16)
    except RuntimeError as error:  # OpenVINO's own, an "iostream error" without the reason
        _refuse_full(folder, model, error)
        raise
    # The last block names the tools' builds: equal operations and weights must stay the same model version.
    network, block, _ = xml.read_text(encoding="utf-8").rpartition("\t<rt_info>\n")
    if block:
        xml.write_text(f"{network}</net>\n", encoding="utf-8")


def _refuse_full(folder: Path, model: Any, cause: Exception) -> None:
    """Raise OSError where the disk has no room for the weights. OpenVINO has removed the part that it had written."""
    constants = (operation for operation in model.get_ops() if operation.get_type_name() == "Constant")
    size_bytes = sum(constant.get_byte_size() for constant in constants) // 2 + XML_BYTES  # at the least, as FP16
    try:
        with (folder / "room").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size_bytes, 1))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from cause
    finally:
        (folder / "room").unlink(missing_ok=True)


def ir_sha256(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in (XML_FILE, BIN_FILE)}
