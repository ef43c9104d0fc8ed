"""Sequences of MOTChallenge: what counts, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from models.evaluation.mot import Boxes, MotError, compare, is_sequence, known_scores, overlap, read_sequence

DETECTIONS = "2,-1,10,20,30,40,0.9,-1,-1,-1\n1,-1,11,20,30,40,0.8,-1,-1,-1\n1,-1,5,5,0,10,0.8,-1,-1,-1\n"


def write(folder: Path, detections: str = DETECTIONS, truth: str = "1,1,11,20,30,40,1,-1,-1,-1\n") -> Path:
    (folder / "det.txt").write_text(detections)
    (folder / "gt.txt").write_text(truth)
    return folder


def test_boxes_are_ordered_by_frame_and_have_an_extent(tmp_path: Path) -> None:
    sequence = read_sequence(write(tmp_path))
    assert sequence.detections.frame.tolist() == [1, 2]
    assert sequence.detections.boxes.tolist() == [[11, 20, 41, 60], [10, 20, 40, 60]]
    assert (sequence.size, sequence.fps) == ((41, 60), None)


def test_the_folders_of_the_benchmark_and_its_information_are_read(tmp_path: Path) -> None:
    for name in ("det", "gt"):
        (tmp_path / name).mkdir()
    write(tmp_path)
    for name in ("det", "gt"):
        (tmp_path / f"{name}.txt").rename(tmp_path / name / f"{name}.txt")
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=X\nframeRate=14\nimWidth=640\nimHeight=480\n")
    assert is_sequence(tmp_path)
    sequence = read_sequence(tmp_path)
    assert (sequence.size, sequence.fps) == ((640, 480), 14)


@pytest.mark.parametrize(
    ("truth", "numbers"),
    [
        ("1,1,1,1,9,9,1,-1,-1,-1\n1,2,1,1,9,9,0,-1,-1,-1\n", [1]),
        ("1,1,1,1,9,9,1,1,0.5\n1,2,1,1,9,9,1,7,1\n", [1]),
        ("1,1,1,1,9,9,1,4.4,5.5,0\n", [1]),
        ("1,1,1,1,9,9\n", [1]),
        ("", []),
    ],
)
def test_people_who_count(tmp_path: Path, truth: str, numbers: list[int]) -> None:
    assert read_sequence(write(tmp_path, truth=truth)).truth.number.tolist() == numbers


@pytest.mark.parametrize(
    ("detections", "truth", "said"),
    [
        ("1,-1,a,2,3,4,1\n", "", "not a table of numbers"),
        ("1,-1,1,2,3,4,1\n1,-1,1\n", "", "not a table of numbers"),
        ("1,-1,1,2,3\n", "", "fewer than 6"),
        ("1,-1,1,2,nan,4,1\n", "", "fewer than 6"),
        ("\x00\xff", "", "not a table of numbers"),
        (DETECTIONS, "1,1,1,1,9,9,1\n1,1,2,2,9,9,1\n", "a person twice"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, detections: str, truth: str, said: str) -> None:
    with pytest.raises(MotError, match=said):
        read_sequence(write(tmp_path, detections, truth))


@pytest.mark.parametrize("info", ["[Sequence]\nframeRate=0\n", "[Sequence]\nframeRate=x\n", "frameRate=1\n"])
def test_information_that_is_refused(tmp_path: Path, info: str) -> None:
    write(tmp_path)
    (tmp_path / "seqinfo.ini").write_text(info)
    with pytest.raises(MotError, match=r"seqinfo\.ini"):
        read_sequence(tmp_path)


def test_scores_of_another_scale_say_nothing() -> None:
    assert known_scores(np.array([0.2, 1.0])).tolist() == [0.2, 1.0]
    assert known_scores(np.array([0.2, 64.1])).tolist() == [1.0, 1.0]
    assert known_scores(np.array([-0.4, 0.1])).tolist() == [1.0, 1.0]


def test_frames_are_compared_by_overlap() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    assert overlap(boxes[:1], boxes).tolist() == [[1.0, 0.5, 0.0]]
    truth = Boxes(np.array([1, 3]), np.array([7, 7]), boxes[:2], np.ones(2))
    found = Boxes(np.array([1, 2, 3]), np.array([1, 1, 2]), boxes[[0, 1, 2]], np.ones(3))
    frames = compare(truth, found)
    assert [(one.truth.tolist(), one.found.tolist()) for one in frames] == [([7], [1]), ([], [1]), ([7], [2])]
    assert [one.similarity.tolist() for one in frames] == [[[1.0]], [], [[0.0]]]
