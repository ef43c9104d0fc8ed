"""Heavy: recognise model formats by their content, and load any of them as one prepared TensorFlow graph.

Not here: how the TF.js and Keras formats are read (tfjs.py, keras_files.py), conversion to OpenVINO (convert.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

from google.protobuf.message import DecodeError

from models.bounded import check_size, root_element
from models.conversion.graph import (
    candidate_outputs,
    image_input,
    mobilenet_width,
    own_size,
    part_of,
    posenet_outputs,
    prepare,
    unfuse,
)
from models.conversion.ir import is_ir
from models.conversion.keras_files import freeze, load_keras
from models.conversion.movenet_graph import MULTIPOSE_STRIDE, movenet_output, with_float_input
from models.conversion.onnx_source.signature import is_onnx
from models.conversion.operations import refuse_programs, refuse_saved_programs
from models.conversion.spec import POSENET_SIZE
from models.conversion.tfjs import (
    load_graph_model,
    load_layers_model,
    load_manifest_format,
    read_json,
    weight_files,
)
from models.decoders.movenet import MOVENET_OUTPUT
from models.errors import ConversionError
from models.heavy.tensorflow import GraphDef, SavedModel, tf
from models.inference.sizes import InputSize, checked

SourceFormat = Literal[
    "tfjs-manifest", "tfjs-graph", "tfjs-layers", "frozen-pb", "saved-model", "keras", "openvino-ir", "onnx"
]
Task = Literal["pose", "classification"]
Family = Literal["posenet", "movenet", "classifier"]
"""The decoders of models that come as TensorFlow graphs."""

MULTIPOSE_SIZE = InputSize(256, 256)  # the longer side that pose-detection gives it

_EXPECTED = (
    "Give a TF.js manifest.json or model.json, a frozen .pb, a SavedModel folder, a .h5, .keras, .onnx or IR's .xml "
    "file."
)

_SUFFIXES = (".json", ".pb", ".h5", ".keras", ".xml", ".onnx")

# Models of other kinds: (position, bytes there, description)
_OTHERS = (
    (4, b"TFL3", "a TensorFlow Lite model, whose weights are rounded for phones"),
    (5, b'\0\0\0{"', "a safetensors file, which holds weights without their network"),
    (0, b"\x1f\x8b", "packed by gzip, to be unpacked first"),
    (0, b"\x80\x02", "a Python pickle, which is never opened"),
)


@dataclass(frozen=True)
class LoadedModel:
    """A source, ready to convert.

    graph: frozen, prepared as in graph.py; input: name of its placeholder [1, *size, 3] float32
    whole_numbers: the source's own input is of integers, the pixels as they are
    outputs: names in the IR, each an Identity node `nightjar/NAME`; width: of a PoseNet, None for others
    files: every file that was read, by its path inside the source
    """

    format: SourceFormat
    family: Family
    graph: GraphDef
    input: str
    outputs: tuple[str, ...]
    size: InputSize
    width: float | None
    files: dict[str, Path]
    whole_numbers: bool = False

    @property
    def task(self) -> Task:
        return "classification" if self.family == "classifier" else "pose"


def detect_format(path: Path) -> SourceFormat:
    """Detect the format of a file or folder from its content, and never from its name alone.

    Raises ConversionError where it is none of the known ones, with the format that it has instead if recognised.
    """
    return _detect(model_file(path))


def model_file(path: Path) -> Path:
    """Return the model's main file: the path itself, or the one file in a folder that can be a model."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ConversionError(f"{path} does not exist. Check the path after --source.")
    if (path / "saved_model.pb").is_file():
        return path / "saved_model.pb"
    found = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file())
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "no such file"
        raise ConversionError(f"{path} contains {names}. Name the one model file after --source.")
    return found[0]


def _detect(file: Path) -> SourceFormat:
    check_size(file)
    with file.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(b"\x89HDF\r\n"):
        return "keras"
    if head.startswith(b"PK\x03\x04"):
        _refuse_other_archive(file)
        return "keras"
    if is_ir(file):
        return "openvino-ir"
    if other := next((words for at, magic, words in _OTHERS if head[at:].startswith(magic)), None):
        raise ConversionError(f"{file.name} is {other}. {_EXPECTED}")
    text = _as_text(head)
    if text.startswith("<") or root_element(file) is not None:
        raise ConversionError(f"{file.name} is a web page or XML, so the download may have failed. {_EXPECTED}")
    if text.startswith(("{", "[")):
        return _detect_json(file)
    return _detect_protobuf(file)


def _refuse_other_archive(file: Path) -> None:
    """Raise ConversionError where a ZIP archive contains a model of another kind than Keras's."""
    try:
        with ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (BadZipFile, NotImplementedError, ValueError):
        return  # Keras reports the fault
    if "data.pkl" in names:
        raise ConversionError(f"{file.name} is a PyTorch file. Export the model. {_EXPECTED}")
    if inside := names & {"model.json", "manifest.json", "saved_model.pb"}:
        raise ConversionError(f"{file.name} is an archive with {', '.join(inside)}. Unpack it and name the folder.")


def _as_text(head: bytes) -> str:
    """Decode the beginning of a text in any Unicode encoding, without byte order mark and white space; else empty.

    A frozen graph whose first node has 60 or 123 bytes begins with a line feed and `<` or `{`; control characters
    follow.
    """
    encoding = json.detect_encoding(head)
    text = head.decode(encoding, errors="ignore").lstrip("\ufeff \t\r\n")
    return "" if any(letter < " " and letter not in "\t\r\n" for letter in text) else text


def _detect_json(file: Path) -> SourceFormat:
    raw = read_json(file)
    topology = raw.get("modelTopology") if isinstance(raw, dict) else None
    if isinstance(topology, dict) and "weightsManifest" in raw:
        if "node" in topology:
            return "tfjs-graph"
        if "model_config" in topology or "class_name" in topology:
            return "tfjs-layers"
    entries = list(raw.values()) if isinstance(raw, dict) else []
    if entries and all(isinstance(entry, dict) and entry.keys() >= {"filename", "shape"} for entry in entries):
        return "tfjs-manifest"
    raise ConversionError(f"{file.name} is JSON, but not a TF.js model. {_EXPECTED}")


def _detect_protobuf(file: Path) -> SourceFormat:
    content = file.read_bytes()
    if is_onnx(content):
        return "onnx"
    for message, known in ((SavedModel(), "saved-model"), (GraphDef(), "frozen-pb")):
        try:
            message.ParseFromString(content)
        except DecodeError:
            continue
        if known == "saved-model" and message.meta_graphs and (file.parent / "saved_model.pb").is_file():
            return "saved-model"
        if known == "frozen-pb" and message.node and all(node.op for node in message.node):
            return "frozen-pb"
    found = f"{file.name} ({len(content)} bytes) starts with {content[:8]!r}" if content else f"{file.name} is empty"
    raise ConversionError(f"{found}: it is another kind of file, or not complete. {_EXPECTED}")


def load_source(path: Path, *, width: float | None, size: InputSize | None) -> LoadedModel:
    """Read a model of any known format at an input size (None: POSENET_SIZE for PoseNet, else the model's own).

    Raises ConversionError where the source is not one, is broken, or does not fit the request.
    """
    if size is not None:
        checked(size)
    file = model_file(path)
    kind = _detect(file)
    try:
        return _prepared(kind, file, width, size)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        # Damage can appear anywhere in a file whose beginning is sound.
        raise ConversionError(f"{file.name} is damaged ({error!r}). Fetch it again.") from error


def _prepared(kind: SourceFormat, file: Path, width: float | None, size: InputSize | None) -> LoadedModel:
    whole, candidates = _load(kind, file, width, size)
    pose = posenet_outputs(whole, candidates)
    outputs = pose or _plain_names(candidates)
    graph = part_of(whole, outputs.values())
    refuse_programs(graph.node, graph.library.function)
    graph, whole_numbers = with_float_input(unfuse(graph))
    family: Family = "posenet" if pose else "classifier"
    if pose is None and whole_numbers and (people := movenet_output(graph, list(outputs.values()))):
        family, outputs = "movenet", {MOVENET_OUTPUT: people}
    given = image_input(graph)
    if pose is None and width is not None:
        raise ConversionError(f"--width is {width}, but the model is not a PoseNet. Leave --width out.")
    ready_size = _ready_size(family, size, own_size(graph))
    return LoadedModel(
        format=kind,
        family=family,
        graph=prepare(graph, outputs, ready_size),
        input=given.name,
        outputs=tuple(outputs),
        size=ready_size,
        width=mobilenet_width(graph, width) if pose else None,
        files=_files(kind, file),
        whole_numbers=whole_numbers,
    )


def _ready_size(family: Family, asked: InputSize | None, own: InputSize | None) -> InputSize:
    """Choose the input size. Raises ConversionError where none is known, or the model cannot have the one asked for."""
    size = asked or own or {"posenet": POSENET_SIZE, "movenet": MULTIPOSE_SIZE}.get(family)
    if size is None:
        raise ConversionError("The model takes any input size. Choose one with --size.")
    if family == "movenet" and own is None and (size.height % MULTIPOSE_STRIDE or size.width % MULTIPOSE_STRIDE):
        near = InputSize(*(max(1, round(side / MULTIPOSE_STRIDE)) * MULTIPOSE_STRIDE for side in size))
        raise ConversionError(
            f"--size is {size}, but MoveNet multipose takes multiples of {MULTIPOSE_STRIDE}. Give --size {near}."
        )
    return size


def _load(
    kind: SourceFormat, file: Path, width: float | None, size: InputSize | None
) -> tuple[GraphDef, dict[str, str]]:
    """Load the frozen graph and its candidate outputs."""
    if kind in ("openvino-ir", "onnx"):
        raise ConversionError(
            f"{file.name} is an {'OpenVINO IR' if kind == 'openvino-ir' else 'ONNX file'}. Give TensorFlow's weights."
        )
    if kind == "tfjs-manifest":
        return load_manifest_format(file, width, size or POSENET_SIZE)
    if kind == "tfjs-layers":
        return load_layers_model(file, size)
    if kind == "keras":
        return load_keras(file, size)
    if kind == "saved-model":
        return _load_saved_model(file)
    graph, named = load_graph_model(file) if kind == "tfjs-graph" else (GraphDef.FromString(file.read_bytes()), {})
    return graph, named or candidate_outputs(graph)


def _load_saved_model(file: Path) -> tuple[GraphDef, dict[str, str]]:
    for meta_graph in SavedModel.FromString(file.read_bytes()).meta_graphs:
        refuse_saved_programs(meta_graph.graph_def, set(meta_graph.object_graph_def.concrete_functions))
    try:
        model = tf.saved_model.load(str(file.parent))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ConversionError(f"TensorFlow cannot read the SavedModel ({error}). Export it again.") from error
    only = next(iter(model.signatures.values())) if len(model.signatures) == 1 else None
    signature = model.signatures.get("serving_default", only)
    if signature is None:
        found = ", ".join(model.signatures) or "none"
        raise ConversionError(f"The signatures are {found}. Export the model with serving_default.")
    return freeze(signature)


def _plain_names(candidates: dict[str, str]) -> dict[str, str]:
    """Names for the outputs of other models than PoseNet: `output`, or the source's own where there are several."""
    if not candidates:
        raise ConversionError("The graph has no output. Give a complete model.")
    if len(candidates) == 1:
        return {"output": next(iter(candidates.values()))}
    return {name.replace("/", "_"): tensor for name, tensor in sorted(candidates.items())}


def _files(kind: SourceFormat, file: Path) -> dict[str, Path]:
    if kind == "saved-model":
        found = [file, *(p for p in (file.parent / "variables").rglob("*") if p.is_file())]
        return {str(p.relative_to(file.parent)): p for p in sorted(found)}
    if kind.startswith("tfjs-"):
        return {p.relative_to(file.parent).as_posix(): p for p in [file, *weight_files(file)]}
    return {file.name: file}
