"""Sources of pictures: Stanford Cars, Caltech-256, the user's own folders. Lists files; opens no picture.

Cars are those of Stanford Cars: saloons, estates, sports cars, vans and pickups. Lorries and buses are not.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from models.datasets.listing import list_files, list_folders
from models.datasets.picture import Picture, PictureError, Split
from models.datasets.split_names import RENAME, exact_split, split_of

_DEVKIT: dict[Split, str] = {"train": "cars_train_annos.mat", "test": "cars_test_annos.mat"}

# Caltech-256's categories without number and "-101". All others except NEITHER are not cars, also school-bus and
# fire-truck, which a classifier must learn to distinguish from cars (a tenth of the buses have a car next to them).
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

# Names of the two folders, in any case and with any separator: Cars, not-car, "No Car".
_CLASSES = {"car": True, "cars": True}
_CLASSES |= dict.fromkeys(("notcar", "notcars", "nocar", "nocars", "noncar", "noncars", "notacar"), False)
_NAMED = 5


class PictureSet(NamedTuple):
    """Pictures of one source.

    pictures: ordered by path
    notes: one line for each kind and number of files left out, for users
    published: it is a published data set, whose own splits an experiment may use
    """

    pictures: list[Picture]
    notes: tuple[str, ...] = ()
    published: bool = False


def stanford_cars(images: Path, devkit: Path, *, crop: bool = False) -> PictureSet:
    """List the pictures that the devkit names under `images`, in its own train and test split; all are cars.

    Both splits use the same file names, so a file belongs to the split in the name of the nearest folder above it, such
    as cars_train and cars_test. devkit: the folder of cars_train_annos.mat and cars_test_annos.mat.
    crop: cut to the annotated box; not for pictures that were cut already
    """
    listing = list_files(images)
    files = _stanford_files(images, listing.files)
    pictures, notes = [], listing.notes
    for split, name in _DEVKIT.items():
        boxes = _stanford_boxes(devkit / name)
        there = [(files[split, file], box) for file, box in sorted(boxes.items()) if (split, file) in files]
        pictures += [Picture(path, True, "stanford-cars", split, box if crop else None) for path, box in there]
        if len(there) < len(boxes):
            notes.append(f"stanford-cars: {len(boxes) - len(there)} of {len(boxes)} {split} pictures are missing")
    if not pictures:
        raise PictureError(
            f"{images} contains none of the pictures that {devkit} names, such as cars_train/00001.jpg. "
            "Unpack cars_train.tgz and cars_test.tgz there."
        )
    return PictureSet(pictures, tuple(notes), published=True)


def _stanford_files(images: Path, paths: Sequence[Path]) -> dict[tuple[Split, str], Path]:
    files: dict[tuple[Split, str], Path] = {}
    for path in paths:
        split = _stanford_split(images.resolve(), path.relative_to(images))
        if split is None:
            continue
        other = files.setdefault((split, path.name), path)
        if other != path:
            raise PictureError(
                f"{other} and {path} are both the {split} picture {path.name}. Leave one of their folders out."
            )
    return files


def _stanford_split(images: Path, path: Path) -> Split | None:
    for name in (*reversed(path.parts[:-1]), images.name):
        if ("train" in name) != ("test" in name):
            return "train" if "train" in name else "test"
    return None


def _stanford_boxes(mat: Path) -> dict[str, tuple[int, int, int, int]]:
    """Read the box of each picture by its file name. MATLAB counts from one, and its right and bottom are inclusive."""
    if not mat.is_file():
        raise PictureError(f"The devkit's annotations {mat} do not exist. Unpack car_devkit.tgz.")
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
        raise PictureError(f"{mat} is damaged, or not the devkit's annotations ({error}). Unpack it again.") from error


# Errors that scipy raises for truncated files (tried at every length).
_MAT_DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError),
    *(MemoryError, zlib.error, MatReadError),
)


def caltech256(folder: Path) -> PictureSet:
    """List the folders NNN.name of Caltech-256, any of the 257: cars and others by CALTECH_CARS and CALTECH_NEITHER."""
    categories: dict[Path, str] = {}
    for path in list_folders(folder):
        match = _CALTECH_FOLDER.fullmatch(path.name)
        if match:
            categories[path] = match[1]
    if not categories:
        raise PictureError(
            f"{folder} contains no folders like 252.car-side-101. Give 256_ObjectCategories of Caltech-256."
        )
    pictures: list[Picture] = []
    notes: list[str] = []
    neither: Counter[str] = Counter()
    for path, category in categories.items():
        listing = list_files(path)
        notes += listing.notes
        # Some copies contain leftovers of an unpacker: 056.dog/greg, 198.spider/RENAME2.
        files = [file for file in listing.files if file.suffix.lower() in (".jpg", ".jpeg")]
        if category in CALTECH_NEITHER:
            neither[category] += len(files)
        else:
            pictures += [Picture(file, category in CALTECH_CARS, "caltech-256") for file in files]
    notes += [f"caltech-256: {category} left out, neither car nor not: {n} pictures" for category, n in neither.items()]
    return PictureSet(pictures, tuple(notes), published=True)


def plain_folders(folder: Path, *, own_splits: bool = True) -> PictureSet:
    """List every file below a folder `car` or `not_car`, whatever its name; the nearest of the two decides.

    own_splits: folders train, validation or test at any level, in the spellings of split_names.py, are splits
    Raises PictureError where only some pictures are in folders of splits, or a folder could be of several.
    """
    listing = list_files(folder)
    pictures, outside = [], []
    for path in listing.files:
        parts = path.relative_to(folder).parts[:-1]
        car = next((found for part in reversed(parts) if (found := _class_of(part)) is not None), None)
        if car is None:
            outside.append(path)
            continue
        split = split_of(parts) if own_splits else None
        pictures.append(Picture(path, car, folder.resolve().name, split))
    if not pictures:
        raise PictureError(f"{folder} contains no files in folders car or not_car. Put the pictures into these two.")
    _refuse_half(folder, pictures)
    return PictureSet(pictures, (*listing.notes, *_outside(folder, outside)))


def named_splits(folders: Sequence[Path], sets: Sequence[PictureSet]) -> list[PictureSet]:
    """Use folders such as my/train and my/test as the splits in their names.

    Only where at least two different splits are named, and for sets whose own folders name none.
    """
    names = [_own_split(folder, each) for folder, each in zip(folders, sets, strict=True)]
    if len(set(names) - {None}) < 2:
        return list(sets)
    return [
        each if split is None else each._replace(pictures=[replace(one, split=split) for one in each.pictures])
        for split, each in zip(names, sets, strict=True)
    ]


def _own_split(folder: Path, found: PictureSet) -> Split | None:
    return None if any(one.split for one in found.pictures) else exact_split(folder.resolve().name)


def _class_of(name: str) -> bool | None:
    return _CLASSES.get(re.sub(r"[\W_]", "", name.casefold()))


def _refuse_half(folder: Path, pictures: Sequence[Picture]) -> None:
    """Raise PictureError where only some pictures have a split: others would be drawn at random, some into training."""
    named = [one for one in pictures if one.split]
    others = [one for one in pictures if not one.split]
    if named and others:
        raise PictureError(
            f"{len(named)} pictures of {folder} are in folders of splits, such as {named[0].path.parent} "
            f"({named[0].split}), and {len(others)} are in none, such as {others[0].path}. {RENAME}"
        )


def _outside(folder: Path, files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    names = ", ".join(str(path.relative_to(folder)) for path in files[:_NAMED])
    more = ", …" if len(files) > _NAMED else ""
    return [f"{folder.name}: {len(files)} files outside car and not_car: {names}{more}"]
