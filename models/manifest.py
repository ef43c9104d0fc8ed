"""Description of a converted model: manifest.json next to its IR. Read without OpenVINO or TensorFlow."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.errors import NightjarError

Precision = Literal["FP16", "FP32", "FP16-INT8", "FP32-INT8"]
ChannelValues = float | tuple[float, float, float]
"""One value for all channels, or one per channel in the order of the model's input."""

MANIFEST_FILE = "manifest.json"
XML_FILE = "model.xml"
BIN_FILE = "model.bin"
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """Origin of the weights. sha256: of the one file, or of the sorted `name sha256` lines of all files."""

    format: str
    location: str
    sha256: str
    files: dict[str, str]


@dataclass(frozen=True)
class InputSpec:
    """The model's own input: tensor = (pixel - mean) / scale, float32, in this layout and colour order.

    An IR whose input is uint8, such as MoveNet's, takes the pixels as they are: mean 0, scale 1.

    The runtime always receives (1, height, width, 3) uint8 RGB.
    """

    name: str
    shape: tuple[int, int, int, int]
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    color: Literal["RGB", "BGR"] = "RGB"
    mean: ChannelValues = 127.5
    scale: ChannelValues = 127.5
    resize: Literal["letterbox", "letterbox-114", "corner", "stretch", "fit"] = "stretch"

    @property
    def height(self) -> int:
        return self.shape[self.layout.index("H")]

    @property
    def width(self) -> int:
        return self.shape[self.layout.index("W")]


@dataclass(frozen=True)
class Proof:
    """Number of labelled pictures that the converted classifier labels correctly.

    pictures: their place and number
    right, count: label -> pictures labelled correctly, and all pictures
    """

    pictures: str
    right: dict[str, int]
    count: dict[str, int]

    def describe(self) -> str:
        """Correctly labelled pictures out of all pictures, per label."""
        return ", ".join(f"{label} {self.right[label]} of {count}" for label, count in self.count.items())


@dataclass(frozen=True)
class Parity:
    """Differences between the IR's outputs and its source's, on the named images, computed in f32.

    mean_abs, max_abs: output name -> mean and largest absolute difference
    bound: output name -> largest mean difference that was allowed
    """

    images: str
    image_count: int
    max_abs: dict[str, float]
    mean_abs: dict[str, float]
    bound: dict[str, float]


@dataclass(frozen=True)
class Stick:
    """Fitness of the IR for a Neural Compute Stick, and the reason where it is not.

    newest_opset: of all its operations.
    """

    fit: bool
    reason: str
    newest_opset: int


@dataclass(frozen=True)
class Manifest:
    """Everything that `nightjar convert` knows about a converted model."""

    name: str
    task: Literal["pose", "classification"]
    source: Source
    tools: dict[str, str]
    precision: Precision
    input: InputSpec
    outputs: dict[str, tuple[int, ...]]
    decoder: str
    decode_params: dict[str, Any]
    ir_sha256: dict[str, str]
    parity: Parity
    stick: Stick
    frames_per_second: float | None = None
    """Number of frames processed per second of video; None: every frame."""
    input_basis: str = ""
    """Reason for the input's scaling: requested, found in the model, or published with PoseNet. Changes no row."""
    proof: Proof | None = None
    """None where no labelled pictures were given."""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Parameters of the conversion or quantization, by their names in its form. Empty for models made before 0.2."""

    @property
    def version_id(self) -> str:
        """Hash of all that determines the rows (IR, input, decoder), without time and place of the conversion."""
        decides: dict[str, Any] = {
            "ir": self.ir_sha256,
            "input": dataclasses.asdict(self.input),
            "decoder": self.decoder,
            "decode_params": self.decode_params,
        }
        if self.frames_per_second is not None:  # models of every frame keep the hash from before this setting
            decides["frames_per_second"] = self.frames_per_second
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @property
    def ir_digest(self) -> str:
        """sha256 of the sorted `name sha256` lines of the IR's files: models of several input sizes share weights."""
        lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(self.ir_sha256.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse a manifest. Raises NightjarError where the text is not one."""
        try:
            raw = json.loads(text)
            raw["source"] = Source(**raw["source"])
            raw["input"] = InputSpec(**{name: _tuple(value) for name, value in raw["input"].items()})
            raw["outputs"] = {name: tuple(shape) for name, shape in raw["outputs"].items()}
            raw["parity"] = Parity(**raw["parity"])
            raw["stick"] = Stick(**raw["stick"])
            raw["proof"] = Proof(**raw["proof"]) if raw.get("proof") else None
            manifest = cls(**raw)
            _check_files(manifest.ir_sha256)
            return manifest
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise NightjarError(
                f"This is not a model manifest ({str(error).rstrip('.')}). Run 'nightjar convert' again."
            ) from error


def _check_files(ir_sha256: dict[str, str]) -> None:
    """Raise ValueError unless exactly the IR's files have a sha256 each: a file without one is never verified."""
    if set(ir_sha256) != {XML_FILE, BIN_FILE} or not all(map(SHA256.fullmatch, ir_sha256.values())):
        raise ValueError(f"ir_sha256 must contain the sha256 of {XML_FILE} and {BIN_FILE}, and nothing else.")


def _tuple(value: Any) -> Any:
    """Turn lists into tuples: JSON has lists only."""
    return tuple(value) if isinstance(value, list) else value


def file_sha256(path: Path) -> str:
    """Return a file's sha256. Raises OSError where it cannot be read."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify_ir(folder: Path, manifest: Manifest) -> None:
    """Raise NightjarError where model.xml or model.bin is not the one that the manifest was written for."""
    for name, expected in manifest.ir_sha256.items():
        found = file_sha256(folder / name)
        if found != expected:
            raise NightjarError(
                f"The sha256 of {name} is {found[:12]}…, the manifest says {expected[:12]}…. "
                f"Run 'nightjar convert {manifest.name}' again."
            )
