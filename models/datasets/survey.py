"""Survey of a data set's files, each read once: usable ones, and skipped ones with reasons. No splits, no training."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.datasets.near_copies import fingerprint, near_duplicates, same_pictures, thumbnail
from models.datasets.picture import Picture, PictureError, UnsupportedFormat, decode_picture, read_bytes
from models.text import visible

_KEPT_FIRST = ("test", "validation", "train", None)  # of equal files, so that a test set does not change


UNUSABLE, COPY, BOTH_CLASSES = "unusable", "copies", "in both classes"


class Skipped(NamedTuple):
    """A file that is left out. cause: one of the above, or an unsupported format, such as AVIF"""

    picture: Picture
    reason: str
    cause: str = UNUSABLE


class _UsablePicture(NamedTuple):
    """A usable picture. print: its fingerprint; small: its thumbnail"""

    picture: Picture
    print: NDArray[np.uint8]
    small: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Survey:
    """Result of a survey. pictures: usable, with sha256, in the order given; skipped: the others
    fingerprints: (n, 2, 32) uint8 of the pictures, after their box was cut out
    alike: pairs of similar pictures of different classes, such as one scene with and without a car
    """

    pictures: list[Picture]
    fingerprints: NDArray[np.uint8]
    skipped: list[Skipped]
    alike: list[tuple[Picture, Picture]] = field(default_factory=list)


def count_causes(skipped: Sequence[Skipped]) -> str:
    """Summarise the causes, such as "40 AVIF, 2 copies"; empty where nothing is left out."""
    return ", ".join(f"{count:,} {cause}" for cause, count in Counter(one.cause for one in skipped).most_common())


def left_out_lines(skipped: Sequence[Skipped], most: int) -> list[str]:
    """Lines for users: a count, every picture that is in both classes, and of the others `most`."""
    if not skipped:
        return []
    both = [one for one in skipped if one.cause == BOTH_CLASSES]
    others = [one for one in skipped if one.cause != BOTH_CLASSES]
    lines = [f"left out: {count_causes(skipped)}", *(f"left out: {one.reason}" for one in [*both, *others[:most]])]
    return [*lines, f"left out: {len(others) - most:,} more"] if len(others) > most else lines


def survey(pictures: Sequence[Picture], on_progress: Callable[[int], None] = lambda done: None) -> Survey:
    """Read every picture once, on all cores, with at most one picture per core in memory.

    on_progress: called with the number of pictures read so far
    """
    seen: list[_UsablePicture] = []
    skipped: list[Skipped] = []
    with _quiet_opencv(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(_look, pictures), start=1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                seen.append(result)
            on_progress(done)
    copies = _copies([look.picture for look in seen])
    kept = [look for index, look in enumerate(seen) if index not in copies]
    contradictory, alike = _contradictions(kept)
    skipped += [*map(copies.__getitem__, sorted(copies)), *map(contradictory.__getitem__, sorted(contradictory))]
    usable = [look for index, look in enumerate(kept) if index not in contradictory]
    prints = np.array([look.print for look in usable], np.uint8).reshape(-1, 2, 32)
    return Survey([look.picture for look in usable], prints, skipped, alike)


def _look(picture: Picture) -> _UsablePicture | Skipped:
    try:
        content = read_bytes(picture.path)
        image = decode_picture(content, picture)
    except UnsupportedFormat as error:
        return Skipped(picture, str(error), error.format)
    except PictureError as error:
        return Skipped(picture, str(error))
    read = replace(picture, sha256=hashlib.sha256(content).hexdigest())
    return _UsablePicture(read, fingerprint(image), thumbnail(image))


def _copies(pictures: Sequence[Picture]) -> dict[int, Skipped]:
    """Pictures to skip, by index: of equal bytes (and box) one is kept, whatever the order of the pictures.

    Equal bytes in both classes cannot both be right, so none of them is kept.
    """
    files: dict[str, list[int]] = {}
    for index in sorted(range(len(pictures)), key=lambda index: _first_kept(pictures[index])):
        files.setdefault(pictures[index].sha256, []).append(index)
    skipped = {}
    for indices in files.values():
        if len({pictures[index].car for index in indices}) == 2:
            for index in indices:
                other = next(i for i in indices if pictures[i].car != pictures[index].car)
                skipped[index] = _both_classes(pictures[index], pictures[other])
            continue
        kept: dict[object, Picture] = {}
        for index in indices:
            first = kept.setdefault(pictures[index].box, pictures[index])
            if first is not pictures[index]:
                reason = f"{pictures[index].path} is a copy of {first.path}, which is used"
                skipped[index] = Skipped(pictures[index], visible(reason), COPY)
    return skipped


def _first_kept(picture: Picture) -> tuple[int, str]:
    return _KEPT_FIRST.index(picture.split), str(picture.path)


def _contradictions(looks: Sequence[_UsablePicture]) -> tuple[dict[int, Skipped], list[tuple[Picture, Picture]]]:
    """Pictures to skip, by index, because a re-saved copy is of the other class; and pairs that are only similar."""
    prints = np.array([look.print for look in looks], np.uint8).reshape(-1, 2, 32)
    cars = np.array([look.picture.car for look in looks], bool)
    pairs = near_duplicates(prints)
    pairs = pairs[cars[pairs[:, 0]] != cars[pairs[:, 1]]]
    same = same_pictures(np.array([look.small for look in looks]), pairs)
    skipped: dict[int, Skipped] = {}
    for one, other, _ in pairs[same].tolist():
        for index, copy in ((one, other), (other, one)):
            skipped.setdefault(index, _both_classes(looks[index].picture, looks[copy].picture))
    return skipped, [(looks[one].picture, looks[other].picture) for one, other, _ in pairs[~same].tolist()]


def _both_classes(picture: Picture, other: Picture) -> Skipped:
    reason = f"{picture.path} is the same picture as {other.path}, which is of the other class. Leave one out."
    return Skipped(picture, visible(reason), BOTH_CLASSES)


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's log: broken files are reported as Skipped. Messages of libjpeg and libpng still appear."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
