"""Fine-tunings in SQL: one row for any number of starts, epochs written once, and failures."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, update

from models.types import Epoch, Step
from storage.sql.catalogue import find_model, register_model
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, writing
from storage.sql.query import query
from storage.sql.tables import training_runs
from storage.sql.trainings import (
    PredictionRow,
    TrainingBusyError,
    TrainingPlan,
    abandoned_trainings,
    fail_training,
    finish_training,
    read_epochs,
    read_pictures,
    read_trainings,
    record_epoch,
    record_pictures,
    renew_training,
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
    "threshold": 0.4,
    "accuracy_low": 0.8,
    "accuracy_high": 0.99,
    "average_precision": 0.98,
    "ir_accuracy": 0.95,
    "ir_labels_changed": 0,
    "ir_largest_difference": 0.001,
    "true_positives": 9,
    "false_negatives": 1,
    "true_negatives": 10,
    "false_positives": 0,
}
PICTURES = [
    PredictionRow("1" * 64, "", "a.jpg", "mine", "car", "test", 0.3),
    PredictionRow("2" * 64, "", "b.jpg", "mine", "not_car", "test", 0.9),
    PredictionRow("3" * 64, "", "c.jpg", "mine", "car", "test", 0.45),
    PredictionRow("3" * 64, "1,2,30,40", "c.jpg", "mine", "car", "train"),
    PredictionRow("4" * 64, "", "d\udce4.jpg", "mine", "not_car", "validation", 0.9),
]


def status(engine: Engine) -> list[Any]:
    return list(query(engine, "SELECT status, error, finished_at IS NULL FROM training_runs")[1])


def epoch(number: int) -> Epoch:
    return Epoch(number, 10 * number, 1 / number, 0.9, 1.5 / number, 0.8, 0.25)


def steps(number: int) -> list[Step]:
    return [Step(number, 10 * (number - 1) + step, 0.5, 1.0) for step in range(1, 11)]


def test_a_killed_or_failed_run_resumes_in_its_row(engine: Engine) -> None:
    run, done = start_training(engine, PLAN, "flow-1")
    assert start_training(engine, PLAN, "flow-2") == (run, done) == (run, False)
    fail_training(engine, run, "the loss is nan")
    assert [tuple(row) for row in status(engine)] == [("failed", "the loss is nan", 0)]
    assert start_training(engine, PLAN, None) == (run, False)
    assert [tuple(row) for row in status(engine)] == [("running", None, 1)]
    other, _ = start_training(engine, dataclasses.replace(PLAN, run_key="o" * 32), None)
    assert other != run


def test_an_epoch_written_twice_is_stored_once(engine: Engine) -> None:
    run, _ = start_training(engine, PLAN, None)
    for number in (1, 2, 2, 1):
        record_epoch(engine, run, epoch(number), steps(number))
    assert read_epochs(engine, run) == [epoch(1), epoch(2)]
    assert list(query(engine, "SELECT count(*), min(step), max(step) FROM training_steps")[1]) == [(20, 1, 20)]


def test_a_completed_run_stays_as_it_is(engine: Engine) -> None:
    run, _ = start_training(engine, PLAN, None)
    version = register_model(engine, make_model("c" * 64, "car-classifier", "classification"))
    finish_training(engine, run, {**MEASURED, "model_version_id": version}, PICTURES)
    fail_training(engine, run, "too late")
    assert start_training(engine, PLAN, None) == (run, True)
    [found] = read_trainings(engine, [run])
    assert {name: found[name] for name in MEASURED} == MEASURED
    assert (found["status"], found["error"], found["version_sha256"]) == ("completed", None, "c" * 64)
    assert read_pictures(engine, run) == [*PICTURES[:4], PICTURES[4]._replace(picture="d\\udce4.jpg")]
    assert read_pictures(engine, run, "train") == [PICTURES[3]]
    failures = query(engine, "SELECT picture, label, score FROM training_failures ORDER BY picture")[1]
    assert [tuple(row) for row in failures] == [("a.jpg", "car", 0.3), ("b.jpg", "not_car", 0.9)]


def test_pictures_have_their_split_before_there_are_scores(engine: Engine) -> None:
    run, _ = start_training(engine, PLAN, None)
    for _ in range(2):
        record_pictures(engine, run, [row._replace(score=None) for row in PICTURES])
    rows = query(engine, "SELECT split, count(*), count(score) FROM training_predictions GROUP BY split ORDER BY 1")[1]
    assert [tuple(row) for row in rows] == [("test", 3, 0), ("train", 1, 0), ("validation", 1, 0)]
    assert list(query(engine, "SELECT * FROM training_failures")[1]) == []


def end_lease(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(update(training_runs).values(lease_until=database_now(-1)))


def test_a_second_process_on_one_run_is_refused(engine: Engine) -> None:
    run, _ = start_training(engine, PLAN, None, owner="host-1:1:1")
    with pytest.raises(TrainingBusyError, match=f"Run {run} is being trained by host-1:1:1"):
        start_training(engine, PLAN, None, owner="host-2:1:1")
    assert start_training(engine, PLAN, None, owner="host-1:1:1") == (run, False), "its own"
    gone = start_training(engine, PLAN, None, owner="host-1:2:2", is_dead=lambda owner: owner == "host-1:1:1")
    assert gone == (run, False), "the process has ended"
    end_lease(engine)
    renew_training(engine, run)
    with pytest.raises(TrainingBusyError):
        start_training(engine, PLAN, None, owner="host-2:1:1")
    end_lease(engine)
    assert start_training(engine, PLAN, None, owner="host-2:1:1") == (run, False), "it sent no heartbeat"


def test_concurrent_starts_create_one_run(engine: Engine) -> None:
    def start(number: int) -> int | None:
        try:
            return start_training(engine, PLAN, None, owner=f"host-{number}:1:1")[0]
        except TrainingBusyError:
            return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(start, range(4)))
    assert len([run for run in found if run is not None]) == 1
    assert list(query(engine, "SELECT count(*) FROM training_runs")[1]) == [(1,)]


def test_runs_with_a_dead_or_silent_process_are_abandoned(engine: Engine) -> None:
    plans = {name: dataclasses.replace(PLAN, run_key=name) for name in ("gone", "silent", "alive", "failed", "ended")}
    runs = {name: start_training(engine, plan, None, owner=f"{name}:1:1")[0] for name, plan in plans.items()}
    fail_training(engine, runs["failed"], "nan")
    with writing(engine) as connection:
        silent = training_runs.c.training_run_id == runs["silent"]
        connection.execute(update(training_runs).where(silent).values(lease_until=database_now(-1)))
    finish_training(engine, runs["ended"], MEASURED, [])
    found = abandoned_trainings(engine, lambda owner: owner == "gone:1:1")
    assert found == [(runs["gone"], "gone:1:1"), (runs["silent"], "silent:1:1")]


def test_a_run_number_is_permanent_and_a_name_moves(engine: Engine) -> None:
    first, second = (register_model(engine, make_model(c * 64, "car-classifier", "classification")) for c in "ab")
    runs = []
    for number, (name, version) in enumerate((("car-classifier", first), ("car-classifier", second), ("mine", first))):
        run, _ = start_training(engine, dataclasses.replace(PLAN, run_key=str(number), name=name), None)
        finish_training(engine, run, {**MEASURED, "model_version_id": version}, [])
        runs.append(run)
        time.sleep(0.005)

    def means(name: str) -> int | None:
        found = find_model(engine, name)
        return found and found[0]

    assert [means(f"run-{run}") for run in runs] == [first, second, first]
    assert means(str(runs[1])) == second
    assert means("car-classifier") == second
    assert means("mine") == first, "equal bytes are one version, under any name"
    assert means("run-99") is None
    unfinished, _ = start_training(engine, dataclasses.replace(PLAN, run_key="u", name="new"), None)
    assert means(f"run-{unfinished}") is None
    assert means("new") is None


def test_runs_are_returned_in_the_requested_order(engine: Engine) -> None:
    first, _ = start_training(engine, PLAN, None)
    second, _ = start_training(engine, dataclasses.replace(PLAN, run_key="o" * 32), None)
    record_epoch(engine, first, epoch(1), [])
    found = read_trainings(engine, [second, first])
    assert [run["training_run_id"] for run in found] == [second, first]
    assert [run["epochs"] for run in found] == [[], [epoch(1)]]
    with pytest.raises(DatabaseError, match="no training run 99"):
        read_trainings(engine, [first, 99])
