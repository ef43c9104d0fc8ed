"""Truth files of rendered scenes: read, compared, refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.evaluation.track_truth import Truth, TruthError, compare, poses_of, read_truth
from models.evaluation.tracks import track_figures
from models.synthetic.frame import People
from models.synthetic.truth import coco_truth
from models.synthetic.video import Actor, Scene


def people_of(scene: Scene, frames: int) -> list[People]:
    return [scene.frame(number / 5)[1] for number in range(frames)]


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """The truth of four frames of 160 x 120 pixels, at five frames per second, of two people."""
    scene = Scene(8, (Actor(x_m=-1), Actor("walk", x_m=1, z_m=4.4, speed_m_s=0.4)), (160, 120))
    about = [{"frame": number, "t_s": number / 5} for number in range(4)]
    return coco_truth(people_of(scene, 4), (120, 160), extra=about)


def read(tmp_path: Path, content: Any) -> Truth:
    path = tmp_path / "a.mp4.truth.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_truth(path)


def test_the_truth_compared_with_itself_is_perfect(tmp_path: Path, content: dict[str, Any]) -> None:
    truth = read(tmp_path, content)
    assert (truth.size, truth.frame_s) == ((160, 120), pytest.approx(0.2))
    poses = poses_of(truth.frames)
    numbers = np.concatenate([frame.numbers for frame in truth.frames]).astype(np.int32)
    assert {*numbers.tolist()} == {1, 2}
    figures = track_figures(compare(truth.frames, poses, numbers))
    assert (figures.idf1, figures.mota, figures.hota) == (1, 1, pytest.approx(1))


def test_rows_without_a_track_do_not_count(tmp_path: Path, content: dict[str, Any]) -> None:
    truth = read(tmp_path, content)
    poses = poses_of(truth.frames)
    figures = track_figures(compare(truth.frames, poses, np.zeros(len(poses), np.int32)))
    assert (figures.idf1, figures.tracks, figures.people) == (0, 0, 2)


def test_files_that_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    without = {
        **content,
        "annotations": [{k: v for k, v in a.items() if k != "track_id"} for a in content["annotations"]],
    }
    twice = {**content, "annotations": [*content["annotations"], content["annotations"][0]]}
    for wrong in ("{", "[]", "{}", {**content, "images": []}, without, twice, "[" * 100_000):
        with pytest.raises(TruthError, match="truth in COCO's format"):
            read(tmp_path, wrong)
