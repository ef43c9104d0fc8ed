"""Fine-tunings in SQL: their data, steps, epochs and results. No pictures, no weights.

A run is identified by the hash of its inputs (`run_key`): started again after a kill, it is the same row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.types import Epoch, NightjarError, Step
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, reading, storable, writing
from storage.sql.tables import model_versions, training_epochs, training_predictions, training_runs, training_steps

LEASE_S = 300.0
"""A training process renews its lease ten times in this time; after it, another host's process is taken as dead."""

NO_OWNER = {"owner": None, "lease_until": None}


class PredictionRow(NamedTuple):
    """A picture of a training. box: "left,top,right,bottom" where it is a part of its file, else empty

    label: the truth, car or not_car; score: probability of a car; None = not scored (yet), as in training
    """

    sha256: str
    box: str
    picture: str
    source: str
    label: str
    split: str
    score: float | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """A run before its start. params, data: hyper-parameters, and the sources of the pictures, as JSON."""

    run_key: str
    name: str
    preset: str
    params: str
    data: str
    pictures_train: int
    pictures_validation: int
    pictures_test: int


class TrainingBusyError(NightjarError):
    """Another process holds this training."""


def start_training(
    engine: Engine,
    plan: TrainingPlan,
    flow_run_id: str | None,
    *,
    owner: str | None = None,
    is_dead: Callable[[str], bool] = lambda owner: False,
) -> tuple[int, bool]:
    """Return the run's id, and whether it is completed already. A killed or failed run resumes under its own id.

    owner: of the training process, which holds the run until its lease ends; see `renew_training`
    is_dead: returns whether an owner's process is known to be dead
    Raises TrainingBusyError where another process holds the run.
    """
    values: dict[str, Any] = {**vars(plan), "flow_run_id": flow_run_id, "owner": owner}
    values |= {"status": "running", "finished_at": None, "error": None}
    values["lease_until"] = database_now(LEASE_S) if owner else None
    mine = training_runs.c.run_key == plan.run_key
    held = func.coalesce(training_runs.c.lease_until >= database_now(), False)
    columns = (training_runs.c.training_run_id, training_runs.c.status, training_runs.c.owner, held.label("held"))
    with writing(engine) as connection:
        begun = _insert_unless_there(connection, {**values, "started_at": database_now()})
        if begun is not None:
            return begun, False
        known = connection.execute(select(*columns).where(mine).with_for_update()).one()
        if known.status == "running" and known.held and known.owner != owner and not is_dead(known.owner):
            raise TrainingBusyError(
                f"Run {known.training_run_id} is being trained by {known.owner}. Wait for it, or end that process."
            )
        if known.status != "completed":
            connection.execute(update(training_runs).where(mine).values(values))
        return int(known.training_run_id), known.status == "completed"


def _insert_unless_there(connection: Connection, values: dict[str, Any]) -> int | None:
    """Return the new run's id; None where its run_key is known, also when another process was faster."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = make(training_runs).values(values).on_conflict_do_nothing(index_elements=["run_key"])
    return connection.execute(row.returning(training_runs.c.training_run_id)).scalar_one_or_none()


def renew_training(engine: Engine, training_run_id: int) -> None:
    """Extend the lease of a running training, by its live owner."""
    mine = (training_runs.c.training_run_id == training_run_id) & (training_runs.c.status == "running")
    with writing(engine) as connection:
        connection.execute(update(training_runs).where(mine).values(lease_until=database_now(LEASE_S)))


def record_pictures(engine: Engine, training_run_id: int, rows: Sequence[PredictionRow]) -> None:
    """Replace the pictures of a run: first each with its split, at the end with the scores."""
    of = {"training_run_id": training_run_id}
    with writing(engine) as connection:
        _replace_pictures(connection, of, rows)


def _replace_pictures(connection: Connection, of: dict[str, int], rows: Sequence[PredictionRow]) -> None:
    mine = training_predictions.c.training_run_id == of["training_run_id"]
    connection.execute(delete(training_predictions).where(mine))
    if rows:
        values = [
            {**of, **row._asdict(), "picture": storable(row.picture), "source": storable(row.source)} for row in rows
        ]
        connection.execute(insert(training_predictions), values)


def record_epoch(engine: Engine, training_run_id: int, epoch: Epoch, steps: Sequence[Step]) -> None:
    """Record one epoch and its steps. A repetition after a kill gives the same rows."""
    with writing(engine) as connection:
        for table in (training_epochs, training_steps):
            mine = (table.c.training_run_id == training_run_id) & (table.c.epoch == epoch.epoch)
            connection.execute(delete(table).where(mine))
        of = {"training_run_id": training_run_id}
        connection.execute(insert(training_epochs), {**of, **epoch._asdict()})
        if steps:
            connection.execute(insert(training_steps), [{**of, **step._asdict()} for step in steps])


def finish_training(
    engine: Engine, training_run_id: int, found: dict[str, Any], pictures: Sequence[PredictionRow]
) -> None:
    """Complete a run in one transaction.

    found: values of columns of training_runs: base_sha256, best_epoch, what was measured, model_version_id
    pictures: all of them, with the scores of those that were scored
    """
    with writing(engine) as connection:
        _replace_pictures(connection, {"training_run_id": training_run_id}, pictures)
        values = {**found, "status": "completed", "finished_at": database_now(), **NO_OWNER}
        mine = training_runs.c.training_run_id == training_run_id
        connection.execute(update(training_runs).where(mine).values(values))


def fail_training(engine: Engine, training_run_id: int, error: str) -> None:
    values = {"status": "failed", "finished_at": database_now(), "error": storable(error), **NO_OWNER}
    mine = (training_runs.c.training_run_id == training_run_id) & (training_runs.c.status == "running")
    with writing(engine) as connection:
        connection.execute(update(training_runs).where(mine).values(values))


def abandoned_trainings(engine: Engine, is_dead: Callable[[str], bool]) -> list[tuple[int, str]]:
    """List (training_run_id, owner) of running trainings with a dead process or an expired lease."""
    ended = func.coalesce(training_runs.c.lease_until < database_now(), True)
    columns = (training_runs.c.training_run_id, training_runs.c.owner, ended)
    running = select(*columns).where(training_runs.c.status == "running").order_by(training_runs.c.training_run_id)
    with reading(engine) as connection:
        rows = connection.execute(running).all()
    return [(run, owner or "an unknown process") for run, owner, over in rows if over or (owner and is_dead(owner))]


def read_trainings(engine: Engine, training_run_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Each run's row, column -> value, with its model's version_sha256, epochs done and lowest validation loss.

    In the order of the argument. Raises DatabaseError where one of them does not exist.
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
        raise DatabaseError(f"There is no training run {missing[0]}.", "Run 'nightjar compare' for a list of them.")
    return [{**found[number], "epochs": read_epochs(engine, number)} for number in training_run_ids]


def read_epochs(engine: Engine, training_run_id: int) -> list[Epoch]:
    """Read the epochs of a run, in order."""
    columns = (training_epochs.c[name] for name in Epoch._fields)
    mine = training_epochs.c.training_run_id == training_run_id
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(mine).order_by(training_epochs.c.epoch))
        return [Epoch(*row) for row in rows]


def read_pictures(engine: Engine, training_run_id: int, split: str | None = None) -> list[PredictionRow]:
    """List the pictures of a run, of one split or of all, by their hash."""
    table = training_predictions
    mine = table.c.training_run_id == training_run_id
    wanted = mine if split is None else mine & (table.c.split == split)
    columns = (table.c[name] for name in PredictionRow._fields)
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(wanted).order_by(table.c.sha256, table.c.box))
        return [PredictionRow(*row) for row in rows]
