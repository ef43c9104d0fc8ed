"""Heavy: a model's FP16 IR -> INT8 by NNCF's post-training quantisation. Reads no video, measures no accuracy."""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.conversion.ir import ir_sha256, name_plainly, save_ir
from models.conversion.ir_xml import check_stick
from models.conversion.parity import MAX_IMAGES, as_tensor, compare, refuse_different, run_ir
from models.conversion.spec import QuantizeSpec
from models.heavy.openvino import ov  # first: it switches off the telemetry that NNCF shares
from models.manifest import BIN_FILE, MANIFEST_FILE, XML_FILE, ConversionError, Manifest, Source
from models.spec import flatten

import nncf  # isort: skip

LEAST_FRAMES = 10
_TOOLS = ("openvino", "nncf", "numpy")


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
    quantised = _quantised(ov.Core().read_model(xml, str(folder / BIN_FILE)), tensors)
    out.mkdir(parents=True)
    name_plainly(quantised)
    save_ir(quantised, out, fp16=True)
    reference = run_ir(xml, list(manifest.outputs), f"frames, {described}", few)
    parity = compare(str(out / XML_FILE), reference, "INT8")
    refuse_different(parity, "Quantise on frames like those of your videos, or keep the source.")
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


def _quantised(model: Any, tensors: list[NDArray[np.float32]]) -> Any:
    """Quantise with symmetric weights, asymmetric activations and corrected biases.

    The convolutions of the outputs stay in floating point: an offset of 100 pixels in 8 bits is off by a pixel, and
    they are a small part of the work.
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
    """Return the name of the convolution before each output."""
    names = set()
    for result in model.get_results():
        operation = result
        while operation.get_type_name() != "Convolution" and operation.get_input_size():
            operation = operation.input_value(0).get_node()
        if operation.get_type_name() == "Convolution":
            names.add(operation.get_friendly_name())
    return sorted(names)
