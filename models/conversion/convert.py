"""Heavy: any known model source -> OpenVINO IR with its manifest, compared with the source before it is published.

Not here: reading the sources (sources.py, ir.py), fetching them (storage.objects), running the IR on frames
(runtime.py).
"""

import contextlib
import dataclasses
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.conversion.graph import OUTPUT_PREFIX, to_graph
from models.conversion.input_choice import ScalingTrial, choose_scaling, refuse_unproven
from models.conversion.ir import LoadedIr, ir_sha256, load_ir, name_plainly, save_ir
from models.conversion.ir_xml import check_stick
from models.conversion.onnx_source.heads import refuse_other_values
from models.conversion.parity import (
    Reference,
    compare,
    picture_tensors,
    refuse_different,
    run_source_ir,
    run_tensorflow,
)
from models.conversion.posenet_graph import OUTPUT_STRIDE
from models.conversion.sources import LoadedModel, SourceFormat, detect_format, load_source, model_file
from models.conversion.spec import ConvertSpec
from models.datasets.labelled import LabelledSet, read_labelled
from models.decoders.classifier import ClassifyParams, classify, fits
from models.decoders.movenet import MULTI_SHAPE, MoveNetParams
from models.decoders.openpose import OpenPoseParams
from models.decoders.posenet import CHANNELS, DecodeParams, cell_origins_px
from models.errors import ConversionError
from models.heavy.openvino import ov
from models.inference.preprocess import preprocess
from models.inference.runtime import OpenVinoRuntime
from models.manifest import (
    BIN_FILE,
    MANIFEST_FILE,
    XML_FILE,
    InputSpec,
    Manifest,
    Parity,
    Precision,
    Proof,
    Source,
    Stick,
    file_sha256,
)
from models.spec import flatten
from models.types import FrameLabel

if TYPE_CHECKING:  # the package onnx takes half a second, and only its models need it
    from models.conversion.onnx_source.load import LoadedOnnx

INPUT_NAME = "image"
_TOOLS = ("openvino", "tensorflow", "keras", "tf-keras", "numpy")
_REMEDY = "Try --precision FP32, or report this source."
_FILES = {XML_FILE, BIN_FILE, MANIFEST_FILE}
_ONNX_IMAGES = 4  # the reference implementation takes seconds to minutes for one


def convert(
    source: Path,
    spec: ConvertSpec,
    out: Path,
    location: str | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Manifest:
    """Write model.xml, model.bin and manifest.json into the folder `out`, all three or none.

    location: where the source came from, for the manifest (default: its path)
    on_stage: receives the name of each stage that begins
    An OpenVINO IR is copied byte for byte, unless its weights are to be rounded to FP16.
    Raises ConversionError where the source is not usable, the IR differs from it beyond the bounds, or a stick was
    requested and cannot run it; OSError where it cannot be written.
    """
    stage = on_stage or (lambda _: None)
    stage("reading the source")
    make = {"openvino-ir": _from_ir, "onnx": _from_onnx}.get(detect_format(source), _from_tensorflow)
    with _replacing(out) as folder:
        made = make(source, spec, folder, location or str(source), stage)
        manifest = dataclasses.replace(made, parameters=flatten(spec))
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _from_tensorflow(
    source: Path, spec: ConvertSpec, folder: Path, location: str, stage: Callable[[str], None]
) -> Manifest:
    loaded = load_source(source, width=spec.width, size=spec.input_size)
    stage("converting to OpenVINO IR")
    model = _to_openvino(loaded)
    shapes = {output.get_any_name(): tuple(output.shape) for output in model.outputs}
    decode_params = _decode_params(loaded, spec, shapes)
    unscaled = InputSpec(INPUT_NAME, (1, *loaded.size, 3), resize=_resize_mode(loaded, shapes))
    trial = _trial(loaded, spec, model, unscaled, decode_params)
    scaling, basis = choose_scaling(loaded, spec, trial, is_classifier=bool(decode_params))
    given = scaling.of(unscaled)
    stage("comparing with TensorFlow")
    reference = run_tensorflow(loaded, given, spec.images)
    refuse_different(compare(model, reference, "FP32"), _REMEDY)  # before rounding to FP16 can hide a mistake
    stage("writing")
    save_ir(model, folder, fp16=spec.precision == "FP16")
    stick = _fit(folder, spec.precision, spec)
    stage("comparing what was written")
    manifest = Manifest(
        name=spec.name,
        task=loaded.task,
        source=_source(loaded.format, loaded.files, location),
        tools={tool: version(tool) for tool in _TOOLS},
        precision=spec.precision,
        input=given,
        outputs=shapes,
        decoder=loaded.family,
        decode_params=decode_params,
        ir_sha256=ir_sha256(folder),
        parity=_compare_written(folder, reference, spec),
        stick=stick,
        input_basis=basis,
    )
    if trial is None:
        return manifest
    stage("naming the labelled pictures")
    proof = _prove(folder, manifest, trial.labelled)
    refuse_unproven(trial, scaling, proof)
    return dataclasses.replace(manifest, proof=proof)


def _trial(
    loaded: LoadedModel, spec: ConvertSpec, model: Any, given: InputSpec, decode_params: dict[str, Any]
) -> ScalingTrial | None:
    """Open the labelled pictures; None = none were given. Raises ConversionError where the model cannot use them."""
    if spec.labelled is None:
        return None
    if loaded.task == "pose" or not decode_params:
        raise ConversionError("--labelled was given, but the model is not a classifier. Leave --labelled out.")
    params = ClassifyParams(**decode_params)
    return ScalingTrial(model, given, params, read_labelled(spec.labelled, params))


def _prove(folder: Path, manifest: Manifest, labelled: LabelledSet) -> Proof:
    """Run the written model on the pictures, with the same steps as for a frame of a video."""
    runtime = OpenVinoRuntime(folder, manifest)
    size = (manifest.input.width, manifest.input.height)

    def label(pixels: NDArray[np.uint8]) -> FrameLabel:
        tensor, _ = preprocess(pixels, size, manifest.input.resize, color="RGB")
        runtime.start(0, tensor[None])
        return classify(runtime.wait(0), ClassifyParams(**manifest.decode_params))

    return labelled.prove(label)


def _from_ir(source: Path, spec: ConvertSpec, folder: Path, location: str, stage: Callable[[str], None]) -> Manifest:
    ir = load_ir(model_file(source), spec.input_size)
    _refuse_changes(ir, spec)
    stage("writing")
    if ir.precision.startswith(spec.precision) and not ir.reshaped:
        shutil.copyfile(ir.xml, folder / XML_FILE)
        shutil.copyfile(ir.bin, folder / BIN_FILE)
        precision, zero = ir.precision, dict.fromkeys(ir.outputs, 0.0)
        parity = Parity("none needed, the files are the source's, byte for byte", 0, zero, zero, zero)
    else:
        reference = run_source_ir(ir.model, list(ir.outputs), ir.input, spec.images)
        save_ir(ir.model, folder, fp16=spec.precision == "FP16")
        precision = load_ir(folder / XML_FILE).precision
        stage("comparing what was written")
        parity = _compare_written(folder, reference, spec)
    return Manifest(
        name=spec.name,
        task="pose",
        source=_source("openvino-ir", {path.name: path for path in (ir.xml, ir.bin)}, location),
        tools={tool: version(tool) for tool in ("openvino", "numpy")},
        precision=precision,
        input=ir.input,
        outputs=ir.outputs,
        decoder="openpose",
        decode_params=dataclasses.asdict(OpenPoseParams()),
        ir_sha256=ir_sha256(folder),
        parity=parity,
        stick=_fit(folder, precision, spec),
    )


def _from_onnx(source: Path, spec: ConvertSpec, folder: Path, location: str, stage: Callable[[str], None]) -> Manifest:
    from models.conversion.onnx_source.load import load_onnx

    _refuse_options("a pose model in ONNX", _of_other_models(spec))
    loaded = load_onnx(model_file(source), spec.input_size, INPUT_NAME)
    given, basis = _onnx_input(loaded, spec)
    stage("computing by ONNX's reference implementation")
    reference = _onnx_reference(loaded, given, spec)
    name_plainly(loaded.model)
    parity = compare(loaded.model, reference, "FP32")
    refuse_different(parity, _REMEDY)  # before rounding to FP16 can hide a mistake
    if not parity.mean_abs:
        raise ConversionError(
            f"The model finds no person in {parity.images}, so that nothing could be compared. Give pictures of people "
            "with --images."
        )
    if "positions" not in parity.mean_abs:
        described = f"{reference.images}; nobody is in them, so that only what precedes the selection was compared"
        reference = dataclasses.replace(reference, images=described)
    stage("writing")
    save_ir(loaded.model, folder, fp16=spec.precision == "FP16")
    stick = _fit(folder, spec.precision, spec)
    stage("comparing what was written")
    return Manifest(
        name=spec.name,
        task="pose",
        source=_source("onnx", loaded.files, location),
        tools={tool: version(tool) for tool in ("openvino", "onnx", "numpy")},
        precision=spec.precision,
        input=given,
        outputs=loaded.shapes,
        decoder=loaded.head.decoder,
        decode_params=dataclasses.asdict(loaded.head.params),
        ir_sha256=ir_sha256(folder),
        parity=_compare_written(folder, reference, spec),
        stick=stick,
        input_basis=basis,
    )


def _onnx_input(loaded: "LoadedOnnx", spec: ConvertSpec) -> tuple[InputSpec, str]:
    """Return the input with its scaling, and the reason for it: what the head is trained with, unless requested."""
    asked, head = spec.scaling.parse(), loaded.head
    scaling = asked or head.scaling
    if asked is None and spec.scaling.channels:
        scaling = dataclasses.replace(scaling, color=spec.scaling.color)
    shape = (1, 3, *loaded.size) if loaded.layout == "NCHW" else (1, *loaded.size, 3)
    given = InputSpec(INPUT_NAME, shape, layout=loaded.layout, resize="letterbox-114")
    return scaling.of(given), head.basis if scaling == head.scaling else "as requested"


def _onnx_reference(loaded: "LoadedOnnx", given: InputSpec, spec: ConvertSpec) -> Reference:
    """Run the source on pictures. Raises ConversionError where it computes what no such head does."""
    from models.conversion.onnx_source.reference import run_reference

    described, tensors = picture_tensors(given, spec.images, _ONNX_IMAGES)
    outputs = run_reference(loaded.source, loaded.source_input, tensors, loaded.watched)
    for values in outputs:
        refuse_other_values(loaded.head, values)
    return Reference(f"{described}; by the reference implementation of ONNX", tensors, outputs)


def _refuse_changes(ir: LoadedIr, spec: ConvertSpec) -> None:
    """Raise ConversionError for options that do not apply to an IR: its width and rounding are fixed."""
    asked = _of_other_models(spec) | dataclasses.asdict(spec.scaling)
    _refuse_options(f"an IR (its input is {ir.input.shape})", asked)
    if spec.precision == "FP32" and ir.precision.startswith("FP16"):
        raise ConversionError(f"The IR's weights are {ir.precision}, but --precision is FP32. Give the FP32 IR.")


def _of_other_models(spec: ConvertSpec) -> dict[str, Any]:
    """Return the options for PoseNets and classifiers, with their values."""
    return {"width": spec.width, "labels": ",".join(spec.labels), "labelled": spec.labelled}


def _refuse_options(model: str, asked: dict[str, Any]) -> None:
    """Raise ConversionError where one of the options has a value. model: described, to which they do not apply"""
    for option, value in asked.items():
        if value:
            raise ConversionError(f"--{option} {value} does not apply to {model}. Leave --{option} out.")


def _decode_params(loaded: LoadedModel, spec: ConvertSpec, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Empty for a network without its top: it converts, and runs over no video."""
    if loaded.family == "posenet":
        return dataclasses.asdict(DecodeParams(origin_px=cell_origins_px(*loaded.size)))
    if loaded.family == "movenet":
        return dataclasses.asdict(MoveNetParams(*loaded.size))
    values = [shape[1] for shape in shapes.values() if len(shape) == 2]
    if len(values) != 1 or len(shapes) != 1:
        if spec.labels:
            raise ConversionError(
                f"The outputs are {shapes}, but a classifier has one of (1, values). Leave the labels out."
            )
        return {}
    labels = spec.labels or (("no", "yes") if values == [1] else tuple(map(str, range(values[0]))))
    if not fits(labels, values[0]):
        raise ConversionError(
            f"There are {len(labels)} labels for an output of {values[0]} values. Give one label per value, in their "
            "order, or two labels for a single value, which is the probability of the second."
        )
    return ClassifyParams(labels, spec.threshold, spec.regions).to_dict()


def _source(kind: SourceFormat, paths: dict[str, Path], location: str) -> Source:
    files = {name: file_sha256(path) for name, path in sorted(paths.items())}
    digest = next(iter(files.values()))
    if len(files) > 1:
        lines = "".join(f"{name} {sha256}\n" for name, sha256 in files.items())
        digest = hashlib.sha256(lines.encode()).hexdigest()
    return Source(format=kind, location=location, sha256=digest, files=files)


def _to_openvino(loaded: LoadedModel) -> Any:
    """Convert to a model with input `image` and the outputs by name, in their order, all shapes static."""
    graph = to_graph(loaded.graph)
    with _logging_untouched():
        try:
            converted = ov.convert_model(graph)
        except Exception as error:  # the converter has no public error class
            found = next((line for line in str(error).splitlines() if "No conversion rule" in line), str(error))
            raise ConversionError(
                f"OpenVINO cannot convert the graph ({found.strip('- ')}). Export another graph."
            ) from error
    converted.reshape([1, *loaded.size, 3])
    model = _with_our_names(converted, loaded)
    _check_shapes(loaded, model)
    return model


@contextlib.contextmanager
def _logging_untouched() -> Iterator[None]:
    """Silence the converter, which also logs what it raises, and undo its changes to the root logger."""
    root = logging.getLogger()
    level, filters = root.level, list(root.filters)
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        root.setLevel(level)
        root.filters[:] = filters


def _with_our_names(converted: Any, loaded: LoadedModel) -> Any:
    """Put the outputs into the order of the source's, and replace names that reveal the model's origin."""
    results = []
    for name in loaded.outputs:
        output = converted.output(f"{OUTPUT_PREFIX}{name}:0")
        output.get_tensor().set_names({name})
        output.get_node().set_friendly_name(name)
        results.append(output.get_node())
    (given,) = converted.get_parameters()
    given = _with_pixels(given) if loaded.whole_numbers else given
    given.output(0).get_tensor().set_names({INPUT_NAME})
    given.set_friendly_name(INPUT_NAME)
    model = ov.Model(results, [given], "nightjar")
    name_plainly(model)
    return model


def _with_pixels(given: Any) -> Any:
    """Replace the float input by one of uint8. Returns it."""
    pixels = ov.opset8.parameter(list(given.shape), ov.Type.u8)
    floats = ov.opset8.convert(pixels, "f32")
    for reader in given.output(0).get_target_inputs():
        reader.replace_source_output(floats.output(0))
    return pixels


def _resize_mode(loaded: LoadedModel, shapes: dict[str, tuple[int, ...]]) -> Literal["stretch", "fit"]:
    """Choose how a frame goes into the tensor, by what was measured: docs/decisions/144-movenet.md."""
    return "fit" if loaded.family == "movenet" and MULTI_SHAPE in shapes.values() else "stretch"


def _check_shapes(loaded: LoadedModel, model: Any) -> None:
    """Raise ConversionError where a shape is dynamic, or does not fit a PoseNet at output stride 16."""
    cells = [-(-side // OUTPUT_STRIDE) for side in loaded.size]
    for name, output in zip(loaded.outputs, model.outputs, strict=True):
        if output.partial_shape.is_dynamic:
            raise ConversionError(f"Output {name} has the dynamic shape {output.partial_shape}. Export a static one.")
        expected = (1, *cells, CHANNELS.get(name))
        if loaded.family == "posenet" and tuple(output.shape) != expected:
            raise ConversionError(
                f"Output {name} has the shape {tuple(output.shape)}, not {expected}. "
                f"Give the model of output stride {OUTPUT_STRIDE}, such as model-stride16.json."
            )


def _fit(folder: Path, precision: Precision, spec: ConvertSpec) -> Stick:
    stick = check_stick(folder / XML_FILE, precision)
    if spec.device_target == "MYRIAD" and not stick.fit:
        raise ConversionError(
            f"The model does not run on a Neural Compute Stick: {stick.reason}. "
            "Use FP16 and another source, or leave --device-target MYRIAD out."
        )
    return stick


def _compare_written(folder: Path, reference: Reference, spec: ConvertSpec) -> Parity:
    try:
        parity = compare(str(folder / XML_FILE), reference, spec.precision)
    except RuntimeError as error:  # OpenVINO's own, for a truncated file
        raise ConversionError(f"The written IR cannot be read ({error}). Check that the disk is not full.") from error
    refuse_different(parity, _REMEDY)
    return parity


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Provide a temporary folder next to `out` that replaces it at the end, or is removed after an error."""
    if out.exists() and (not out.is_dir() or not {path.name for path in out.iterdir()} <= _FILES):
        raise ConversionError(f"{out} exists and is not a converted model. Give another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        fresh, old = Path(temporary, "new"), Path(temporary, "old")
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(old)
        try:
            fresh.rename(out)
        except OSError:
            if old.exists():
                shutil.move(old, out)
            raise
