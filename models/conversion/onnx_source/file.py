"""Heavy: an ONNX file -> a checked model without references to other files. Nothing is computed here.

Operators of the ONNX standard compute on tensors and reach nothing outside. Those of other domains may be anything, and
weights may lie in any file that a path leads to: both are checked before another library sees the model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from models.bounded import MAX_MODEL_BYTES, check_size, inside, read_bounded
from models.errors import ConversionError

_STANDARD = ("", "ai.onnx")
_NOT_REPEATABLE = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_NOT_NUMBERS = {"ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"}
_QUANTISED = {
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
}
_HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_TYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype"}


class OnnxFile(NamedTuple):
    """A checked model, its weights inside.

    files: every file that was read, by its path inside the source
    """

    model: onnx.ModelProto
    files: dict[str, Path]


def read_onnx(path: Path) -> OnnxFile:
    """Read and check a model. Floats of 16 bits are widened to 32, exactly, with all that is computed from them.

    Raises ConversionError where the file is no valid model, holds operators outside the standard, or names weights
    that are not beside it.
    """
    model = _parsed(path)
    model.ClearField("training_info")
    _refuse_operators(model, path.name)
    files = {path.name: path} | _embed_weights(model, path)
    try:
        _widen(model)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(f"{path.name} is not a valid ONNX model ({reason}). Export it again.") from error
    return OnnxFile(model, files)


def _parsed(path: Path) -> onnx.ModelProto:
    try:
        return onnx.ModelProto.FromString(read_bounded(path))
    except DecodeError as error:
        raise ConversionError(f"{path.name} is damaged, or nested too deep for a model. Fetch it again.") from error


def _messages(root: Message) -> Iterator[Any]:
    """Yield every message inside a message, at any depth."""
    waiting = [root]
    while waiting:
        for field, value in waiting.pop().ListFields():
            if field.message_type is None:
                continue
            # A field of several values is a container, and no message itself.
            found = [value] if isinstance(value, Message) else list(value)
            yield from found
            waiting += found


def _refuse_operators(model: onnx.ModelProto, name: str) -> None:
    """Raise ConversionError for operators that are not arithmetic on tensors, or that Nightjar makes itself."""
    if model.functions:
        names = ", ".join(sorted(function.name for function in model.functions)[:8])
        raise ConversionError(f"{name} defines operators of its own ({names}). Export it with its functions inlined.")
    nodes = [each for each in _messages(model) if isinstance(each, onnx.NodeProto)]
    foreign = {
        f"{node.domain or 'ai.onnx'}.{node.op_type}"
        for node in nodes
        if node.domain not in _STANDARD or not onnx.defs.has(node.op_type) or node.op_type in _NOT_NUMBERS
    }
    if foreign:
        raise ConversionError(
            f"{name} holds operators that are not arithmetic of the ONNX standard: {_listed(foreign)}. "
            "Export it with standard operators only."
        )
    used = {node.op_type for node in nodes}
    if random := used & _NOT_REPEATABLE:
        raise ConversionError(
            f"{name} draws random numbers ({_listed(random)}), so that its rows would not repeat. Export it for "
            "inference."
        )
    if quantised := used & _QUANTISED:
        raise ConversionError(
            f"{name} is quantised ({_listed(quantised)}). Give the model of floats, and make INT8 of it by 'nightjar "
            "quantize'."
        )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:8])


def _embed_weights(model: onnx.ModelProto, path: Path) -> dict[str, Path]:
    """Read weights from files next to the model into it, and return these files.

    Raises ConversionError where a file lies elsewhere, is too short, or more is read than a model has.
    """
    tensors = [each for each in _messages(model) if isinstance(each, onnx.TensorProto) and _is_external(each)]
    parts = [_part(path, {entry.key: entry.value for entry in tensor.external_data}) for tensor in tensors]
    if path.stat().st_size + sum(part.length for part in parts) > MAX_MODEL_BYTES:
        raise ConversionError(
            f"The weights of {path.name} have more than {MAX_MODEL_BYTES:,} bytes. Do not use this source."
        )
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.raw_data = part.read()
    return {part.file.relative_to(path.parent).as_posix(): part.file for part in parts}


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data) > 0


class _Part(NamedTuple):
    """Bytes [start, start + length) of a file."""

    file: Path
    start: int
    length: int

    def read(self) -> bytes:
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


def _part(path: Path, told: dict[str, str]) -> _Part:
    """Find the part of a file next to the model that a tensor names. Raises ConversionError where it is not there."""
    source = inside(path, told.get("location"))
    check_size(source)
    there = source.stat().st_size
    offset, length = (_whole(told.get(key)) for key in ("offset", "length"))
    start = offset or 0
    wanted = max(there - start, 0) if length is None else length
    if start + wanted > there:
        raise ConversionError(f"{source.name} has {there:,} bytes, and the model names more. Fetch it again.")
    return _Part(source, start, wanted)


def _whole(text: str | None) -> int | None:
    """Parse a number of bytes. Raises ConversionError where it is none."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ConversionError(f"The model names weights at {text[:40]!r}, which is no number. Do not use this source.")
    return int(text)


def _widen(model: onnx.ModelProto) -> None:
    """Make floats of 16 bits floats of 32, so that all parts of a half-precision model compute alike everywhere."""
    for each in list(_messages(model)):
        if isinstance(each, onnx.TensorProto) and each.data_type in _HALVES:
            each.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(each).astype(np.float32), each.name))
        elif isinstance(each, onnx.TypeProto.Tensor) and each.elem_type in _HALVES:
            each.elem_type = onnx.TensorProto.FLOAT
        elif isinstance(each, onnx.NodeProto) and each.op_type in _TYPE_ATTRIBUTES:
            for attribute in each.attribute:
                if attribute.name == _TYPE_ATTRIBUTES[each.op_type] and attribute.i in _HALVES:
                    attribute.i = onnx.TensorProto.FLOAT
