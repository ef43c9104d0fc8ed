"""Truth of people's keypoints with a number per person: COCO's format with `track_id`. No tracking, no database."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decoders.skeleton import COCO_SIGMAS
from models.evaluation.agreement import AREA_OF_BOX
from models.evaluation.coco import Labelled
from models.evaluation.tracks import ComparedFrame
from models.types import KEYPOINTS, FramePoses, NightjarError, Poses

_TOLERANCE = float(COCO_SIGMAS.max())  # that of a hip
_LEAST_COMMON = 3


class TruthError(NightjarError):
    """A truth file that cannot be used."""


@dataclass(frozen=True, eq=False)
class TrueFrame:
    """People of one frame of a video. t_s: seconds; numbers: (n,) int64; people: those with keypoints"""

    t_s: float
    numbers: NDArray[np.int64]
    people: tuple[Labelled, ...]


@dataclass(frozen=True, eq=False)
class Truth:
    """People of a video, frame by frame. size: width and height, pixels"""

    frames: list[TrueFrame]
    size: tuple[int, int]

    @property
    def frame_s(self) -> float | None:
        """Usual time between two frames."""
        steps = np.diff([frame.t_s for frame in self.frames])
        return float(np.median(steps)) if len(steps) else None


def read_truth(path: Path) -> Truth:
    """Read the people of each frame; image n is frame n. Raises TruthError."""
    try:
        content = json.loads(path.read_text())
        images: list[dict[str, Any]] = content["images"]
        frames: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
        for annotation in content["annotations"]:
            if annotation["num_keypoints"]:
                frames[annotation["image_id"]].append(annotation)
        size = (int(images[0]["width"]), int(images[0]["height"]))
        return Truth([_frame(float(image["t_s"]), frames[image["id"]]) for image in images], size)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TruthError(
            f"{path} is not a truth in COCO's format with a track_id per person ({type(error).__name__}: {error}). "
            "Render the archive again."
        ) from error


def _frame(t_s: float, annotations: list[dict[str, Any]]) -> TrueFrame:
    numbers = np.array([annotation["track_id"] for annotation in annotations], np.int64)
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError(f"A frame at {t_s} s has a person twice.")
    return TrueFrame(t_s, numbers, tuple(_labelled(annotation["keypoints"]) for annotation in annotations))


def _labelled(values: list[float]) -> Labelled:
    """Return a person; the area is that of the labelled keypoints' box, as hidden people have little visible area."""
    keypoints = np.array(values, np.float64).reshape(KEYPOINTS, 3)
    there = keypoints[:, 2] > 0
    places = keypoints[there, :2]
    width, height = np.maximum(places.max(axis=0) - places.min(axis=0), 1.0)
    return Labelled(keypoints[:, :2], there, AREA_OF_BOX * float(width * height), float(max(width, height)))


def poses_of(frames: Sequence[TrueFrame]) -> Poses:
    """Return the truth as rows of a perfect detector, all scores 1."""
    return Poses.gather([(number, frame.t_s, _perfect(frame.people)) for number, frame in enumerate(frames)])


def _perfect(people: Sequence[Labelled]) -> FramePoses:
    there = np.array([person.labelled for person in people], np.bool_).reshape(-1, KEYPOINTS)
    places = np.array([person.keypoints for person in people], np.float32).reshape(-1, KEYPOINTS, 2)
    known = np.where(there, 1, np.nan).astype(np.float32)
    return FramePoses(np.ones(len(people), np.float32), places * known[:, :, None], known)


def compare(truth: Sequence[TrueFrame], poses: Poses, track: NDArray[np.int32]) -> list[ComparedFrame]:
    """Compare the people of tracks with the truth, frame by frame. track: (n,) of the rows, 0 = none

    Similar are people whose common keypoints lie near each other, by OKS with the tolerance of a hip for every
    keypoint: the question is who somebody is, not where exactly a wrist or an eye is.
    """
    rows = np.flatnonzero(track > 0)
    bounds = np.searchsorted(poses.frame[rows], np.arange(len(truth) + 1))
    return [
        _compared(frame, poses, rows[first:last], track)
        for frame, (first, last) in zip(truth, itertools.pairwise(bounds), strict=True)
    ]


def _compared(frame: TrueFrame, poses: Poses, rows: NDArray[np.intp], track: NDArray[np.int32]) -> ComparedFrame:
    found = poses.keypoints[rows].astype(np.float64)
    similarity = np.array([_similarity(found, person) for person in frame.people])
    return ComparedFrame(frame.numbers, track[rows].astype(np.int64), similarity.reshape(len(frame.people), len(rows)))


def _similarity(found: NDArray[np.float64], person: Labelled) -> NDArray[np.float64]:
    """(n,) 0 to 1; 0 with too few common keypoints. found: (n, 17, 2)"""
    common = np.isfinite(found).all(axis=2) & person.labelled
    distance2 = ((np.nan_to_num(found) - person.keypoints) ** 2).sum(axis=2)
    near = np.exp(-distance2 / (2 * person.area * (2 * _TOLERANCE) ** 2)) * common
    count = common.sum(axis=1)
    return np.where(count >= _LEAST_COMMON, near.sum(axis=1) / np.maximum(count, 1), 0.0)
