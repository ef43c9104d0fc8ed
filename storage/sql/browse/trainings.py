"""Trainings for their pages: the list, and the course of one."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, select

from models.types import Step
from storage.sql.database import reading
from storage.sql.tables import training_runs, training_steps

MOST_TRAININGS = 500


class StoredTraining(NamedTuple):
    """A training in a list. The figures are None until it is completed."""

    training_run_id: int
    name: str
    preset: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    pictures_train: int
    pictures_test: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    roc_auc: float | None
    false_negatives: int | None
    false_positives: int | None

    @property
    def failures(self) -> int | None:
        """Number of wrongly labelled test pictures."""
        if self.false_negatives is None or self.false_positives is None:
            return None
        return self.false_negatives + self.false_positives


class TrainingKey(NamedTuple):
    """Values of a training that address its pictures. threshold: None until it is completed"""

    run_key: str
    status: str
    threshold: float | None


def list_trainings(engine: Engine) -> list[StoredTraining]:
    """List the newest trainings, at most MOST_TRAININGS."""
    columns = (training_runs.c[name] for name in StoredTraining._fields)
    found = select(*columns).order_by(training_runs.c.training_run_id.desc()).limit(MOST_TRAININGS)
    with reading(engine) as connection:
        return [StoredTraining(*row) for row in connection.execute(found)]


def find_training_key(engine: Engine, training_run_id: int) -> TrainingKey | None:
    """Find a training."""
    columns = (training_runs.c[name] for name in TrainingKey._fields)
    mine = training_runs.c.training_run_id == training_run_id
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(mine)).first()
    return None if row is None else TrainingKey(*row)


def read_steps(engine: Engine, training_run_id: int) -> list[Step]:
    """Read the steps of a training, in order."""
    columns = (training_steps.c[name] for name in Step._fields)
    mine = training_steps.c.training_run_id == training_run_id
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(mine).order_by(training_steps.c.step))
        return [Step(*row) for row in rows]
