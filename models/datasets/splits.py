"""Splits that keep near copies of a picture together; counts, and checks before training."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from models.datasets.near_copies import WITHIN, near_duplicates
from models.datasets.picture import SPLITS, Picture, PictureError, Split
from models.datasets.survey import Skipped, count_causes
from models.text import visible

SHARES = (0.5, 0.3, 0.2)
Shares = tuple[float, float, float]


class Leak(NamedTuple):
    """Two pictures of different splits that are nearly the same; distance: bits of 256 in which they differ."""

    one: Picture
    other: Picture
    distance: int


class DrawnSplits(NamedTuple):
    """pictures: each with a split, in the order given; dropped: left out of training, with the reason."""

    pictures: list[Picture]
    dropped: list[Skipped]


def leaks(pictures: Sequence[Picture], fingerprints: NDArray[np.uint8], within: int = WITHIN) -> list[Leak]:
    """Near-duplicates across splits, the nearest first; pictures without a split leak nothing."""
    pairs = near_duplicates(fingerprints, within)
    found = [Leak(pictures[one], pictures[other], int(distance)) for one, other, distance in pairs]
    across = [leak for leak in found if leak.one.split and leak.other.split and leak.one.split != leak.other.split]
    return sorted(across, key=lambda leak: leak.distance)


def draw_splits(
    pictures: Sequence[Picture],
    fingerprints: NDArray[np.uint8],
    shares: Shares = SHARES,
    *,
    seed: int,
    keep_own: bool = False,
    within: int = WITHIN,
) -> DrawnSplits:
    """Give every picture a split. Each class is divided in the same way, and near-duplicates stay together.

    shares: of train, validation and test, in sum 1. The same pictures and seed give the same splits, whatever their
    order or folder; without near-duplicates a split has its share of each class to within one picture.
    keep_own: pictures keep their own splits. The validation share is then taken from the training pictures, unless
    some have validation as their split, and training pictures in a group with one of test or validation are dropped.
    """
    if min(shares) < 0 or shares[0] == 0 or abs(sum(shares) - 1) > 1e-6:
        raise PictureError(f"The shares are {shares}. Give three of at least 0 with the sum 1, the first above 0.")
    given = list(pictures) if keep_own else [replace(picture, split=None) for picture in pictures]
    own = {picture.split for picture in given}
    of_train = (1.0, 0.0, 0.0) if "validation" in own else _without_test(shares)
    groups = _groups(given, near_duplicates(fingerprints, within))
    splits: dict[int, Split] = {}
    stricter: tuple[Split, ...] = ("test", "validation")
    dropped: list[Skipped] = []
    to_draw: dict[Shares, list[list[int]]] = {shares: [], of_train: []}
    for group in groups:
        held = next((split for split in stricter if any(given[i].split == split for i in group)), None)
        if held is None:
            to_draw[of_train if any(given[i].split for i in group) else shares].append(group)
            continue
        for index in group:
            if given[index].split == "train":
                near = next(given[i].path for i in group if given[i].split == held)
                reason = visible(f"{given[index].path} is nearly the same as {near}, of {held}")
                dropped.append(Skipped(given[index], reason, f"too near to {held}"))
            else:
                splits[index] = given[index].split or held
    rng = np.random.default_rng(seed)
    for wanted, some in to_draw.items():
        splits |= _share_out(given, [some[i] for i in rng.permutation(len(some))], wanted)
    return DrawnSplits([replace(given[index], split=splits[index]) for index in sorted(splits)], dropped)


def _without_test(shares: Shares) -> Shares:
    train, validation, _ = shares
    return train / (train + validation), validation / (train + validation), 0.0


def _groups(pictures: Sequence[Picture], pairs: NDArray[np.int64]) -> list[list[int]]:
    """Group the indices of pictures connected by near-duplicates, in an order that depends on their bytes only."""
    count = len(pictures)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    keys = [(picture.sha256, picture.box or (), str(picture.path)) for picture in pictures]
    members: dict[int, list[int]] = {}
    for index in sorted(range(count), key=keys.__getitem__):
        members.setdefault(int(labels[index]), []).append(index)
    return list(members.values())


def _share_out(pictures: Sequence[Picture], groups: list[list[int]], shares: Shares) -> dict[int, Split]:
    """Assign groups, the largest first, each to the split that lacks most of its classes."""
    of_class = [Counter(pictures[index].car for index in group) for group in groups]
    total = np.array([sum(count[car] for count in of_class) for car in (False, True)])
    lacking = np.outer(shares, total)
    open_splits = np.flatnonzero(shares)
    splits: dict[int, Split] = {}
    for at in sorted(range(len(groups)), key=lambda at: -len(groups[at])):
        count = np.array([of_class[at][False], of_class[at][True]])
        best = int(open_splits[np.argmax(lacking[open_splits] @ count)])
        lacking[best] -= count
        splits |= dict.fromkeys(groups[at], SPLITS[best])
    return splits


def counts(pictures: Sequence[Picture]) -> list[str]:
    """Lines of a table, set x class x split, with a sum, to print before training."""
    columns = [*SPLITS, *([None] if any(picture.split is None for picture in pictures) else [])]
    head = ["set", "class", *(column or "undrawn" for column in columns), "all"]
    number = Counter((picture.source, picture.car, picture.split) for picture in pictures)
    rows = [
        _row(source, car, [number[source, car, column] for column in columns])
        for source in sorted({picture.source for picture in pictures})
        for car in (True, False)
        if any(number[source, car, column] for column in columns)
    ]
    for car in (True, False):
        sums = Counter(picture.split for picture in pictures if picture.car == car)
        rows.append(_row("all", car, [sums[column] for column in columns]))
    return _aligned([head, *rows])


def _row(source: str, car: bool, numbers: list[int]) -> list[str]:
    return [source, "car" if car else "not_car", *(f"{number:,}" for number in [*numbers, sum(numbers)])]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Align words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    adjust: list[Callable[[str, int], str]] = [str.ljust, str.ljust, *[str.rjust] * (len(widths) - 2)]
    return ["  ".join(put(cell, width) for put, cell, width in zip(adjust, row, widths, strict=True)) for row in rows]


def folder_rows(pictures: Sequence[Picture]) -> list[tuple[str, str, str, int]]:
    """(folder, class, split, pictures), by folder: the interpretation of each folder."""
    number = Counter((visible(str(one.path.parent)), one.car, str(one.split)) for one in pictures)
    return [
        (folder, "car" if car else "not_car", split, count) for (folder, car, split), count in sorted(number.items())
    ]


def check_classes(
    pictures: Sequence[Picture], splits: Sequence[Split] = SPLITS, left_out: Sequence[Skipped] = ()
) -> None:
    """Raise PictureError where a class has no pictures, or a requested split lacks one.

    left_out: files that are not among the pictures, to be counted in the error
    """
    besides = f" (left out: {count_causes(left_out)}; see the log)" if left_out else ""
    for car, name in ((True, "car"), (False, "not_car")):
        if not any(picture.car == car for picture in pictures):
            raise PictureError(f"There are {len(pictures)} pictures, none of {name}{besides}. Add a set with some.")
    for split in splits:
        number = Counter(picture.car for picture in pictures if picture.split == split)
        if not number[True] or not number[False]:
            raise PictureError(
                f"{split} has {number[True]} pictures of car and {number[False]} of not_car{besides}, and needs both. "
                "Add pictures, or draw other splits with --random-splits or other shares."
            )
