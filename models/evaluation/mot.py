"""Sequences of MOTChallenge: detections and the truth as text files. Boxes only.

Format: github.com/dendorferpatrick/MOTChallengeEvalKit: frame from 1, id, left, top, width, height, confidence, and in
later years class and visibility. A row of the truth with a confidence of 0, or of another class than 1, does not count.
"""

import configparser
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluation.tracks import ComparedFrame
from models.types import NightjarError

DETECTIONS, TRUTH, INFO = "det.txt", "gt.txt", "seqinfo.ini"
DEFAULT_FPS = 25.0

_COLUMNS = 6  # at least
_COLUMNS_WITH_CLASS = 9  # of the truth since 2016; before, there are places on the ground, in 10 columns
_PEDESTRIAN = 1
_LONGEST_BYTES = 500_000_000

Array = NDArray[np.float64]


class MotError(NightjarError):
    """A sequence that cannot be used."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of a sequence, ordered by frame.

    frame: (n,) int64, from 1; number: (n,) int64, of the person or the track; -1 = not known
    boxes: (n, 4) float64, left, top, right, bottom, pixels; scores: (n,) float64
    """

    frame: NDArray[np.int64]
    number: NDArray[np.int64]
    boxes: Array
    scores: Array


@dataclass(frozen=True, eq=False)
class Sequence:
    """A sequence. size: width and height, pixels; fps: frames per second, None = the files do not say"""

    detections: Boxes
    truth: Boxes
    size: tuple[int, int]
    fps: float | None


def is_sequence(folder: Path) -> bool:
    """Return whether the folder holds a sequence, either flat or as MOTChallenge lays it out."""
    return all(_file(folder, name).is_file() for name in (DETECTIONS, TRUTH))


def read_sequence(folder: Path) -> Sequence:
    """Read the sequence of a folder. Raises MotError."""
    detections = _read(_file(folder, DETECTIONS), with_class=False)
    truth = _read(_file(folder, TRUTH), with_class=True)
    if len(np.unique(np.stack([truth.frame, truth.number]), axis=1).T) != len(truth.frame):
        raise MotError(f"{_file(folder, TRUTH)} has a person twice in one frame. Remove one of the two rows.")
    info = _info(folder / INFO)
    corner = np.concatenate([detections.boxes[:, 2:], truth.boxes[:, 2:], [[1.0, 1.0]]]).max(axis=0)
    size = (int(info.get("imwidth", corner[0])), int(info.get("imheight", corner[1])))
    return Sequence(detections, truth, size, info.get("framerate"))


def _file(folder: Path, name: str) -> Path:
    inner = folder / name.partition(".")[0] / name
    return inner if inner.is_file() else folder / name


def _info(path: Path) -> dict[str, float]:
    """Return the numbers of seqinfo.ini, none without it. Raises MotError."""
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(errors="replace"))
        section = parser["Sequence"] if parser.has_section("Sequence") else {}
        found = {name: float(section[name]) for name in ("framerate", "imwidth", "imheight") if name in section}
    except (configparser.Error, ValueError) as error:
        raise MotError(f"{path} cannot be read ({error}). Repair or remove the file.") from error
    if not all(np.isfinite(value) and 0 < value < 1e6 for value in found.values()):
        raise MotError(f"{path} has a frame rate or size that is not above 0. Repair or remove the file.")
    return found


def _read(path: Path, *, with_class: bool) -> Boxes:
    try:
        if path.stat().st_size > _LONGEST_BYTES:
            raise MotError(f"{path} is longer than {_LONGEST_BYTES:,} bytes. Give the files of one sequence.")
        lines = [line.replace(",", " ").split() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        rows = [line for line in lines if line]
        table = np.array([[float(value) for value in row] for row in rows], np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise MotError(f"{path} is not a table of numbers ({error}). Give a file in MOTChallenge's format.") from error
    if not rows:
        table = np.empty((0, _COLUMNS))
    return _boxes(path, table, with_class)


def _boxes(path: Path, table: Array, with_class: bool) -> Boxes:
    if table.shape[1] < _COLUMNS or not np.isfinite(table[:, :_COLUMNS]).all():
        raise MotError(
            f"{path} has fewer than {_COLUMNS} numbers in a line. Give frame, id, left, top, width and height."
        )
    scores = table[:, 6] if table.shape[1] > _COLUMNS else np.ones(len(table))
    kept = table[:, 4:6].min(axis=1, initial=np.inf) > 0
    if with_class:
        kept &= scores != 0
        if table.shape[1] == _COLUMNS_WITH_CLASS:
            kept &= table[:, 7] == _PEDESTRIAN
    order = np.flatnonzero(kept)[np.argsort(table[kept, 0], kind="stable")]
    table, scores = table[order], scores[order]
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), corners, scores)


def known_scores(scores: Array) -> Array:
    """Return scores from 0 to 1. Those of a detector with another scale say nothing and become 1."""
    return scores if ((scores >= 0) & (scores <= 1)).all() else np.ones_like(scores)


def compare(truth: Boxes, found: Boxes) -> list[ComparedFrame]:
    """Compare the boxes frame by frame, by intersection over union. Both ordered by frame."""
    frames = np.unique(np.concatenate([truth.frame, found.frame]))
    mine, theirs = (_split(boxes, frames) for boxes in (truth, found))
    return [
        ComparedFrame(truth.number[a], found.number[b], overlap(truth.boxes[a], found.boxes[b]))
        for a, b in zip(mine, theirs, strict=True)
    ]


def _split(boxes: Boxes, frames: NDArray[np.int64]) -> list[slice]:
    bounds = np.searchsorted(boxes.frame, [*frames, np.iinfo(np.int64).max])
    return [slice(int(first), int(last)) for first, last in itertools.pairwise(bounds)]


def overlap(a: Array, b: Array) -> Array:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4)."""
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    areas = ((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (a, b))
    return np.asarray(shared / (next(areas)[:, None] + next(areas) - shared))
