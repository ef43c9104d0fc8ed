"""Reading of COCO keypoint annotations, also of the variants that annotation tools write. No measures here.

Such files have a person's category other than 1, further categories, annotations without unique ids, ids that are
numbers in one part and texts in another, images in folders, areas of 0. Unambiguous faults are repaired, unusable parts
are left out, and both are counted. Ambiguous files are refused, because figures of the wrong people look plausible.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.coco import CocoError, CocoImage, CocoSet, Labelled
from models.evaluation.coco_masks import outline_area
from models.types import KEYPOINT_NAMES, KEYPOINTS

PERSON_NAMES = {"person", "persons", "people", "human", "pedestrian"}
AREA_OF_BOX = 0.53  # a person's area as a share of the box's: mmpose's converters, for data sets without masks

_ImageId = int | str


def read_coco(annotations: Path, images: Path) -> CocoSet:
    """Read the annotated images that are in the folder, by id.

    Raises CocoError where there are none, or the file is not COCO's, or ambiguous.
    """
    content, dataset = _parse(annotations)
    notes: Counter[str] = Counter()
    listed = _by_id(dataset["images"])
    people = _people(dataset, listed, notes)
    paths = _paths({image_id: image["file_name"] for image_id, image in listed.items()}, images)
    there = [image_id for image_id, path in paths.items() if path.is_file()]
    if not there:
        example = next((path.name for path in paths.values()), "none")
        raise CocoError(
            f"{images} contains none of the {len(listed)} images that {annotations.name} names, such as {example}. "
            "Name their folder with --images."
        )
    found = [_image(listed[image_id], paths[image_id], people[image_id]) for image_id in there]
    sha256 = hashlib.sha256(content).hexdigest()
    return CocoSet(found, len(listed), _dataset(listed, people), sha256, _said(notes))


def _parse(file: Path) -> tuple[bytes, dict[str, Any]]:
    """Read the file's bytes, and its JSON with `images` and `annotations` as lists of objects."""
    try:
        content = file.read_bytes()
        dataset = json.loads(content)
        lists = (dataset["images"], dataset["annotations"], dataset.setdefault("categories", []))
        if not all(isinstance(some, list) and all(isinstance(one, dict) for one in some) for some in lists):
            raise TypeError("images, annotations and categories must be lists of objects")
        for image in dataset["images"]:
            if isinstance(image["id"], float) and image["id"].is_integer():
                image["id"] = int(image["id"])
            if not isinstance(image["id"], int | str) or not isinstance(image["file_name"], str):
                raise TypeError("an image without an id or a file name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CocoError(
            f"{file} cannot be read as COCO keypoint annotations ({type(error).__name__}: {error}). Name a file like "
            "person_keypoints_val2017.json with --coco."
        ) from error
    return content, dataset


def _by_id(images: Sequence[dict[str, Any]]) -> dict[_ImageId, dict[str, Any]]:
    """Index the images by id: numbers, also in texts, before other texts."""
    repeated = [image_id for image_id, count in Counter(image["id"] for image in images).items() if count > 1]
    if repeated:
        raise CocoError(
            f"{len(repeated)} image ids are used more than once, such as {repeated[0]!r}, so the image of an "
            "annotation is unknown. Give each image its own id."
        )
    return {image["id"]: image for image in sorted(images, key=lambda image: _order(image["id"]))}


def _order(image_id: _ImageId) -> tuple[bool, float, str]:
    text = str(image_id)
    return (False, float(text), text) if text.removeprefix("-").isdecimal() else (True, 0.0, text)


# Annotations


def _people(
    dataset: dict[str, Any], listed: Mapping[_ImageId, Any], notes: Counter[str]
) -> dict[_ImageId, list[dict[str, Any]]]:
    """Collect the people of each image: keypoints in COCO's order, counted; area, box and crowd filled in."""
    persons = _person_categories(dataset)
    people: dict[_ImageId, list[dict[str, Any]]] = {image_id: [] for image_id in listed}
    categories, images = _Ids(persons), _Ids(people)
    for annotation in dataset["annotations"]:
        category, image_id = categories.find(annotation.get("category_id")), images.find(annotation.get("image_id"))
        if persons and category is not None and category not in persons:
            notes["annotation of another category left out"] += 1
        elif image_id not in people:
            notes["annotation of an image that the file does not list left out"] += 1
        else:
            person = _person(annotation, persons.get(category) if category is not None else None, notes)
            people[image_id].append(person)
    _refuse_shares(listed, people)
    return people


class _Ids:
    """Ids of one part of a file, found by the spelling of another part: 7, 7.0, "7" or "007"."""

    def __init__(self, known: Iterable[Any]) -> None:
        self._known = set(known)
        plain = Counter(map(_plain_id, self._known))
        self._by_plain = {_plain_id(one): one for one in self._known if plain[_plain_id(one)] == 1}

    def find(self, written: Any) -> Any:
        """Return the matching id; the written one where it is an id itself, or matches none or several."""
        if isinstance(written, list | dict):
            return repr(written)
        return written if written in self._known else self._by_plain.get(_plain_id(written), written)


def _plain_id(written: Any) -> str:
    text = str(int(written) if isinstance(written, float) and written.is_integer() else written).strip()
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _refuse_shares(listed: Mapping[_ImageId, Any], people: Mapping[_ImageId, Sequence[dict[str, Any]]]) -> None:
    """Raise CocoError where all keypoints lie within one pixel: they are shares of the picture's width and height."""
    rows = [np.array(one["keypoints"]).reshape(KEYPOINTS, 3) for some in people.values() for one in some]
    placed = np.concatenate([each[each[:, 2] > 0, :2] for each in rows]) if rows else np.empty((0, 2))
    if len(np.unique(placed, axis=0)) > 1 and placed.min() >= 0 and placed.max() <= 1:
        raise CocoError(
            f"All keypoints lie between 0 and 1, which are shares of a picture and not pixels ({len(listed)} images). "
            "Multiply x by the picture's width and y by its height."
        )


def _person_categories(dataset: dict[str, Any]) -> dict[Any, NDArray[np.intp]]:
    """Ids of the categories that are people, each with the places of COCO's keypoints in its own order."""
    categories = dataset["categories"]
    used = {_plain_id(annotation.get("category_id")) for annotation in dataset["annotations"]} - {"None"}
    if not categories:
        if len(used) > 1:
            raise CocoError(
                f"The annotations are of {len(used)} categories and the file names none. List them under `categories`, "
                "the people's as person."
            )
        return {category: np.arange(KEYPOINTS) for category in used}
    named = [one for one in categories if str(one.get("name", "")).strip().lower() in PERSON_NAMES]
    chosen = named or (categories if len(categories) == 1 else [])
    if not chosen:
        names = ", ".join(str(one.get("name")) for one in categories[:5])
        raise CocoError(
            f"The categories are {names}, and none is called person. Rename the people's category, and try again."
        )
    return {one.get("id"): _keypoint_order(one) for one in chosen}


def _keypoint_order(category: dict[str, Any]) -> NDArray[np.intp]:
    """Index of each of COCO's keypoints among the category's own; a category may leave the names out."""
    given = category.get("keypoints")
    if not given:
        return np.arange(KEYPOINTS)
    names = [str(name).strip().lower().replace(" ", "_").replace("-", "_") for name in given]
    if sorted(names) != sorted(KEYPOINT_NAMES):
        raise CocoError(
            f"The category {category.get('name')!r} has the {len(names)} keypoints {', '.join(names[:4])} …, not "
            f"COCO's {KEYPOINTS} ({', '.join(KEYPOINT_NAMES[:4])} …). Convert the annotations to those."
        )
    return np.array([names.index(name) for name in KEYPOINT_NAMES])


def _person(annotation: dict[str, Any], order: NDArray[np.intp] | None, notes: Counter[str]) -> dict[str, Any]:
    rows = _keypoints(annotation)
    rows = rows if order is None else rows[order]
    rows[~np.isfinite(rows).all(axis=1) | (rows[:, 2] <= 0)] = 0
    labelled = rows[:, 2] > 0
    box = _box(annotation, rows[labelled])
    area = _number(annotation.get("area"))
    if labelled.any() and not area > 0:
        area = outline_area(annotation.get("segmentation"))
        notes[f"area computed from the {'outline' if area > 0 else 'box'}"] += 1
        area = area if area > 0 else AREA_OF_BOX * box[2] * box[3]
    crowd = int(_is_yes(annotation.get("iscrowd")))
    return {
        "keypoints": rows.ravel().tolist(),
        "num_keypoints": int(labelled.sum()),
        "area": area,
        "bbox": box,
        "iscrowd": crowd,
    }


def _keypoints(annotation: dict[str, Any]) -> NDArray[np.float64]:
    """(17, 3) x, y, visibility; zeros where the annotation is of a box only."""
    values = annotation.get("keypoints") or [0] * (3 * KEYPOINTS)
    try:
        return np.array(values, np.float64).reshape(KEYPOINTS, 3)
    except (ValueError, TypeError) as error:
        found = f"{len(values)} values" if isinstance(values, list) else repr(values)[:40]
        raise CocoError(
            f"Annotation {annotation.get('id')!r} has {found} as keypoints, not {3 * KEYPOINTS} numbers: x, y and "
            f"visibility of COCO's {KEYPOINTS}. Convert the annotations to those."
        ) from error


def _box(annotation: dict[str, Any], labelled: NDArray[np.float64]) -> list[float]:
    """[x, y, width, height]; around the keypoints where the annotation has none."""
    given = annotation.get("bbox")
    box = [_number(value) for value in given] if isinstance(given, list) and len(given) == 4 else []
    if box and min(box[2:]) > 0 and all(map(math.isfinite, box)):
        return box
    if not len(labelled):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = labelled[:, :2].min(axis=0), labelled[:, :2].max(axis=0)
    return [*low.tolist(), *np.maximum(high - low, 1).tolist()]


def _number(value: object) -> float:
    """Return the number, also of a text; NaN for other values."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _is_yes(value: object) -> bool:
    """Return whether the value is true, also as a text, where "0" and "false" are not."""
    return value.strip().lower() not in ("", "0", "false", "no") if isinstance(value, str) else bool(value)


# Images


def _paths(names: dict[_ImageId, str], folder: Path) -> dict[_ImageId, Path]:
    """Locate each image: by its path inside the folder, or by its plain name where no two images share it.

    A name is data: it never leads out of the folder.
    """
    inside = {image_id: PurePosixPath(name.replace("\\", "/")) for image_id, name in names.items()}
    shared = {name for name, count in Counter(path.name for path in inside.values()).items() if count > 1}
    found: dict[_ImageId, Path] = {}
    for image_id, path in inside.items():
        is_safe = not path.is_absolute() and ".." not in path.parts
        whole, plain = folder / (path if is_safe else path.name), folder / path.name
        if path.name in shared and not whole.is_file() and plain.is_file():
            raise CocoError(
                f"Several images are called {path.name} ({path} is one), and {folder} has one file of that name, which "
                "may be any of them. Keep the images in the folders that the annotations name."
            )
        found[image_id] = whole if whole.is_file() else plain
    if repeated := [path for path, count in Counter(found.values()).items() if count > 1 and path.is_file()]:
        raise CocoError(f"Several images of the file are {repeated[0].name}. List each image once.")
    return found


def _image(image: dict[str, Any], path: Path, people: Sequence[dict[str, Any]]) -> CocoImage:
    counted = [_labelled(person) for person in people if person["num_keypoints"] and not person["iscrowd"]]
    width, height = (int(size) if (size := _number(image.get(side))) > 0 else None for side in ("width", "height"))
    return CocoImage(image["id"], path, width, height, tuple(counted), len(people))


def _labelled(person: dict[str, Any]) -> Labelled:
    rows = np.array(person["keypoints"]).reshape(KEYPOINTS, 3)
    return Labelled(rows[:, :2], rows[:, 2] > 0, float(person["area"]), float(max(person["bbox"][2:])))


def _dataset(listed: Mapping[_ImageId, Any], people: Mapping[_ImageId, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Build a dataset in COCO's own form: one category, and ids of the annotations from 1."""
    pairs = [(image_id, person) for image_id, some in people.items() for person in some]
    annotations = [
        {**person, "id": number, "image_id": image_id, "category_id": 1}
        for number, (image_id, person) in enumerate(pairs, 1)
    ]
    images = [{"id": image_id} for image_id in listed]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _said(notes: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{count} × {what}" for what, count in sorted(notes.items()))
