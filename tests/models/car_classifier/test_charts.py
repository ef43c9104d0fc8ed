"""Charts of scores and of several trainings are PNG files and show the differences."""

import cv2
import numpy as np
import pytest

from models.car_classifier.charts import RunCurve, draw_compared, draw_scores
from models.car_classifier.metrics import measure
from models.types import Epoch


def pixels(png: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def shows(png: bytes, color: tuple[int, int, int]) -> int:
    return int((pixels(png) == color).all(axis=2).sum())


BLUE, ORANGE, AMBER = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xD2, 0x74, 0x3B)


@pytest.mark.parametrize(("threshold", "marks_one_half"), [(0.5, False), (0.2, True), (0.99, True)])
def test_curves_mark_the_threshold_in_use_and_one_half(threshold: float, marks_one_half: bool) -> None:
    cars = np.arange(60) < 20
    scores = np.random.default_rng(0).normal(np.where(cars, 0.45, 0.2), 0.15).clip(0, 0.9)
    png = draw_scores("test pictures", cars, scores, measure(cars, scores, threshold))
    assert shows(png, BLUE) > 1000
    assert (shows(png, AMBER) > 100) == marks_one_half


def training(epochs: int, start: float) -> list[Epoch]:
    return [
        Epoch(n, 4 * n, start / n, 1 - start / n, 1.1 * start / n, 1 - start / n, 1.0) for n in range(1, epochs + 1)
    ]


def test_charts_of_trainings_share_axes() -> None:
    short, long = RunCurve("run 1", training(3, 0.4), 3), RunCurve("run 2", training(30, 0.8), None)
    both = draw_compared([short, long, RunCurve("run 3", [], None)])
    assert min(shows(both, BLUE), shows(both, ORANGE)) > 300
    columns = [np.nonzero((pixels(both)[60:520, :690] == color).all(axis=2))[1] for color in (BLUE, ORANGE)]
    assert np.ptp(columns[0]) < np.ptp(columns[1]) / 5, "3 epochs take a tenth of the width of 30"


def test_charts_without_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_compared([RunCurve("run 1", [], None)])
