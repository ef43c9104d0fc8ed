"""COCO's keypoint annotations and its measures: OKS and AP. No network runs here, and nothing is decoded."""

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

from models.skeleton import COCO_SIGMAS
from models.types import FramePoses, NightjarError

LEAST_KEYPOINTS = 10
"""Of the one person of an image, for the mode "single"."""

Mode = Literal["multi", "single"]


class CocoError(NightjarError):
    """The annotations or the images cannot be used."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A person as annotated.

    keypoints: (17, 2) float64, x then y, pixels of the image; labelled: (17,) bool, which of them count
    area: of the person, square pixels; side: the longer one of the person's box, pixels
    """

    keypoints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    area: float
    side: float


@dataclass(frozen=True, eq=False)
class CocoImage:
    """people: those with keypoints, no crowds; annotated: all that are annotated, also crowds and without keypoints."""

    image_id: int
    path: Path
    width: int
    height: int
    people: tuple[Labelled, ...]
    annotated: int

    def read(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB. Raises CocoError where it is no picture, or not of the annotated size."""
        pixels = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        found = "no picture" if pixels is None else f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            raise CocoError(
                f"{self.path} holds {found}, the annotations say {self.width}x{self.height}: fetch the image again"
            )
        return np.ascontiguousarray(pixels[..., ::-1])


@dataclass(frozen=True, eq=False)
class CocoSet:
    """images: those of the file that are in the folder, by image id; in_file: how many the file names

    dataset: the whole annotation file, for pycocotools; sha256: of the annotation file
    """

    images: list[CocoImage]
    in_file: int
    dataset: dict[str, Any]
    sha256: str


def read_coco(annotations: Path, images: Path) -> CocoSet:
    """The annotated images that are in the folder. Raises CocoError where there are none, or the file is not COCO's."""
    try:
        content = annotations.read_bytes()
        dataset = json.loads(content)
        people: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in dataset["images"]}
        for annotation in dataset["annotations"]:
            if annotation["image_id"] in people:
                people[annotation["image_id"]].append(annotation)
        # A name is data: it leads nowhere but into the folder.
        named = {image["id"]: (image, images / Path(image["file_name"]).name) for image in dataset["images"]}
        found = [
            _image(image, path, people[image_id]) for image_id, (image, path) in sorted(named.items()) if path.is_file()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CocoError(
            f"{annotations} cannot be read as COCO keypoint annotations ({type(error).__name__}: {error}), expected a "
            "file like person_keypoints_val2017.json: name it with --coco"
        ) from error
    if not found:
        raise CocoError(
            f"{images} holds none of the {len(named)} images that {annotations.name} names, such as "
            f"{next((path.name for _, path in named.values()), 'none')}: name their folder with --images"
        )
    return CocoSet(found, len(named), dataset, hashlib.sha256(content).hexdigest())


def _image(image: dict[str, Any], path: Path, annotated: Sequence[dict[str, Any]]) -> CocoImage:
    people = [_labelled(one) for one in annotated if one["num_keypoints"] and not one["iscrowd"]]
    return CocoImage(image["id"], path, image["width"], image["height"], tuple(people), len(annotated))


def _labelled(annotation: dict[str, Any]) -> Labelled:
    rows = np.array(annotation["keypoints"], np.float64).reshape(17, 3)
    return Labelled(rows[:, :2], rows[:, 2] > 0, float(annotation["area"]), float(max(annotation["bbox"][2:])))


def choose(images: Sequence[CocoImage], mode: Mode) -> list[CocoImage]:
    """multi: all, also those without people, where each person found is one too many

    single: those with exactly one annotated person, not a crowd, of at least LEAST_KEYPOINTS keypoints
    """
    if mode == "multi":
        return list(images)
    alone = [image for image in images if image.annotated == len(image.people) == 1]
    return [image for image in alone if image.people[0].labelled.sum() >= LEAST_KEYPOINTS]


def oks(found: NDArray[np.floating], person: Labelled) -> NDArray[np.float64]:
    """(n,) similarity 0 to 1 of (n, 17, 2), x then y, pixels of the image; a keypoint not found (NaN) counts 0."""
    distance2 = ((found - person.keypoints) ** 2).sum(axis=-1)
    similarity = np.exp(-distance2 / (2 * person.area * (2 * COCO_SIGMAS.astype(np.float64)) ** 2))
    return np.asarray(np.nan_to_num(similarity[:, person.labelled]).mean(axis=1))


def match(found: NDArray[np.floating], people: Sequence[Labelled]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Of each annotated person, (people,) who of the found (n, 17, 2) it is, -1 = nobody, and (people,) their OKS.

    Nobody is counted twice: of all ways to pair them, the one with the highest sum.
    """
    who, similarity = np.full(len(people), -1, np.intp), np.zeros(len(people))
    if people and len(found):
        table = np.stack([oks(found, person) for person in people])
        rows, columns = linear_sum_assignment(table, maximize=True)
        who[rows], similarity[rows] = columns, table[rows, columns]
    return who, similarity


def coco_figures(dataset: dict[str, Any], found: Mapping[int, FramePoses]) -> tuple[float, float, float, float]:
    """(AP, AP50, AP75, AR) by pycocotools, all sizes, at most 20 people an image. found: by image id; no other image
    counts."""
    rows = [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": np.concatenate([np.nan_to_num(xy), np.ones((17, 1))], axis=1).ravel().tolist(),
            "score": float(score),
        }
        for image_id, poses in found.items()
        for score, xy in zip(poses.scores, poses.keypoints, strict=True)
    ]
    if not rows:
        return 0.0, 0.0, 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows), "keypoints")
        evaluation.params.imgIds = sorted(found)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75, ar = (float(evaluation.stats[index]) for index in (0, 1, 2, 5))
    return ap, ap50, ap75, ar
