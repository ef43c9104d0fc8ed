"""Pictures of a training and of its failures, checked by their colours and shapes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.car_classifier.metrics import Confusion
from models.car_classifier.pictures import MOST_FAILURES, draw_confusion, draw_training, failure_sheet
from models.datasets.picture import Picture
from models.drawing import figures
from models.drawing.figures import bgr
from models.types import Epoch, Step

BLUE, ORANGE = bgr(figures.BLUE), bgr(figures.ORANGE)


def training(epochs: int) -> tuple[list[Step], list[Epoch]]:
    """Return epochs of 4 steps: the loss falls, the validation loss is lowest in the middle."""
    steps = [Step(1 + step // 4, 1 + step, 2.0 / (1 + step), 0.5) for step in range(4 * epochs)]
    lowest = epochs // 2
    return steps, [
        Epoch(number, 4 * number, 1.0 / number, 0.9, 0.5 + 0.01 * abs(number - lowest), 0.8, 1.0)
        for number in range(1, epochs + 1)
    ]


def places(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """(n, 2) x, y of a colour, below the legend."""
    rows, columns = np.nonzero((picture[180:] == color).all(axis=2))
    return np.stack([columns, rows + 180], axis=1)


@pytest.mark.parametrize("epochs", [1, 5, 12, 100])
def test_curves_stay_in_their_panels_and_follow_the_loss(epochs: int) -> None:
    picture = draw_training("a car?", *training(epochs))
    assert (picture.shape, picture.dtype) == ((940, 1920, 3), np.uint8)
    for color in (BLUE, ORANGE):
        found = places(picture, color)
        left = found[found[:, 0] < 1000]
        assert len(left) > 100
        assert len(found) > len(left)
        assert left[:, 0].min() > 140
        assert left[:, 0].max() < 950
    if epochs > 1:
        loss = places(picture, BLUE)
        loss = loss[loss[:, 0] < 1000]
        assert loss[loss[:, 0].argmax(), 1] > loss[loss[:, 0].argmin(), 1]


def test_charts_without_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_training("nothing", [], [])


def test_the_largest_cell_of_a_confusion_matrix_is_darkest() -> None:
    picture = draw_confusion("test", Confusion(98, 2, 50, 50))
    found, missed, wrong, right = (picture[y, x].astype(int).sum() for y in (230, 495) for x in (310, 630))
    assert found < right < missed
    assert found < wrong < missed


def pictures(folder: Path, count: int) -> list[Picture]:
    """Pictures of one colour each, every second one a car."""
    made = []
    for number in range(count):
        path = folder / f"picture-{number:03d}-{'x' * (number % 3) * 40}.png"
        cv2.imwrite(str(path), np.full((30 + number % 3 * 30, 60, 3), (number, 255 - number, 7), np.uint8))
        made.append(Picture(path, number % 2 == 0, "set", "test", None, f"{number}"))
    return made


def test_failures_are_sorted_by_confidence(tmp_path: Path) -> None:
    made = pictures(tmp_path, 6)
    scores = np.array([0.4, 0.9, 0.8, 0.2, 0.01, 0.49])  # 0 and 4 are missed, 1 is taken for a car
    sheet = failure_sheet(made, scores)
    assert sheet is not None
    tops = [np.nonzero((sheet == (n, 255 - n, 7)).all(axis=2))[1] for n in range(6)]
    assert [len(top) > 1000 for top in tops] == [True, True, False, False, True, False]
    assert tops[4].min() < tops[1].min() < tops[0].min()  # sorted by distance from the threshold: 0.49, 0.4, 0.1


def test_a_failure_sheet_is_omitted_or_bounded(tmp_path: Path) -> None:
    made = pictures(tmp_path, MOST_FAILURES + 5)
    truth = np.array([float(picture.car) for picture in made])
    assert failure_sheet(made, truth) is None
    sheet = failure_sheet(made, 1 - truth)
    assert sheet is not None
    assert sheet.shape[0] == 12 * 300 + 9
