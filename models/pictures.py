"""A picture of a data set: which file, what it shows, which split it is of; reading one. No network, no training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import NightjarError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class PictureError(NightjarError):
    """A file that is no usable picture, or a data set that is not what it should be."""


@dataclass(frozen=True)
class Picture:
    """One picture of a data set.

    car: whether it shows a car; source: the data set's name; split: None where it is still to be drawn
    box: (left, top, right, bottom) pixels to cut out, right and bottom exclusive; None = the whole picture
    sha256: of the file's bytes, empty until the file was read
    """

    path: Path
    car: bool
    source: str
    split: Split | None = None
    box: tuple[int, int, int, int] | None = None
    sha256: str = ""


def read_picture(picture: Picture) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, cut to its box. Raises PictureError with the reason."""
    image = cv2.imread(str(picture.path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise PictureError(f"{picture.path} cannot be read as a picture: fetch it again or leave it out")
    if picture.box is not None:
        left, top, right, bottom = picture.box
        image = image[top:bottom, left:right]
    return np.ascontiguousarray(image, np.uint8)
