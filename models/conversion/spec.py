"""Parameters of a conversion. Light, so that a flow passes them on whole; parsed before anything is fetched."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.inference.scaling import ScalingRequest


@dataclass(frozen=True)
class ConvertSpec:
    """Parameters of the model to be made of a source.

    width: PoseNet's width multiplier, None = what the weights are
    size: pixels of the square input, None = 224 for PoseNet and its own for others
    device_target: MYRIAD refuses what a Neural Compute Stick cannot run
    labels: of a classifier, see models.decoders.classifier.ClassifyParams; without: numbers, or no and yes
    scaling: of the pixels; nothing asked for = what is found in the model, or is known of PoseNet
    threshold: of a classifier of a single value, see models.decoders.classifier.ClassifyParams
    labelled: a folder with one folder of pictures per label, which the converted classifier must name rightly
    """

    name: str
    width: float | None = None
    size: int | None = None
    precision: Literal["FP16", "FP32"] = "FP16"
    device_target: Literal["CPU", "MYRIAD"] = "CPU"
    labels: tuple[str, ...] = ()
    scaling: ScalingRequest = field(default=ScalingRequest())
    threshold: float = 0.5
    labelled: Path | None = None
