"""COCO's keypoint annotations and its measures: OKS and AP. No inference, no decoding."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

from models.datasets.picture import Picture, PictureError, decode_picture, read_bytes
from models.decoders.skeleton import COCO_SIGMAS
from models.evaluation.spec import Mode
from models.types import Floats, FramePoses, NightjarError

LEAST_KEYPOINTS = 10
"""Of the only person of an image, for the mode "single"."""


class CocoError(NightjarError):
    """The annotations or the images cannot be used."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A person as annotated.

    keypoints: (17, 2) float64, x then y, pixels of the image; labelled: (17,) bool, True = counts
    area: of the person, square pixels; side: the longer one of the person's box, pixels
    """

    keypoints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    area: float
    side: float


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image of the annotation file.

    width, height: pixels, as annotated; None = not annotated
    people: those with keypoints, no crowds; annotated: all annotations, also of crowds and without keypoints
    """

    image_id: int | str
    path: Path
    width: int | None
    height: int | None
    people: tuple[Labelled, ...]
    annotated: int

    def read(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB. Raises CocoError where it is damaged, or not of the annotated size."""
        return self.decode(self.content())

    def content(self) -> bytes:
        """Return the file's bytes. Raises CocoError where it cannot be read."""
        try:
            return read_bytes(self.path)
        except PictureError as error:
            raise CocoError(str(error)) from error

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Decode like read(), from bytes that were read before."""
        try:
            pixels = decode_picture(content, Picture(self.path, car=False, source="COCO"))
        except PictureError as error:
            raise CocoError(f"{self.path} is not a complete picture ({error}). Fetch the image again.") from error
        height, width = pixels.shape[:2]
        if (self.width or width, self.height or height) != (width, height):
            raise CocoError(
                f"{self.path} has {width}x{height} pixels, the annotations say {self.width}x{self.height}. Fetch the "
                "image again."
            )
        return pixels


@dataclass(frozen=True, eq=False)
class CocoSet:
    """The people of an annotation file.

    images: those of the file that are in the folder, by image id; in_file: number of images that the file names
    dataset: images and annotations for coco_figures; sha256: of the annotation file
    notes: omissions and repairs, in words
    """

    images: list[CocoImage]
    in_file: int
    dataset: dict[str, Any]
    sha256: str
    notes: tuple[str, ...] = ()


def choose(images: Sequence[CocoImage], mode: Mode) -> list[CocoImage]:
    """Choose images by mode.

    multi: all, also those without people, where every person found is wrong
    single: those with exactly one annotated person, not a crowd, of at least LEAST_KEYPOINTS keypoints
    """
    if mode == "multi":
        return list(images)
    alone = [image for image in images if image.annotated == len(image.people) == 1]
    return [image for image in alone if image.people[0].labelled.sum() >= LEAST_KEYPOINTS]


def oks(found: Floats, person: Labelled) -> NDArray[np.float64]:
    """(n,) similarity 0 to 1 of (n, 17, 2), x then y, pixels of the image; a keypoint not found (NaN) counts 0."""
    distance2 = ((found - person.keypoints) ** 2).sum(axis=-1)
    similarity = np.exp(-distance2 / (2 * person.area * (2 * COCO_SIGMAS.astype(np.float64)) ** 2))
    return np.asarray(np.nan_to_num(similarity[:, person.labelled]).mean(axis=1))


def match(found: Floats, people: Sequence[Labelled]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Match annotated people with the found (n, 17, 2): (people,) index, -1 = none, and (people,) OKS.

    No person is matched twice. Of all pairings the one with the highest sum is used.
    """
    who, similarity = np.full(len(people), -1, np.intp), np.zeros(len(people))
    if people and len(found):
        table = np.stack([oks(found, person) for person in people])
        rows, columns = linear_sum_assignment(table, maximize=True)
        who[rows], similarity[rows] = columns, table[rows, columns]
    return who, similarity


def coco_figures(dataset: dict[str, Any], found: Mapping[Any, FramePoses]) -> tuple[float, float, float, float]:
    """(AP, AP50, AP75, AR) by pycocotools, all sizes, at most 20 people per image.

    dataset: images and annotations in COCO's format; found: by image id, no other image counts
    All ids are renumbered: pycocotools treats an annotation's id of 0 as no match, and keeps one of several annotations
    with the same id for all of them.
    """
    numbers = {image_id: number for number, image_id in enumerate(found, 1)}
    rows = [
        {
            "image_id": numbers[image_id],
            "category_id": 1,
            "keypoints": np.concatenate([np.nan_to_num(xy), np.ones((17, 1))], axis=1).ravel().tolist(),
            "score": float(score),
        }
        for image_id, poses in found.items()
        for score, xy in zip(poses.scores, poses.keypoints, strict=True)
    ]
    if not rows:
        return 0.0, 0.0, 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = _renumbered(dataset, numbers)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75, ar = (float(evaluation.stats[index]) for index in (0, 1, 2, 5))
    return ap, ap50, ap75, ar


def _renumbered(dataset: dict[str, Any], numbers: Mapping[Any, int]) -> dict[str, Any]:
    """Renumber the images of `numbers` and their annotations from 1, all of the category 1."""
    counted = [annotation for annotation in dataset["annotations"] if annotation["image_id"] in numbers]
    annotations = [
        {**annotation, "id": number, "image_id": numbers[annotation["image_id"]], "category_id": 1}
        for number, annotation in enumerate(counted, 1)
    ]
    images = [{"id": number} for number in numbers.values()]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
