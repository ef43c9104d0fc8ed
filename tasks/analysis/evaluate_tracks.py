"""Tracks of a sequence or an archive against their truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluation import mot, track_truth
from models.evaluation.tracks import ComparedFrame, TrackFigures, gathered, track_figures
from models.tracking.boxes import BOX_PARAMS, fill_gaps, track_boxes
from models.tracking.params import TrackParams
from models.tracking.tracker import track_poses
from models.types import NightjarError, Poses
from storage.objects.archive import canonical
from storage.sql import catalogue
from storage.sql.result_rows import read_poses
from tasks.model.names import require_model
from tasks.site.site import Site

TRUTH_SUFFIX = ".truth.json"


@dataclass(frozen=True)
class ArchiveRequest:
    """Choice of the people whose tracks are compared with an archive's truth.

    model: name or hash; empty = the model whose people the views show
    true_keypoints: track the people of the truth itself instead of a model's
    """

    model: str = ""
    true_keypoints: bool = False


def evaluate_sequence(folder: Path, fps: float | None = None, params: TrackParams | None = None) -> TrackFigures:
    """Track the boxes of MOTChallenge's det.txt and compare them with gt.txt. fps: where the files do not say it"""
    sequence = mot.read_sequence(folder)
    seen = sequence.detections
    t_s = seen.frame / (sequence.fps or fps or mot.DEFAULT_FPS)
    scores = mot.known_scores(seen.scores)
    tracks = track_boxes(seen.frame, t_s, scores, seen.boxes, params or BOX_PARAMS, sequence.size)
    frame, number, boxes = fill_gaps(seen.frame, tracks, seen.boxes)
    found = mot.Boxes(frame, number.astype(np.int64), boxes, np.ones(len(frame)))
    return track_figures(mot.compare(sequence.truth, found))


def evaluate_archive(site: Site, folder: Path, request: ArchiveRequest) -> TrackFigures:
    """Compare the tracks of an archive's people with the truth files next to its videos.

    Raises NightjarError without truth files, or for a video that the model has not processed.
    """
    truths = {path.name.removesuffix(TRUTH_SUFFIX): path for path in sorted(folder.glob(f"*{TRUTH_SUFFIX}"))}
    if not truths:
        raise NightjarError(
            f"{folder} has neither {mot.DETECTIONS} with {mot.TRUTH} nor a file *{TRUTH_SUFFIX}. Give a folder with "
            "a sequence of MOTChallenge, or an archive with its truth."
        )
    read = {name: track_truth.read_truth(path) for name, path in truths.items()}
    if request.true_keypoints:
        rows = {name: track_truth.poses_of(truth.frames) for name, truth in read.items()}
    else:
        rows = _stored_rows(site, folder, request.model, {name: len(truth.frames) for name, truth in read.items()})
    return track_figures(gathered([_compared(truth, rows[name]) for name, truth in read.items()]))


def _stored_rows(site: Site, folder: Path, model: str, frames: dict[str, int]) -> dict[str, Poses]:
    """Read the rows of each video. frames: number of them, by name"""
    model_version_id, name, rate = _model(site, model)
    if rate is not None:
        raise NightjarError(f"{name} processes {rate:g} frames per second only. Choose a version of every frame.")
    known = catalogue.known_files(site.engine, canonical(str(folder)))
    rows = {}
    for video, count in frames.items():
        video_id = known[video].video_id if video in known else None
        if video_id is None:
            raise NightjarError(f"{folder / video} was not processed. Run 'nightjar run {folder} --model {name}'.")
        rows[video] = read_poses(site.engine, video_id, model_version_id, 0, count)
    if not any(map(len, rows.values())):
        raise NightjarError(f"{name} has no rows of {folder}. Run 'nightjar run {folder} --model {name}'.")
    return rows


def _model(site: Site, name: str) -> tuple[int, str, float | None]:
    """Return id, name and frames per second of a model, or of the one that the views show."""
    shown = None if name else catalogue.read_shown(site.engine, "pose")
    if not name and shown is None:
        raise NightjarError("No batch has completed yet. Run 'nightjar run' first, or give --true-keypoints.")
    model_version_id, version = require_model(site, shown.version_sha256 if shown else name)
    return model_version_id, version.name, version.frames_per_second


def _compared(truth: track_truth.Truth, poses: Poses) -> list[ComparedFrame]:
    tracks = numbers_of(poses, truth.size, truth.frame_s)
    return track_truth.compare(truth.frames, poses, tracks)


def numbers_of(poses: Poses, size: tuple[int, int], frame_s: float | None) -> NDArray[np.int32]:
    """Return the track of each row, with the default parameters."""
    given = track_poses([poses], TrackParams(), size, frame_s)
    return np.concatenate([np.empty(0, np.int32), *(one.track for one in given)])
