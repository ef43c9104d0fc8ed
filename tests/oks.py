"""Object keypoint similarity on the six reference images, for tests. The decoder here is its own, and the plainest one.

Protocol: COCO images with exactly one annotated person, not a crowd, at least 10 keypoints; stretched bilinearly to
size x size; argmax of each heatmap plus its offset; OKS over the labelled keypoints, area from the annotation.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

OUTPUT_STRIDE = 16

# COCO's sigmas, in COCO's order of keypoints: cocodataset.org/#keypoints-eval (pycocotools' kpt_oks_sigmas).
_HALF_BODY = {"face": [0.026, 0.025, 0.025, 0.035, 0.035], "arms": [0.079, 0.079, 0.072, 0.072, 0.062, 0.062]}
SIGMAS = np.array([*_HALF_BODY["face"], *_HALF_BODY["arms"], 0.107, 0.107, 0.087, 0.087, 0.089, 0.089])

Infer = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class ReferenceImage:
    """keypoints: (17, 2) float64, x then y, pixels; labelled: (17,) bool; area: of the person, square pixels."""

    path: Path
    keypoints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    area: float

    def read(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB."""
        return np.ascontiguousarray(cv2.imread(str(self.path))[..., ::-1])


def _annotations(data: Path) -> tuple[dict[int, Path], dict[int, list[dict]]]:
    """The pictures there are and the people annotated on them, by image id."""
    annotations = json.loads((data / "coco_mini/annotations/person_keypoints_train2017.json").read_text())
    paths = {image["id"]: data / "coco_mini/train2017" / image["file_name"] for image in annotations["images"]}
    people: dict[int, list[dict]] = {}
    for annotation in annotations["annotations"]:
        if annotation["image_id"] in paths:
            people.setdefault(annotation["image_id"], []).append(annotation)
    return paths, dict(sorted(people.items()))


def _reference(path: Path, person: dict) -> ReferenceImage:
    rows = np.array(person["keypoints"], np.float64).reshape(17, 3)
    return ReferenceImage(path, rows[:, :2], rows[:, 2] > 0, person["area"])


def reference_images(data: Path) -> list[ReferenceImage]:
    """The six images of the data folder that the published figures were measured on, by image id."""
    paths, people = _annotations(data)
    return [
        _reference(paths[image_id], person)
        for image_id, (person, *others) in people.items()
        if not others and not person["iscrowd"] and person["num_keypoints"] >= 10
    ]


def labelled_people(data: Path) -> list[list[ReferenceImage]]:
    """The people with keypoints, no crowds, of each of the 28 images that have some: 86 in all."""
    paths, people = _annotations(data)
    chosen = [
        [_reference(paths[image_id], one) for one in several if one["num_keypoints"] and not one["iscrowd"]]
        for image_id, several in people.items()
    ]
    return [several for several in chosen if several]


def oks(found: NDArray[np.floating], image: ReferenceImage) -> float:
    """Similarity 0 to 1 of found (17, 2), x then y, pixels of the original; a keypoint not found (NaN) counts 0."""
    distance2 = ((found - image.keypoints) ** 2).sum(axis=1)
    similarity = np.exp(-distance2 / (2 * image.area * (2 * SIGMAS) ** 2))
    return float(np.nan_to_num(similarity[image.labelled]).mean())


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
