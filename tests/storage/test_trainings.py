"""Fine-tunings in SQL: one row however often it is started, epochs written once, failures as they are."""

import dataclasses
from typing import Any

import pytest
from sqlalchemy import Engine

from storage.catalogue import register_model
from storage.database import DatabaseError
from storage.query import query
from storage.trainings import (
    EpochRow,
    FailureRow,
    StepRow,
    TrainingPlan,
    fail_training,
    finish_training,
    read_epochs,
    read_failures,
    read_trainings,
    record_epoch,
    start_training,
)
from tests.storage.samples import make_model

PLAN = TrainingPlan("k" * 32, "car-classifier", "experiment-1", "{}", "{}", 50, 30, 20)
MEASURED: dict[str, Any] = {
    "base_sha256": "b" * 64,
    "best_epoch": 2,
    "accuracy": 0.95,
    "precision": None,
    "recall": 0.9,
    "roc_auc": 0.99,
    "roc_auc_low": 0.97,
    "roc_auc_high": 1.0,
    "true_positives": 9,
    "false_negatives": 1,
    "true_negatives": 10,
    "false_positives": 0,
}
FAILURES = [
    FailureRow("1" * 64, "a.jpg", "mine", "car", 0.4),
    FailureRow("2" * 64, "b.jpg", "mine", "not_car", 0.9),
]


def status(engine: Engine) -> list[Any]:
    return list(query(engine, "SELECT status, error, finished_at IS NULL FROM training_runs")[1])


def epoch(number: int) -> EpochRow:
    return EpochRow(number, 10 * number, 1 / number, 0.9, 1.5 / number, 0.8, 0.25)


def steps(number: int) -> list[StepRow]:
    return [StepRow(10 * (number - 1) + step, number, 0.5, 1.0) for step in range(1, 11)]


def test_a_run_that_was_killed_or_failed_goes_on_in_its_row(engine: Engine) -> None:
    run, done = start_training(engine, PLAN, "flow-1")
    assert start_training(engine, PLAN, "flow-2") == (run, done) == (run, False)
    fail_training(engine, run, "the loss is nan")
    assert [tuple(row) for row in status(engine)] == [("failed", "the loss is nan", 0)]
    assert start_training(engine, PLAN, None) == (run, False)
    assert [tuple(row) for row in status(engine)] == [("running", None, 1)]
    other, _ = start_training(engine, dataclasses.replace(PLAN, run_key="o" * 32), None)
    assert other != run


def test_an_epoch_that_is_written_twice_is_there_once(engine: Engine) -> None:
    run, _ = start_training(engine, PLAN, None)
    for number in (1, 2, 2, 1):
        record_epoch(engine, run, epoch(number), steps(number))
    assert read_epochs(engine, run) == [epoch(1), epoch(2)]
    assert list(query(engine, "SELECT count(*), min(step), max(step) FROM training_steps")[1]) == [(20, 1, 20)]


def test_a_completed_run_stays_as_it_is(engine: Engine) -> None:
    run, _ = start_training(engine, PLAN, None)
    version = register_model(engine, make_model("c" * 64, "car-classifier", "classification"))
    finish_training(engine, run, {**MEASURED, "model_version_id": version}, FAILURES)
    fail_training(engine, run, "too late")
    assert start_training(engine, PLAN, None) == (run, True)
    [found] = read_trainings(engine, [run])
    assert {name: found[name] for name in MEASURED} == MEASURED
    assert (found["status"], found["error"], found["version_sha256"]) == ("completed", None, "c" * 64)
    assert [(row.picture, pytest.approx(row.score)) for row in read_failures(engine, run)] == [
        ("b.jpg", 0.9),
        ("a.jpg", 0.4),
    ]


def test_runs_come_in_the_order_asked_for(engine: Engine) -> None:
    first, _ = start_training(engine, PLAN, None)
    second, _ = start_training(engine, dataclasses.replace(PLAN, run_key="o" * 32), None)
    record_epoch(engine, first, epoch(1), [])
    found = read_trainings(engine, [second, first])
    assert [run["training_run_id"] for run in found] == [second, first]
    assert [run["epochs"] for run in found] == [[], [epoch(1)]]
    with pytest.raises(DatabaseError, match="no training run 99"):
        read_trainings(engine, [first, 99])
