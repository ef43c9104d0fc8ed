"""Object keypoint similarity on the six reference images, for tests, with the simplest possible decoder.

Protocol: COCO images with exactly one annotated person, not a crowd, at least 10 keypoints; stretched bilinearly to
size x size; argmax of each heatmap plus its offset; OKS over the labelled keypoints, area from the annotation.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.evaluation import coco
from models.evaluation.coco import CocoImage, CocoSet, Labelled
from models.evaluation.coco_file import read_coco

OUTPUT_STRIDE = 16

Infer = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]


class ReferenceImage(NamedTuple):
    """An image and one of its people."""

    image: CocoImage
    person: Labelled

    def read(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB."""
        return self.image.read()


def coco_mini(data: Path) -> CocoSet:
    folder = data / "coco_mini"
    return read_coco(folder / "annotations/person_keypoints_train2017.json", folder / "train2017")


def reference_images(data: Path) -> list[ReferenceImage]:
    """The six images of the data folder that belong to the published figures, by image id."""
    return [ReferenceImage(image, image.people[0]) for image in coco.choose(coco_mini(data).images, "single")]


def labelled_people(data: Path) -> list[list[ReferenceImage]]:
    """The people with keypoints (no crowds) of each of the 28 images that have any: 86 in all."""
    images = coco_mini(data).images
    return [[ReferenceImage(image, person) for person in image.people] for image in images if image.people]


def oks(found: NDArray[np.floating], image: ReferenceImage) -> float:
    """Return the similarity of found (17, 2), x then y, pixels of the original."""
    return float(coco.oks(found[None], image.person)[0])


def single_person(heatmap: NDArray[np.float32], offsets: NDArray[np.float32]) -> NDArray[np.float64]:
    """(17, 2) x then y, pixels of the tensor, from (h, w, 17) and (h, w, 34): 17 y offsets, then 17 x offsets."""
    keypoints = np.empty((17, 2))
    for part in range(17):
        y, x = np.unravel_index(np.argmax(heatmap[..., part]), heatmap.shape[:2])
        keypoints[part] = x * OUTPUT_STRIDE + offsets[y, x, part + 17], y * OUTPUT_STRIDE + offsets[y, x, part]
    return keypoints


def mean_oks(images: list[ReferenceImage], size: int, infer: Infer) -> float:
    """infer: tensor (1, size, size, 3) float32, -1 to 1, RGB -> PoseNet's outputs by name, each with its batch of 1."""
    scores = []
    for image in images:
        pixels = image.read()
        stretched = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
        outputs = infer((stretched / 127.5 - 1).astype(np.float32)[None])
        found = single_person(outputs["heatmap"][0], outputs["offset_2"][0])
        scores.append(oks(found * np.array(pixels.shape[1::-1]) / size, image))
    return float(np.mean(scores))
