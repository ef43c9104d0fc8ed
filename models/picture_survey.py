"""Every file of a data set read once: what is usable, what is skipped and why. No splits, no training."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.picture_copies import fingerprint
from models.pictures import Picture, PictureError, decode_picture, read_bytes

_KEPT_FIRST = ("test", "validation", "train", None)  # of equal files, so that a test set stays what it was


class Skipped(NamedTuple):
    picture: Picture
    reason: str


@dataclass(frozen=True, eq=False)
class Survey:
    """pictures: usable, with sha256, in the order given; skipped: the others
    fingerprints: (n, 2, 32) uint8 of the pictures, after their box was cut out
    """

    pictures: list[Picture]
    fingerprints: NDArray[np.uint8]
    skipped: list[Skipped]


def survey(pictures: Sequence[Picture], on_progress: Callable[[int], None] = lambda done: None) -> Survey:
    """Read every picture once, on all cores; at most one picture a core is in memory.

    on_progress: called with the number of pictures read so far
    """
    seen: list[tuple[Picture, NDArray[np.uint8]]] = []
    skipped: list[Skipped] = []
    with _quiet_opencv(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(_look, pictures), start=1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                seen.append(result)
            on_progress(done)
    reasons = _duplicates([picture for picture, _ in seen])
    skipped += [Skipped(seen[index][0], reason) for index, reason in sorted(reasons.items())]
    kept = [pair for index, pair in enumerate(seen) if index not in reasons]
    prints = np.array([print_ for _, print_ in kept], np.uint8).reshape(-1, 2, 32)
    return Survey([picture for picture, _ in kept], prints, skipped)


def _look(picture: Picture) -> tuple[Picture, NDArray[np.uint8]] | Skipped:
    try:
        content = read_bytes(picture.path)
        image = decode_picture(content, picture)
    except PictureError as error:
        return Skipped(picture, str(error))
    return replace(picture, sha256=hashlib.sha256(content).hexdigest()), fingerprint(image)


def _duplicates(pictures: Sequence[Picture]) -> dict[int, str]:
    """Why some of them are to be skipped, by their index: of the same bytes (and box), one is kept.

    The same bytes in both classes cannot both be right, so none of them is.
    """
    same: dict[tuple[object, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        same.setdefault((picture.sha256, picture.box), []).append(index)
    reasons = {}
    for indices in same.values():
        if len({pictures[index].car for index in indices}) == 2:
            for index in indices:
                other = next(pictures[i].path for i in indices if pictures[i].car != pictures[index].car)
                reasons[index] = f"{pictures[index].path} is {other}, which is of the other class: leave one out"
            continue
        first, *others = sorted(indices, key=lambda index: _KEPT_FIRST.index(pictures[index].split))
        for index in others:
            reasons[index] = f"{pictures[index].path} is a copy of {pictures[first].path}, which is used"
    return reasons


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Broken files are told as Skipped, not by OpenCV's log as well. (What libjpeg and libpng print, they print.)"""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
