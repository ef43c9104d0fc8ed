"""Scaling of pixels to a model's input: by name, or by mean and standard deviation. No picture, no network."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from models.errors import ConversionError
from models.spec import Option

if TYPE_CHECKING:  # options are made of this module, and `nightjar --help` needs no manifest
    from models.manifest import ChannelValues, InputSpec

Color = Literal["RGB", "BGR"]
ScaleName = Literal["-1..1", "0..1", "0..255", "imagenet"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of 0..1, red, green, blue: torchvision.transforms' documentation
IMAGENET_STD = (0.229, 0.224, 0.225)

HOW_TO_SAY = (
    "Give --scale -1..1, 0..1, 0..255 or imagenet, or --mean and --std, of the model's training; or give --labelled "
    "FOLDER with one folder of pictures per label, and the pictures decide."
)


@dataclass(frozen=True)
class Scaling:
    """Scaling of an input: tensor = (pixel - mean) / std, where a pixel is 0 to 255.

    mean, std: one value for all channels, or three in the order of `color`
    color: the channel order of the model's input
    """

    mean: "ChannelValues"
    std: "ChannelValues"
    color: Color = "RGB"

    def of(self, given: "InputSpec") -> "InputSpec":
        """Return the same input with this scaling."""
        return dataclasses.replace(given, mean=self.mean, scale=self.std, color=self.color)

    def describe(self) -> str:
        """Describe the scaling by name, or else by mean and standard deviation; then the channel order."""
        name = next((name for name in RANGES if named(name, self.color) == self), None)
        return f"{name or f'mean {_listed(self.mean)}, standard deviation {_listed(self.std)}'}, {self.color}"


RANGES: "dict[ScaleName, tuple[ChannelValues, ChannelValues]]" = {
    "-1..1": (127.5, 127.5),
    "0..1": (0, 255),
    "0..255": (0, 1),
    "imagenet": (tuple(255 * v for v in IMAGENET_MEAN), tuple(255 * v for v in IMAGENET_STD)),  # type: ignore[dict-item]
}
"""Name -> mean and standard deviation in pixels, red first."""


@dataclass(frozen=True)
class ScalingRequest:
    """The scaling that a user requested: texts as typed, empty where not given.

    mean, std: in units of `scale` (0..255 without it)
    """

    scale: Annotated[
        Literal["", ScaleName],
        Option("Range of the input that the model was trained with.", when_empty="as found in the model"),
    ] = ""
    mean: Annotated[
        str,
        Option(
            "Subtracted from the scaled pixels: one number, or three in the order of the channels.",
            max_length=100,
            metavar="M[,M,M]",
        ),
    ] = ""
    std: Annotated[
        str,
        Option(
            "Standard deviation that the difference is divided by, like the mean.", max_length=100, metavar="S[,S,S]"
        ),
    ] = ""
    channels: Annotated[
        Literal["", Color], Option("Channel order of the input.", when_empty="RGB, or as found in the model")
    ] = ""

    def parse(self) -> Scaling | None:
        """Parse the scaling; None where only the channel order or nothing was given. Raises ConversionError."""
        if self.channels not in ("", "RGB", "BGR"):
            raise ConversionError(f"The channel order is {self.channels!r}. Give RGB or BGR with --channels.")
        if self.scale and self.scale not in RANGES:
            raise ConversionError(
                f"There is no scale {self.scale!r}. Give --scale {', '.join(RANGES)}, or --mean and --std."
            )
        if not (self.mean or self.std):
            return named(self.scale, self.color) if self.scale else None
        if self.scale == "imagenet":
            raise ConversionError(
                "--scale imagenet has its own mean and standard deviation. Leave --mean and --std out."
            )
        mean, std = _numbers("--mean", self.mean or "0"), _numbers("--std", self.std or "1")
        if min(std) <= 0:
            raise ConversionError(f"The standard deviation is {self.std}. Give positive numbers with --std.")
        if not self.scale and 0 < max(map(abs, mean)) <= 1 and max(std) <= 1:
            raise ConversionError(
                f"The mean {self.mean} and standard deviation {self.std or 1} fit pixels of 0 to 1, not of 0 to 255. "
                "Add --scale 0..1."
            )
        low, unit = RANGES[self.scale or "0..255"]
        return Scaling(
            _channels(low + unit * value for value in mean),  # type: ignore[operator]
            _channels(unit * value for value in std),  # type: ignore[operator]
            self.color,
        )

    @property
    def color(self) -> Color:
        """RGB unless BGR was requested."""
        return "BGR" if self.channels == "BGR" else "RGB"


def named(name: ScaleName, color: Color = "RGB") -> Scaling:
    """Return the scaling of that name, its values in the order of `color`."""
    mean, std = (value if color == "RGB" or not isinstance(value, tuple) else value[::-1] for value in RANGES[name])
    return Scaling(mean, std, color)


def scaling_of(given: "InputSpec") -> Scaling:
    """Return the scaling of a converted model's input."""
    return Scaling(given.mean, given.scale, given.color)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise ConversionError(f"{option} is {text!r}. Give one number, or three between commas.")
    return values


def _channels(values: Iterable[float]) -> "ChannelValues":
    """Return one number where all are the same, so that equal scalings compare as equal."""
    listed = tuple(values)
    return listed if len(listed) == 3 and len(set(listed)) > 1 else listed[0]


def _listed(values: "ChannelValues") -> str:
    return ", ".join(f"{value:g}" for value in (values if isinstance(values, tuple) else (values,)))
