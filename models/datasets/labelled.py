"""Pictures of known labels, one folder per label, to test a converted classifier with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.picture import Picture, PictureError, read_picture
from models.decoders.classifier import ClassifyParams
from models.errors import ConversionError
from models.manifest import Proof
from models.types import FrameLabel

MAX_PER_LABEL = 100
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

Label = Callable[[NDArray[np.uint8]], FrameLabel]


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """pixels: (h, w, 3) uint8 RGB, of the picture's own size"""

    label: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Labelled pictures. described: the folder and the number of its pictures that are used"""

    described: str
    pictures: Sequence[LabelledPicture]

    @property
    def commonest(self) -> int:
        """Number of correct answers if every answer were the most common label."""
        return max(Counter(picture.label for picture in self.pictures).values())

    def prove(self, label: Label) -> Proof:
        """Count the correct answers. label: from (h, w, 3) uint8 RGB to the classifier's answer"""
        count = Counter(picture.label for picture in self.pictures)
        right = Counter(p.label for p in self.pictures if label(p.pixels).label == p.label)
        return Proof(self.described, {name: right[name] for name in count}, dict(count))


def read_labelled(folder: Path, params: ClassifyParams) -> LabelledSet:
    """Read the pictures of FOLDER/LABEL/, the first MAX_PER_LABEL by name of each label.

    Raises ConversionError where a folder is not a label of the classifier, or fewer than two labels have pictures.
    """
    if not folder.is_dir():
        raise ConversionError(
            f"There is no folder {folder}. Give --labelled a folder with one folder of pictures per label."
        )
    labels = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if strange := [path.name for path in labels if path.name not in params.labels]:
        raise ConversionError(
            f"{folder} has the folder {strange[0]!r}, the classifier's labels are {', '.join(params.labels)}. "
            "Rename the folder, or name the labels with --labels in the order of the outputs."
        )
    files = {path.name: _files(path) for path in labels}
    pictures = [picture for label, paths in files.items() for picture in _read(label, paths[:MAX_PER_LABEL])]
    if len({picture.label for picture in pictures}) < 2:
        raise ConversionError(
            f"{folder} has pictures of {len({p.label for p in pictures})} labels. Give pictures of at least two, one "
            "folder per label."
        )
    described = f"{len(pictures)} of {sum(map(len, files.values()))} pictures in {folder.name}"
    return LabelledSet(described, pictures)


def refuse_chance(proof: Proof, commonest: int, others: Mapping[str, int]) -> None:
    """Raise ConversionError where the answers are no better than one label for all, or another scaling does better.

    others: description of a scaling -> number of correct answers with it
    """
    right, pictures = sum(proof.right.values()), sum(proof.count.values())
    best = max(others, key=lambda name: others[name], default="")
    if best and others[best] - right > pictures / 10:
        raise ConversionError(
            f"{right} of {proof.pictures} are right with the chosen scaling, {others[best]} with {best}. "
            f"Request {best} with --scale and --channels."
        )
    if right <= commonest:
        raise ConversionError(
            f"{right} of {proof.pictures} are right ({proof.describe()}), no more than if every answer were the same. "
            "Check --labels and their order, --scale and --channels."
        )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read(label: str, paths: Iterable[Path]) -> Iterator[LabelledPicture]:
    """Yield the pictures that can be read completely."""
    for path in paths:
        with suppress(PictureError):
            yield LabelledPicture(label, read_picture(Picture(path, car=False, source=label)))
