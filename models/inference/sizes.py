"""Input sizes of models as users write them. No picture, no network."""

import re
from typing import NamedTuple

from models.errors import ConversionError

SIZE_PATTERN = r"^([1-9][0-9]{1,3}(x[1-9][0-9]{1,3})?)?$"
SIZE_EXPECTED = "N for a square, or HEIGHTxWIDTH, such as 256 or 192x320"
MIN_SIZE, MAX_SIZE = 32, 1281  # below, a map of PoseNet is 1x1; above, one frame takes seconds and gigabytes


class InputSize(NamedTuple):
    """Pixels of a model's input tensor."""

    height: int
    width: int

    def __str__(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


def parse_size(text: str) -> InputSize | None:
    """Parse a size; None for an empty text. Raises ConversionError where it is none, or out of bounds."""
    if not text:
        return None
    if not re.fullmatch(SIZE_PATTERN, text):
        raise ConversionError(f"The input size {text!r} cannot be read. Give --size {SIZE_EXPECTED}.")
    sides = [int(side) for side in text.split("x")]
    return checked(InputSize(sides[0], sides[-1]))


def checked(size: InputSize) -> InputSize:
    """Return the size. Raises ConversionError where it is out of bounds."""
    if not all(MIN_SIZE <= side <= MAX_SIZE for side in size):
        raise ConversionError(f"--size is {size}. Give {MIN_SIZE} to {MAX_SIZE} pixels each way.")
    return size
