"""Parameters of inference: the device and its precision, and those of measuring models on it. Light."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from models.spec import Option

CpuPrecision = Literal["f32", "bf16"]
DeviceName = Annotated[
    str, Option("OpenVINO's name of the device, such as CPU or MYRIAD.", min_length=1, max_length=1000)
]
FrameRate = Annotated[
    float | None,
    Option(
        "Process only this many frames per second of video. Results of each choice are kept separately.",
        when_empty="every frame",
        ge=0.01,
        le=1000,
    ),
]


@dataclass(frozen=True)
class RuntimeSpec:
    """A device, and the precision that it computes in."""

    device: DeviceName = "CPU"
    precision: Annotated[CpuPrecision, Option("bf16 is faster on CPUs that have it, and moves keypoints.")] = "f32"


@dataclass(frozen=True)
class BenchmarkSpec:
    """Parameters of measuring the speed of models on a device."""

    models: Annotated[
        tuple[Annotated[str, Option("", min_length=1, max_length=100)], ...],
        Option("Names of models, as 'nightjar models' lists them.", min_length=1, max_length=100, metavar="MODEL..."),
    ]
    runtime: RuntimeSpec = field(default=RuntimeSpec())
    seconds: Annotated[float, Option("Duration of each measurement; there are two per model.", ge=0.1, le=3600)] = 10
    video: Annotated[
        Path | None,
        Option(
            "Video to process, on the machine that measures.",
            when_empty="half a minute of synthetic people",
            max_length=1000,
            place="file",
        ),
    ] = None
