"""Figures of a training's page, compared with those that the training itself measures."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.car_classifier.metrics import confusion, measure
from models.types import Epoch, Step
from storage.sql.trainings import PredictionRow
from tasks.browse.trainings import (
    THRESHOLDS,
    Run,
    charts,
    confusion_rows,
    listed,
    measures_at,
    shown_failures,
    stored_json,
)
from tasks.training.failures import MOST_KEPT


def prediction(number: int, label: str, score: float | None) -> PredictionRow:
    return PredictionRow(f"{number:064x}", "", f"{number}.jpg", "mine", label, "test", score)


def run(number: int = 1, tested: list[PredictionRow] | None = None, **columns: Any) -> Run:
    row = {"training_run_id": number, "status": "completed", "threshold": 0.5, "best_epoch": 2, "epochs": []}
    row |= {"accuracy": 0.9, "precision": None, "recall": 1.0}
    return Run({**row, **columns}, [], tested or [])


@settings(max_examples=15)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=2, max_size=60))
def test_measures_by_threshold_are_those_of_the_training(scores: list[tuple[bool, float]]) -> None:
    cars = np.array([car for car, _ in scores])
    assume(cars.any() and not cars.all())
    values = np.array([score for _, score in scores])
    found = measures_at(scores)
    for at in (0, 1, 37, 50, 100):
        wanted = measure(cars, values, float(THRESHOLDS[at]))
        assert found["accuracy"][at] == pytest.approx(wanted.accuracy)
        assert found["recall"][at] == pytest.approx(wanted.recall)
        if wanted.precision is None:
            assert np.isnan(found["precision"][at])
        else:
            assert found["precision"][at] == pytest.approx(wanted.precision)


def test_rows_of_a_confusion_are_the_truth() -> None:
    found = confusion(np.array([True] * 10 + [False] * 4), np.array([0.9] * 9 + [0.1] + [0.1] * 3 + [0.9]))
    cars, others = confusion_rows(vars(found))
    assert [cell.pictures for cell in cars.cells] == [9, 1]
    assert [cell.pictures for cell in others.cells] == [1, 3]
    assert [cell.is_right for cell in (*cars.cells, *others.cells)] == [True, False, False, True]
    assert [cell.tenths for cell in others.cells] == [2, 8]


def test_failures_say_how_another_run_labels_them() -> None:
    one = run(tested=[prediction(1, "car", 0.1), prediction(2, "car", 0.2), prediction(3, "not_car", 0.9)])
    other = run(2, tested=[prediction(1, "car", 0.8), prediction(3, "not_car", 0.95)])
    assert [(each.number, each.truth, each.beside) for each in shown_failures(one, other)] == [
        (1, "a car", "right in run 2 (0.800)"),
        (2, "not a car", "wrong in run 2 (0.950)"),
        (3, "a car", "not a test picture of run 2"),
    ]
    assert shown_failures(run(status="failed", threshold=None, tested=one.tested), None) == []


def test_pictures_are_shown_of_as_many_failures_as_are_kept() -> None:
    many = run(tested=[prediction(number, "car", 0.1) for number in range(MOST_KEPT + 5)])
    assert len(many.failures) == MOST_KEPT + 5
    assert len(shown_failures(many, None)) == MOST_KEPT


def test_curves_of_two_runs_share_their_axes() -> None:
    epochs = [Epoch(number, 10 * number, 1 / number, 0.8, 1.5 / number, 0.7, 0.1) for number in range(1, 5)]
    one = run(epochs=epochs, tested=[prediction(1, "car", 0.9), prediction(2, "not_car", 0.2)])
    other = run(2, epochs=epochs[:1], best_epoch=None, threshold=None, status="running")
    loss, accuracy, measures = charts([one, other])
    assert [line.name for line in loss.lines] == [
        "run 1, training", "run 1, validation", "run 2, training", "run 2, validation",
    ]  # fmt: skip
    assert [line.ring is not None for line in accuracy.lines] == [False, True, False, False]
    assert measures.text.description.endswith(
        "accuracy 90.0%, no precision, as nothing is labelled a car, recall 100.0%."
    )


def test_a_run_without_an_epoch_has_no_charts() -> None:
    assert charts([run(status="running", threshold=None)]) == []


def test_many_steps_are_drawn_by_few_points() -> None:
    many = Run(run(threshold=None).row, [Step(1, step, 1 / step, 0.5) for step in range(1, 20_001)], [])
    [steps] = charts([many])
    assert len(steps.lines[0].points.split()) <= 602
    assert "20,000 steps" in steps.text.description


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "1"])
def test_json_that_is_not_an_object_is_none(text: str) -> None:
    assert stored_json(text) == {}


def test_values_are_listed_as_texts() -> None:
    found = listed({"own_splits": True, "shares": [0.5, 0.3], "none": None, "params": {"a_b": 1e-05}})
    assert found == [("own splits", "yes"), ("shares", "0.5, 0.3"), ("params", "a_b 1e-05")]
