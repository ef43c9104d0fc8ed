"""The truth of rendered frames in COCO's keypoint format, see cocodataset.org/#format-data. No pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.decoders.skeleton import DRAWN_EDGES
from models.synthetic.frame import People
from models.types import KEYPOINT_NAMES


def coco_truth(
    frames: Sequence[People],
    size: tuple[int, int],
    files: Sequence[str] | None = None,
    extra: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Build a dataset that pycocotools reads: image n is frame n. A person whose number is known has it as `track_id`.

    size: height and width; files: a name for each frame; extra: further values of each frame, such as its time
    A person with too few visible keypoints has none and does not count, like unlabelled people of COCO.
    """
    images: list[dict[str, Any]] = [{"id": n, "height": size[0], "width": size[1]} for n in range(len(frames))]
    for image, name in zip(images, files or (), strict=False):
        image["file_name"] = name
    for image, more in zip(images, extra or (), strict=False):
        image.update(more)
    annotations: list[dict[str, Any]] = []
    for number, people in enumerate(frames):
        for person in range(len(people.keypoints)):
            annotations.append(_annotation(len(annotations) + 1, number, people, person))
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(KEYPOINT_NAMES),
        "skeleton": [[a + 1, b + 1] for a, b in DRAWN_EDGES],
    }
    return {"images": images, "annotations": annotations, "categories": [category]}


def people_of(truth: dict[str, Any]) -> list[People]:
    """Read the people of each frame, the inverse of coco_truth."""
    frames: list[list[dict[str, Any]]] = [[] for _ in truth["images"]]
    for annotation in truth["annotations"]:
        frames[annotation["image_id"]].append(annotation)
    return [_people(annotations) for annotations in frames]


def _people(annotations: list[dict[str, Any]]) -> People:
    keypoints = np.array([item["keypoints"] for item in annotations], np.float32).reshape(-1, 17, 3)
    return People(
        keypoints=keypoints[:, :, :2],
        visibility=keypoints[:, :, 2].astype(np.uint8),
        area=np.array([item["area"] for item in annotations], np.float32),
        bbox=np.array([item["bbox"] for item in annotations], np.float32).reshape(-1, 4),
        number=np.array([item.get("track_id", 0) for item in annotations], np.int32),
    )


def _annotation(number: int, frame: int, people: People, person: int) -> dict[str, Any]:
    flags = people.visibility[person]
    keypoints = np.zeros((17, 3))
    keypoints[:, :2] = np.where(flags[:, None] > 0, people.keypoints[person].astype(np.float64).round(2), 0)
    keypoints[:, 2] = flags
    flat = [int(value) if index % 3 == 2 else float(value) for index, value in enumerate(keypoints.ravel())]
    return {
        "id": number,
        "image_id": frame,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": flat,
        "area": float(people.area[person]),
        "bbox": [float(value) for value in people.bbox[person]],
        **({"track_id": int(people.number[person])} if people.number[person] else {}),
    }
