"""Heavy: a model's FP16 IR -> INT8 by NNCF's post-training quantization. Reads no video, measures no accuracy."""

import contextlib
import dataclasses
import io
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.conversion.ir import ir_sha256, name_plainly, save_ir
from models.conversion.ir_xml import check_stick
from models.conversion.parity import MAX_IMAGES, as_tensor, compare, refuse_different, run_ir
from models.conversion.spec import QuantizeSpec
from models.errors import ConversionError
from models.heavy.openvino import ov  # first: it switches off the telemetry that NNCF shares
from models.manifest import BIN_FILE, MANIFEST_FILE, XML_FILE, Manifest, Source
from models.spec import flatten

import nncf  # isort: skip

LEAST_FRAMES = 10
_TOOLS = ("openvino", "nncf", "numpy")
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_LEAVES = ("Constant", "Parameter", "ShapeOf")  # no value of the network goes through them


def quantize(
    folder: Path, manifest: Manifest, spec: QuantizeSpec, frames: Sequence[NDArray[np.uint8]], described: str, out: Path
) -> Manifest:
    """Write model.xml, model.bin and manifest.json of the INT8 model into the new folder `out`.

    folder, manifest: of the source
    frames: (height, width, 3) uint8 RGB each, of the model's input size, to measure its ranges on
    described: origin of the frames
    The same source and frames give the same bytes.
    Raises ConversionError where the source is INT8 already, the frames are too few, or the outputs differ grossly.
    """
    if manifest.precision not in ("FP16", "FP32"):
        raise ConversionError(f"{manifest.name} is {manifest.precision} already. Name its source of FP16 or FP32.")
    if len(frames) < LEAST_FRAMES:
        raise ConversionError(
            f"There are {len(frames)} frames to measure ranges on ({described}), and {LEAST_FRAMES} are needed. "
            "Give a larger archive or --frames."
        )
    xml = str(folder / XML_FILE)
    tensors = [as_tensor(frame, manifest.input) for frame in frames]
    few = [tensors[number] for number in np.linspace(0, len(tensors) - 1, min(MAX_IMAGES, len(tensors))).astype(int)]
    quantized = _quantized(ov.Core().read_model(xml, str(folder / BIN_FILE)), tensors)
    out.mkdir(parents=True)
    name_plainly(quantized)
    save_ir(quantized, out, fp16=True)
    reference = run_ir(xml, list(manifest.outputs), f"frames, {described}", few)
    parity = compare(str(out / XML_FILE), reference, "INT8")
    refuse_different(parity, "Quantize on frames like those of your videos, or keep the source.")
    found = dataclasses.replace(
        manifest,
        name=spec.name_after(manifest.name),
        source=Source(
            format="nightjar",
            location=f"{manifest.name}, version {manifest.version_id}; ranges from {described}",
            sha256=manifest.version_id,
            files=manifest.ir_sha256,
        ),
        tools={tool: version(tool) for tool in _TOOLS},
        precision="FP16-INT8",
        ir_sha256=ir_sha256(out),
        parity=parity,
        stick=check_stick(out / XML_FILE, "FP16-INT8"),
        parameters=flatten(spec),
    )
    (out / MANIFEST_FILE).write_text(found.to_json(), encoding="utf-8")
    return found


def _quantized(model: Any, tensors: list[NDArray[np.float32]]) -> Any:
    """Quantize with symmetric weights, asymmetric activations and corrected biases.

    What serves one output only stays in floating point: an offset of 100 pixels in 8 bits is off by a pixel, and these
    operations are a small part of the work.
    """
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(tensors),
            subset_size=len(tensors),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=_heads(model)),
        )


def _heads(model: Any) -> list[str]:
    """Return the names of all operations that serve one output map only, and of all that follows the maps.

    A map is the result of the last convolution on a path to an output. PoseNet has four, of which the last convolutions
    alone are a map's own; MoveNet has four or six, each with convolutions of its own and one post-processing for all.
    """
    tail = _upstream((result.input_value(0).get_node() for result in model.get_results()), until=_CONVOLUTIONS)
    maps = [operation for operation in tail.values() if operation.get_type_name() in _CONVOLUTIONS]
    users = Counter(name for operation in maps for name in _upstream([operation]))
    own = {name for name, count in users.items() if count == 1 and len(maps) > 1}
    return sorted(tail.keys() | own)


def _upstream(operations: Iterable[Any], until: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return operations and all that they depend on, by name; of the types `until`, only the first on each path."""
    found: dict[str, Any] = {}
    ahead = list(operations)
    while ahead:
        operation = ahead.pop()
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        if name not in found and kind not in _LEAVES:
            found[name] = operation
            ahead += [] if kind in until else [value.get_node() for value in operation.input_values()]
    return found
