"""Fine-tunings in SQL: what was trained on what, its steps and epochs, what came of it. No pictures, no weights.

A run is known by what decides it (`run_key`): started again after a kill, it is the same row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, delete, insert, select, update

from storage.database import DatabaseError, reading, storable, writing
from storage.tables import (
    database_now,
    model_versions,
    training_epochs,
    training_failures,
    training_runs,
    training_steps,
)


class StepRow(NamedTuple):
    """One batch of training. step: from 1, through all epochs"""

    step: int
    epoch: int
    loss: float
    accuracy: float


class EpochRow(NamedTuple):
    """One epoch, from 1. step: its last one; seconds: training and validation"""

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


class FailureRow(NamedTuple):
    """A picture of the test set that was taken for what it is not. label: what it is; score: probability of a car"""

    sha256: str
    picture: str
    source: str
    label: str
    score: float


@dataclass(frozen=True)
class TrainingPlan:
    """What a run is, before it begins. params, data: hyper-parameters, and where the pictures are from, as JSON."""

    run_key: str
    name: str
    preset: str
    params: str
    data: str
    pictures_train: int
    pictures_validation: int
    pictures_test: int


def start_training(engine: Engine, plan: TrainingPlan, flow_run_id: str | None) -> tuple[int, bool]:
    """The run's id, and whether it is done already. One that was killed or failed goes on under its own id."""
    values: dict[str, Any] = {**vars(plan), "flow_run_id": flow_run_id}
    running = {"status": "running", "finished_at": None, "error": None}
    mine = training_runs.c.run_key == plan.run_key
    with writing(engine) as connection:
        known = connection.execute(select(training_runs.c.training_run_id, training_runs.c.status).where(mine)).first()
        if known is None:
            row = insert(training_runs).values(**values, **running, started_at=database_now())
            return int(connection.execute(row.returning(training_runs.c.training_run_id)).scalar_one()), False
        if known.status != "completed":
            connection.execute(update(training_runs).where(mine).values(**values, **running))
        return int(known.training_run_id), known.status == "completed"


def record_epoch(engine: Engine, training_run_id: int, epoch: EpochRow, steps: Sequence[StepRow]) -> None:
    """One epoch and its steps; again, after a kill: the same rows."""
    with writing(engine) as connection:
        for table in (training_epochs, training_steps):
            mine = (table.c.training_run_id == training_run_id) & (table.c.epoch == epoch.epoch)
            connection.execute(delete(table).where(mine))
        of = {"training_run_id": training_run_id}
        connection.execute(insert(training_epochs), {**of, **epoch._asdict()})
        if steps:
            connection.execute(insert(training_steps), [{**of, **step._asdict()} for step in steps])


def finish_training(
    engine: Engine,
    training_run_id: int,
    found: dict[str, Any],
    failures: Sequence[FailureRow],
) -> None:
    """found: values of columns of training_runs: base_sha256, best_epoch, what was measured, model_version_id."""
    of = {"training_run_id": training_run_id}
    with writing(engine) as connection:
        connection.execute(delete(training_failures).where(training_failures.c.training_run_id == training_run_id))
        rows = [{**of, **row._asdict(), "picture": storable(row.picture)} for row in failures]
        if rows:
            connection.execute(insert(training_failures), rows)
        values = {**found, "status": "completed", "finished_at": database_now()}
        mine = training_runs.c.training_run_id == training_run_id
        connection.execute(update(training_runs).where(mine).values(values))


def fail_training(engine: Engine, training_run_id: int, error: str) -> None:
    values = {"status": "failed", "finished_at": database_now(), "error": storable(error)}
    mine = (training_runs.c.training_run_id == training_run_id) & (training_runs.c.status == "running")
    with writing(engine) as connection:
        connection.execute(update(training_runs).where(mine).values(values))


def read_trainings(engine: Engine, training_run_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Each run's row, column -> value, with its model's version_sha256, epochs done and lowest validation loss.

    In the order asked for; raises DatabaseError where one of them is not there.
    """
    rows = (
        select(training_runs, model_versions.c.version_sha256)
        .outerjoin(model_versions, model_versions.c.model_version_id == training_runs.c.model_version_id)
        .where(training_runs.c.training_run_id.in_(training_run_ids))
    )
    with reading(engine) as connection:
        found = {row.training_run_id: dict(row._mapping) for row in connection.execute(rows)}
    missing = [number for number in training_run_ids if number not in found]
    if missing:
        raise DatabaseError(f"no training run {missing[0]}", "one that is there", "'nightjar compare' lists them")
    return [{**found[number], "epochs": read_epochs(engine, number)} for number in training_run_ids]


def read_epochs(engine: Engine, training_run_id: int) -> list[EpochRow]:
    """In their order."""
    columns = (training_epochs.c[name] for name in EpochRow._fields)
    mine = training_epochs.c.training_run_id == training_run_id
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(mine).order_by(training_epochs.c.epoch))
        return [EpochRow(*row) for row in rows]


def read_failures(engine: Engine, training_run_id: int) -> list[FailureRow]:
    """The surest mistakes first."""
    columns = (training_failures.c[name] for name in FailureRow._fields)
    mine = training_failures.c.training_run_id == training_run_id
    with reading(engine) as connection:
        rows = [FailureRow(*row) for row in connection.execute(select(*columns).where(mine))]
    return sorted(rows, key=lambda row: (-abs(row.score - 0.5), row.picture))
