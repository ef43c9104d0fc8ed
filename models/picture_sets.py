"""Where pictures come from: Stanford Cars, Caltech-256, folders of one's own. Lists files; opens no picture.

A car is what Stanford Cars calls one: saloons, estates, sports cars, vans and pickups. Lorries and buses are not.
"""

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from models.pictures import Picture, PictureError, Split

_DEVKIT: dict[Split, str] = {"train": "cars_train_annos.mat", "test": "cars_test_annos.mat"}

# Caltech-256's categories without number and "-101". All others but NEITHER are not cars; so are school-bus and
# fire-truck, which a classifier must learn to tell from cars (a tenth of the buses have a car beside them).
CALTECH_CARS = frozenset({"car-side"})
CALTECH_NEITHER = frozenset(
    {
        "car-tire",  # a part of a car, often with the car around it
        "license-plate",  # the same
        "steering-wheel",  # the same, from the inside
        "gas-pump",  # cars stand at it
        "traffic-light",  # cars wait at it
        "clutter",  # anything, cars as well
    }
)
_CALTECH_FOLDER = re.compile(r"\d{3}\.(.+?)(-101)?")

_CLASSES = {"car": True, "not_car": False}
_SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


class PictureSet(NamedTuple):
    """pictures: ordered by path; notes: what was left out and how much of it, a line each, for people."""

    pictures: list[Picture]
    notes: tuple[str, ...] = ()


def stanford_cars(images: Path, devkit: Path, *, crop: bool = False) -> PictureSet:
    """The pictures that the devkit names and that are under `images`, in its own train and test split; all are cars.

    Both splits use the same file names: a file is of the split that the nearest folder above it names, as
    cars_train and cars_test do. devkit: the folder of cars_train_annos.mat and cars_test_annos.mat.
    crop: cut to the annotated box; not for pictures that were cut already
    """
    files = _stanford_files(images)
    pictures, notes = [], []
    for split, name in _DEVKIT.items():
        boxes = _stanford_boxes(devkit / name)
        there = [(files[split, file], box) for file, box in sorted(boxes.items()) if (split, file) in files]
        pictures += [Picture(path, True, "stanford-cars", split, box if crop else None) for path, box in there]
        if len(there) < len(boxes):
            notes.append(f"stanford-cars: {len(boxes) - len(there)} of {len(boxes)} {split} pictures are not there")
    if not pictures:
        raise PictureError(
            f"{images} holds none of the pictures that {devkit} names, expected cars_train/00001.jpg and so on: "
            "unpack cars_train.tgz and cars_test.tgz there"
        )
    return PictureSet(pictures, tuple(notes))


def _stanford_files(images: Path) -> dict[tuple[Split, str], Path]:
    files: dict[tuple[Split, str], Path] = {}
    for path in _files(images):
        split = _stanford_split(images.resolve(), path.relative_to(images))
        if split is None:
            continue
        other = files.setdefault((split, path.name), path)
        if other != path:
            raise PictureError(f"{other} and {path} are both {split}'s {path.name}: leave one of their folders out")
    return files


def _stanford_split(images: Path, path: Path) -> Split | None:
    for name in (*reversed(path.parts[:-1]), images.name):
        if ("train" in name) != ("test" in name):
            return "train" if "train" in name else "test"
    return None


def _stanford_boxes(mat: Path) -> dict[str, tuple[int, int, int, int]]:
    """The box of each picture by its file name. MATLAB counts from one, and its right and bottom are inclusive."""
    if not mat.is_file():
        raise PictureError(f"there is no {mat}, expected the devkit's annotations: unpack car_devkit.tgz")
    try:
        rows: Any = loadmat(mat, variable_names=["annotations"])["annotations"]
        return {
            str(row["fname"].item()): (
                int(row["bbox_x1"].item()) - 1,
                int(row["bbox_y1"].item()) - 1,
                int(row["bbox_x2"].item()),
                int(row["bbox_y2"].item()),
            )
            for row in rows.ravel()
        }
    except _MAT_DAMAGE as error:
        raise PictureError(f"{mat} is not the devkit's annotations or is damaged ({error}): unpack it again") from error


# What scipy raises for files cut short at one place or another (tried at every length).
_MAT_DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError),
    *(MemoryError, zlib.error, MatReadError),
)


def caltech256(folder: Path) -> PictureSet:
    """The folders NNN.name of Caltech-256, any of the 257: cars and others by CALTECH_CARS and CALTECH_NEITHER."""
    categories: dict[Path, str] = {}
    for path in _folders(folder):
        match = _CALTECH_FOLDER.fullmatch(path.name)
        if match:
            categories[path] = match[1]
    if not categories:
        raise PictureError(f"{folder} holds no folders like 252.car-side-101: give 256_ObjectCategories of Caltech-256")
    pictures: list[Picture] = []
    neither: Counter[str] = Counter()
    for path, category in categories.items():
        # Some copies hold the leftovers of an unpacker: 056.dog/greg, 198.spider/RENAME2.
        files = [file for file in _files(path) if file.suffix.lower() in (".jpg", ".jpeg")]
        if category in CALTECH_NEITHER:
            neither[category] += len(files)
        else:
            pictures += [Picture(file, category in CALTECH_CARS, "caltech-256") for file in files]
    notes = [f"caltech-256: {category} left out, neither car nor not: {n} pictures" for category, n in neither.items()]
    return PictureSet(pictures, tuple(notes))


def plain_folders(folder: Path) -> PictureSet:
    """Every file below a folder `car` or `not_car`, whatever it is called; the nearest of the two decides.

    A folder train, validation (or val) or test above that one is its split: train/car, test/not_car.
    """
    pictures: list[Picture] = []
    outside = 0
    for path in _files(folder):
        parts = path.relative_to(folder).parts[:-1]
        at = max((index for index, part in enumerate(parts) if part in _CLASSES), default=None)
        if at is None:
            outside += 1
            continue
        split = next((_SPLIT_FOLDERS[part] for part in reversed(parts[:at]) if part in _SPLIT_FOLDERS), None)
        pictures.append(Picture(path, _CLASSES[parts[at]], folder.resolve().name, split))
    if not pictures:
        raise PictureError(f"{folder} holds no files in folders car or not_car: put the pictures into these two")
    return PictureSet(pictures, (f"{folder.name}: {outside} files outside car and not_car",) if outside else ())


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PictureError(f"{folder} is no folder, expected one of pictures: check the path")
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _files(folder: Path) -> Iterator[Path]:
    """Every file below, ordered, but hidden ones (.DS_Store, ._00001.jpg) and hidden folders'."""
    _folders(folder)
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    where = cast(str, error.filename)
    raise PictureError(f"{where} cannot be listed ({error.strerror}): mend its permissions") from error
