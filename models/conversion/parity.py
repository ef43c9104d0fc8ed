"""Heavy: differences between the outputs of an IR and its source on pictures. TensorFlow only for its own models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.conversion.onnx_source.differences import boxed_differences, is_boxed
from models.decoders.movenet import MOVENET_OUTPUT
from models.errors import ConversionError
from models.heavy.openvino import ov
from models.manifest import InputSpec, Parity

if TYPE_CHECKING:  # TensorFlow takes seconds, and only its own models need it
    from models.conversion.sources import LoadedModel

MAX_IMAGES = 16
SYNTHETIC_IMAGES = 8
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

# Bounds of the mean difference: heatmaps in logits, the others in pixels of the input. FP32 shows whether the
# conversion is right, FP16 the cost of rounding the weights. Measured on the published 0.50 and 0.75 weights at 224 and
# 513, 80 COCO images: FP32 6e-6 and 4e-5 (0 where TensorFlow computes with oneDNN too), FP16 0.06, 0.31 and 0.39. The
# largest differences of FP16 (2.8 logits, 35 px) are in cells without a person and say little. INT8's bound only
# catches broken models, as its poses are compared later: posenet-050 has 0.44, 2.2 and 2.9, posenet-demo 0.12, 0.17 and
# 0.3.
_POSENET_BOUNDS = {
    "FP32": {"heatmap": 1e-4, "offset_2": 1e-3, "displacement_fwd_2": 1e-3, "displacement_bwd_2": 1e-3},
    "FP16": {"heatmap": 0.25, "offset_2": 1.0, "displacement_fwd_2": 1.5, "displacement_bwd_2": 1.5},
    "INT8": {"heatmap": 1.5, "offset_2": 6.0, "displacement_fwd_2": 10.0, "displacement_bwd_2": 10.0},
}
# MoveNet's output, in fractions of the input: as published in float16, 6e-8 in FP32 and in FP16 (80 COCO images). A
# fraction of 0.01 is 2 to 3 px. Scores that are nearly equal may change places, so that single rows differ.
# INT8 moves people of low scores into other rows (0.15 for a multipose with three quarters of its AP): only a broken
# model is beyond its bound, and the people are compared later.
_MOVENET_BOUNDS = {"FP32": 1e-4, "FP16": 0.01, "INT8": 0.5}
# One-stage pose heads: positions in pixels of the input, scores; convolutions in parts of their mean magnitude. Set by
# PoseNet's, because no published weights were at hand. Reference and IR of small graphs: 2e-5 px in FP32.
_BOXED_BOUNDS = {
    "FP32": {"positions": 0.05, "scores": 1e-3, "convolutions": 1e-3},
    "FP16": {"positions": 1.5, "scores": 0.02, "convolutions": 0.2},
    "INT8": {"positions": 10.0, "scores": 0.15, "convolutions": 0.5},
}
# For other models: parts of the output's mean magnitude. Measured on MobileNet 0.25 (softmax): 1e-5 and 0.04.
_RELATIVE_BOUNDS = {"FP32": 1e-3, "FP16": 0.2, "INT8": 0.5}

Batch = NDArray[np.float32]
Outputs = dict[str, Batch]


@dataclass(frozen=True, eq=False)
class Reference:
    """Outputs of the source. images: describes the pictures; tensors: the model's input for each; outputs: of each."""

    images: str
    tensors: list[Batch]
    outputs: list[Outputs]


def run_tensorflow(loaded: "LoadedModel", spec: InputSpec, images: Path | None) -> Reference:
    """Run the source on the first 16 pictures by name of a folder, or on synthetic ones (None).

    Raises ConversionError where the folder holds no picture, or TensorFlow cannot run the graph.
    """
    from models.conversion.graph import OUTPUT_PREFIX, to_graph
    from models.heavy.tensorflow import silent_stderr, tf

    described, tensors = picture_tensors(spec, images)
    names = {name: f"{OUTPUT_PREFIX}{name}:0" for name in loaded.outputs}
    graph = to_graph(loaded.graph)
    try:
        with silent_stderr(), tf.compat.v1.Session(graph=graph) as session:
            outputs = [session.run(names, {f"{loaded.input}:0": tensor}) for tensor in tensors]
    except tf.errors.OpError as error:
        raise ConversionError(f"TensorFlow cannot run the graph ({error.message}). Export the source again.") from error
    return Reference(described, tensors, outputs)


def run_source_ir(model: Any, outputs: list[str], spec: InputSpec, images: Path | None) -> Reference:
    """Run an OpenVINO model that is itself the source, on the CPU in f32."""
    described, tensors = picture_tensors(spec, images)
    return run_ir(model, outputs, described, tensors)


def run_ir(model: Any, outputs: list[str], described: str, tensors: list[Batch]) -> Reference:
    """Run an IR on given tensors. model: or the path of its .xml"""
    found = [{name: array.copy() for name, array in o.items()} for o in _run_openvino(model, outputs, tensors)]
    return Reference(described, tensors, found)


def picture_tensors(spec: InputSpec, images: Path | None, most: int = MAX_IMAGES) -> tuple[str, list[Batch]]:
    """Describe the first pictures by name of a folder (None: synthetic ones), and prepare each as the model expects.

    Raises ConversionError where the folder holds no picture.
    """
    described, pictures = _pictures(images, spec.height, spec.width, most)
    return described, [as_tensor(picture, spec) for picture in pictures]


def as_tensor(picture: NDArray[np.uint8], spec: InputSpec) -> Batch:
    """Turn (height, width, 3) uint8 RGB of the input's size into the model's own input, with a batch of 1."""
    colored = picture[..., ::-1] if spec.color == "BGR" else picture
    scaled = ((colored - np.array(spec.mean)) / np.array(spec.scale)).astype(np.float32)[None]
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)) if spec.layout == "NCHW" else scaled


def compare(model: Any, reference: Reference, precision: Literal["FP16", "FP32", "INT8"]) -> Parity:
    """Compare an OpenVINO model, or the path of its .xml, with the reference, on the CPU in f32."""
    names = list(reference.outputs[0])
    differences: dict[str, list[Batch]] = {}
    for expected, found in zip(reference.outputs, _run_openvino(model, names, reference.tensors), strict=True):
        for name, values in _differences(expected, found).items():
            # NaN compares as false with every bound. As infinity it is refused.
            differences.setdefault(name, []).append(np.nan_to_num(np.abs(values), nan=np.inf))
    compared = {name: kept for name, parts in differences.items() if (kept := [part for part in parts if part.size])}
    largest = {name: max(float(d.max()) for d in parts) for name, parts in compared.items()}
    mean = {name: _mean(parts) for name, parts in compared.items()}
    bounds = _bounds(reference, precision)
    return Parity(reference.images, len(reference.tensors), largest, mean, {name: bounds[name] for name in compared})


def _differences(expected: Outputs, found: Outputs) -> Outputs:
    """Return the differences that are judged: of one-stage heads by meaning, of other models by output."""
    if is_boxed(expected):
        return boxed_differences(expected, found)
    return {name: expected[name] - found[name] for name in expected}


def refuse_different(parity: Parity, remedy: str) -> None:
    """Raise ConversionError where the mean difference of an output is beyond its bound."""
    for name, difference in parity.mean_abs.items():
        if not difference <= parity.bound[name]:
            raise ConversionError(
                f"Output {name} of the IR differs from the source's by {difference:.3g} on average, and the bound is "
                f"{parity.bound[name]:.3g} ({parity.images}). {remedy}"
            )


def _mean(parts: list[Batch]) -> float:
    return float(np.mean([np.mean(part, dtype=np.float64) for part in parts]))


def _bounds(reference: Reference, precision: str) -> dict[str, float]:
    if reference.outputs[0].keys() == _POSENET_BOUNDS[precision].keys():
        return dict(_POSENET_BOUNDS[precision])
    if is_boxed(reference.outputs[0]):
        return dict(_BOXED_BOUNDS[precision])
    if reference.outputs[0].keys() == {MOVENET_OUTPUT}:
        return {MOVENET_OUTPUT: _MOVENET_BOUNDS[precision]}
    magnitude = {name: _mean([np.abs(o[name]) for o in reference.outputs]) for name in reference.outputs[0]}
    return {name: _RELATIVE_BOUNDS[precision] * value for name, value in magnitude.items()}


def _run_openvino(model: Any, names: list[str], tensors: list[Batch]) -> Iterator[Outputs]:
    infer = infer_one(_with_outputs(model, names))
    for tensor in tensors:
        outputs = infer(tensor)
        yield {name: outputs[name] for name in names}


def _with_outputs(model: Any, names: list[str]) -> Any:
    """Return the model, or one whose inner tensors of these names are outputs, too. model: or the path of its .xml"""
    ready = ov.Core().read_model(model) if isinstance(model, str) else model
    inner = [name for name in names if not any(name in port.get_names() for port in ready.outputs)]
    if inner:
        ready = ready.clone()
        ready.add_outputs(inner)
    return ready


def infer_one(model: Any) -> Callable[[Batch], Outputs]:
    """Return a function from a tensor to all outputs by name, on the CPU in f32. The next call overwrites them."""
    # f32: on a CPU with bf16 the default moves PoseNet's offsets by up to 26 px.
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()

    def infer(tensor: Batch) -> Outputs:
        request.infer([tensor])
        return {name: request.get_tensor(name).data for port in compiled.outputs for name in port.get_names()}

    return infer


def _pictures(images: Path | None, height: int, width: int, most: int) -> tuple[str, list[NDArray[np.uint8]]]:
    """Describe the pictures, and read each as (height, width, 3) uint8 RGB, stretched."""
    if images is None:
        pictures = list(synthetic_pictures(min(SYNTHETIC_IMAGES, most), height, width))
        return "synthetic 1/f noise made in code: no pictures were given", pictures
    if not images.is_dir():
        raise ConversionError(f"There is no folder of pictures {images}. Check the path, or leave it out.")
    files = sorted(path for path in images.iterdir() if path.suffix.lower() in _SUFFIXES)
    decoded = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in files[:most]]
    readable = [picture for picture in decoded if picture is not None]
    if not readable:
        raise ConversionError(f"{images} contains no readable picture. Give files of {', '.join(sorted(_SUFFIXES))}.")
    resized = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR) for picture in readable]
    described = f"{len(readable)} of {len(files)} pictures, the first by name, in {images.name}"
    return described, [np.ascontiguousarray(picture[..., ::-1], np.uint8) for picture in resized]


def synthetic_pictures(count: int, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures with the spectrum of natural ones (amplitude ~ 1/f), the same ones every time: (height, width, 3)."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = np.inf
    for _ in range(count):
        spectrum = np.fft.fft2(random.standard_normal((3, height, width))) / frequency
        noise = np.fft.ifft2(spectrum).real
        spread = noise.std(axis=(1, 2), keepdims=True)
        yield np.clip(127.5 + 50 * noise / spread, 0, 255).astype(np.uint8).transpose(1, 2, 0)
