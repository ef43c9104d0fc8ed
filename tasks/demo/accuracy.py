"""Accuracy of an archive's rows, by the ground truth files next to its videos."""

import itertools
import json
from pathlib import Path

import numpy as np

from models.demo_model.accuracy import Accuracy, coco_ap, pck
from models.synthetic.frame import People
from models.synthetic.truth import people_of
from models.types import FramePoses, NightjarError, Poses
from storage.objects.archive import canonical
from storage.sql import catalogue
from storage.sql.result_rows import read_poses
from tasks.demo.archive import TRUTH_SUFFIX
from tasks.site.site import Site


def measure_archive(site: Site, folder: Path, model: str) -> Accuracy:
    """Measure AP and PCK of the rows of the model's newest version, for a folder with ground truth files.

    The rows are used as stored, without keypoints and people below the model's thresholds.
    Raises NightjarError if there is no ground truth or no model.
    """
    found = catalogue.find_model(site.engine, model)
    truths = sorted(folder.glob(f"*{TRUTH_SUFFIX}"))
    if found is None or not truths:
        raise NightjarError(
            f"{folder} has {len(truths)} ground truth files, or there is no model {model}. Run 'nightjar demo'."
        )
    known = catalogue.known_files(site.engine, canonical(str(folder)))
    truth: list[People] = []
    rows: list[FramePoses] = []
    for path in truths:
        people = people_of(json.loads(path.read_text()))
        video_id = known[path.name.removesuffix(TRUTH_SUFFIX)].video_id
        if video_id is not None:
            truth += people
            rows += by_frame(read_poses(site.engine, video_id, found[0], 0, len(people)), len(people))
    size = (0, 0)  # not used by COCO's keypoint measures
    return Accuracy(*coco_ap(truth, rows, size), *pck(truth, rows), len(truth))


def by_frame(poses: Poses, frames: int) -> list[FramePoses]:
    """Group the people by frame, from frame 0, including frames without any."""
    bounds = np.searchsorted(poses.frame, np.arange(frames + 1))
    return [
        FramePoses(poses.scores[first:last], poses.keypoints[first:last], poses.keypoint_scores[first:last])
        for first, last in itertools.pairwise(bounds)
    ]
