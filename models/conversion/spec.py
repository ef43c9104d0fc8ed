"""Parameters of a conversion and of a quantization. Light, so that flows and commands pass them on whole."""

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from models.decoders.region_spec import RegionSpec
from models.inference.scaling import ScalingRequest
from models.inference.sizes import SIZE_EXPECTED, SIZE_PATTERN, InputSize, parse_size
from models.inference.spec import DeviceName
from models.spec import Option

PATH_LENGTH = 1000
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]*$"
NAME_EXPECTED = "small letters, digits and '-', such as my-model"
POSENET_SIZE = InputSize(353, 353)
"""Of published PoseNets: finds twice as much as the seed article's 224, see docs/decisions/147."""
TRAINED_SIZES = MappingProxyType({"posenet-demo": InputSize(224, 224)})
"""Of the model that this project trained, whose weights name no size."""


@dataclass(frozen=True)
class ConvertSpec:
    """Parameters of a conversion.

    width: None = read from the weights; size: as users write it, empty = what suits the weights
    labels: of a classifier, see models.decoders.classifier.ClassifyParams; empty = numbers, or no and yes
    threshold, regions: of a classifier of two labels, see models.decoders.classifier.ClassifyParams
    """

    name: Annotated[
        str,
        Option(
            "The model's name here. movenet-multipose, -thunder, -lightning, posenet-050, -075, -100, -101, openpose "
            "and posenet-demo have known weights.",
            pattern=NAME_PATTERN,
            max_length=100,
            expected=NAME_EXPECTED,
        ),
    ]
    source: Annotated[
        str,
        Option(
            "A file, a folder or an https address.",
            when_empty="the published weights",
            max_length=PATH_LENGTH,
            address=True,
        ),
    ] = ""
    width: Annotated[
        float | None,
        Option("MobileNet's width: 0.5, 0.75, 1.0 or 1.01.", when_empty="read from the weights", gt=0, le=2),
    ] = None
    size: Annotated[
        str,
        Option(
            "Input size in pixels: N for a square, or HEIGHTxWIDTH, such as 192x320 for wide videos.",
            when_empty=f"what the weights say, or {POSENET_SIZE} for PoseNet",
            pattern=SIZE_PATTERN,
            max_length=9,
            expected=SIZE_EXPECTED,
            metavar="N|HxW",
            numbers=True,
        ),
    ] = ""
    precision: Annotated[Literal["FP16", "FP32"], Option("Data type of the weights in the IR.")] = "FP16"
    device_target: Annotated[
        Literal["CPU", "MYRIAD"], Option("MYRIAD refuses what a Neural Compute Stick cannot run.")
    ] = "CPU"
    images: Annotated[
        Path | None,
        Option(
            "Folder of pictures for measuring the parity with the source.",
            when_empty="generated pictures",
            max_length=PATH_LENGTH,
            place="folder",
        ),
    ] = None
    labels: Annotated[
        tuple[str, ...],
        Option(
            "Labels of a classifier, between commas, in the order of its outputs; for a single output: "
            "negative,positive.",
            max_length=10_000,
            separator=",",
        ),
    ] = ()
    scaling: ScalingRequest = field(default=ScalingRequest())
    labelled: Annotated[
        Path | None,
        Option(
            "Folder with one folder of pictures per label, which the classifier must label correctly.",
            max_length=PATH_LENGTH,
            place="folder",
        ),
    ] = None
    threshold: float = 0.5
    regions: RegionSpec | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", str(self.size or ""))  # a number in schedules that earlier versions stored

    @property
    def input_size(self) -> InputSize | None:
        """Input size; None = what suits the weights. Raises ConversionError where it cannot be read."""
        return parse_size(self.size) or TRAINED_SIZES.get(self.name)


@dataclass(frozen=True)
class QuantizeSpec:
    """Parameters of a quantization to INT8 and of the comparison with its source."""

    model: Annotated[
        str, Option("A model's name (its newest version) or a version's hash.", min_length=1, max_length=100)
    ]
    archive: Annotated[
        str,
        Option(
            "Videos like those to be processed: a folder or s3://bucket/prefix.", max_length=PATH_LENGTH, address=True
        ),
    ]
    frames: Annotated[int, Option("Number of frames, from all the videos, to calibrate on.", ge=10, le=5000)] = 300
    name: Annotated[
        str,
        Option(
            "The new model's name.",
            when_empty="the model's name and -int8",
            pattern=r"^([a-z0-9][a-z0-9-]*)?$",
            max_length=100,
            expected=NAME_EXPECTED,
        ),
    ] = ""
    coco: Annotated[
        Path | None,
        Option(
            "COCO's keypoint annotations to measure with, at least 200 people; they need their images.",
            when_empty="the agreement with the source is measured",
            max_length=PATH_LENGTH,
            place="file",
        ),
    ] = None
    images: Annotated[
        Path | None, Option("Folder of the annotated images.", max_length=PATH_LENGTH, place="folder")
    ] = None
    max_drop: Annotated[
        float | None,
        Option(
            "Accepted loss, as a share of the source's AP; with fewer than 200 annotated people, of the agreement.",
            when_empty="0.05 of AP, 0.3 of the agreement",
            ge=0,
            le=1,
        ),
    ] = None
    device: DeviceName = "CPU"

    def name_after(self, source: str) -> str:
        """Return the new model's name. source: name of the model that is quantized"""
        return self.name or f"{source}-int8"
