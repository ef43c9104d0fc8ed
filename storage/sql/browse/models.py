"""Model versions, evaluations and benchmarks for their pages."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, Select, func, select

from storage.sql.database import reading
from storage.sql.evaluations import FIELDS, Evaluation
from storage.sql.listings import input_size
from storage.sql.tables import benchmark_results, evaluations, model_versions, shown_models, training_runs

MOST_VERSIONS, MOST_EVALUATIONS, MOST_BENCHMARKS = 500, 500, 200
# Columns of a model version in a row of a measurement.
OF_MODEL = {
    "model": model_versions.c.name.label("model"),
    "version_sha256": model_versions.c.version_sha256,
    "manifest": model_versions.c.manifest,
}


class StoredModel(NamedTuple):
    """A model version.

    shown: `batch` or `person` where the views show it, by whom it was chosen; else None
    training: number of the training that made it; manifest: JSON
    """

    model_version_id: int
    name: str
    version_sha256: str
    task: str
    precision: str
    frames_per_second: float | None
    source_format: str
    source_location: str
    source_sha256: str
    ir_sha256: str
    manifest: str
    registered_at: datetime
    shown: str | None
    training: int | None

    @property
    def size(self) -> str:
        """Size of the input, as users write it."""
        return input_size(self.manifest)


class StoredEvaluation(NamedTuple):
    """An evaluation with its model. size: of the model's input, as users write it"""

    evaluation_id: int
    model_version_id: int
    model: str
    version_sha256: str
    size: str
    evaluated_at: datetime
    figures: Evaluation


class StoredBenchmark(NamedTuple):
    """A benchmark with its model. video, pipeline's figures: None for a model alone"""

    benchmark_result_id: int
    model: str
    version_sha256: str
    manifest: str
    what: str
    device: str
    precision: str
    worker: str
    machine: str
    started_at: datetime
    frames: int
    frames_per_s: float
    latency_p50_ms: float
    latency_p90_ms: float
    inference_cpu_ms: float
    load_1m: float
    video: str | None

    @property
    def size(self) -> str:
        """Size of the model's input, as users write it."""
        return input_size(self.manifest)


def list_models(engine: Engine) -> list[StoredModel]:
    """List the newest model versions, at most MOST_VERSIONS: those that the views show first."""
    own = (model_versions.c[name] for name in StoredModel._fields[:-2])
    trained = (
        select(func.min(training_runs.c.training_run_id))
        .where(training_runs.c.model_version_id == model_versions.c.model_version_id)
        .scalar_subquery()
    )
    found = (
        select(*own, shown_models.c.chosen_by, trained)
        .outerjoin(shown_models, shown_models.c.model_version_id == model_versions.c.model_version_id)
        .order_by(shown_models.c.chosen_by.is_(None), model_versions.c.model_version_id.desc())
        .limit(MOST_VERSIONS)
    )
    with reading(engine) as connection:
        return [StoredModel(*row) for row in connection.execute(found)]


def list_evaluations(engine: Engine) -> list[StoredEvaluation]:
    """List the newest evaluations, at most MOST_EVALUATIONS."""
    newest = _evaluations().order_by(evaluations.c.evaluated_at.desc(), evaluations.c.evaluation_id.desc())
    with reading(engine) as connection:
        return [_stored_evaluation(row) for row in connection.execute(newest.limit(MOST_EVALUATIONS))]


def find_evaluation(engine: Engine, evaluation_id: int) -> StoredEvaluation | None:
    """Find an evaluation."""
    with reading(engine) as connection:
        row = connection.execute(_evaluations().where(evaluations.c.evaluation_id == evaluation_id)).first()
    return None if row is None else _stored_evaluation(row)


def evaluations_of(engine: Engine, model_version_id: int) -> list[StoredEvaluation]:
    """List the newest evaluations of a model version, at most MOST_EVALUATIONS."""
    mine = _evaluations().where(evaluations.c.model_version_id == model_version_id)
    with reading(engine) as connection:
        found = connection.execute(mine.order_by(evaluations.c.evaluation_id.desc()).limit(MOST_EVALUATIONS))
        return [_stored_evaluation(row) for row in found]


def _evaluations() -> Select[Any]:
    own = (evaluations.c[name] for name in ("evaluation_id", "model_version_id", "evaluated_at", *FIELDS))
    joined = model_versions.c.model_version_id == evaluations.c.model_version_id
    return select(*own, *OF_MODEL.values()).select_from(evaluations).join(model_versions, joined)


def _stored_evaluation(row: Row[Any]) -> StoredEvaluation:
    return StoredEvaluation(
        evaluation_id=row.evaluation_id,
        model_version_id=row.model_version_id,
        model=row.model,
        version_sha256=row.version_sha256,
        size=input_size(row.manifest),
        evaluated_at=row.evaluated_at,
        figures=Evaluation(**{name: row._mapping[name] for name in FIELDS}),
    )


def list_benchmarks(engine: Engine) -> list[StoredBenchmark]:
    """List the newest benchmarks, at most MOST_BENCHMARKS."""
    made = benchmark_results.c
    columns = (OF_MODEL[name] if name in OF_MODEL else made[name] for name in StoredBenchmark._fields)
    joined = model_versions.c.model_version_id == made.model_version_id
    found = select(*columns).select_from(benchmark_results).join(model_versions, joined)
    newest = found.order_by(made.started_at.desc(), made.benchmark_result_id.desc()).limit(MOST_BENCHMARKS)
    with reading(engine) as connection:
        return [StoredBenchmark(*row) for row in connection.execute(newest)]
