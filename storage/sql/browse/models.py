"""Model versions, evaluations and benchmarks for their pages."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, Select, func, select

from storage.sql.database import reading
from storage.sql.listings import input_size
from storage.sql.tables import benchmark_results, evaluations, model_versions, shown_models, training_runs

MOST_VERSIONS, MOST_EVALUATIONS, MOST_BENCHMARKS = 500, 500, 200


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
    """An evaluation with its model. protocol: JSON; figures: None where the mode has none"""

    evaluation_id: int
    model_version_id: int
    model: str
    version_sha256: str
    manifest: str
    mode: str
    images: int
    people: int
    mean_oks: float
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    pck: float | None
    inferences_per_s: float | None
    device: str
    precision: str
    evaluated_at: datetime
    protocol_sha256: str
    protocol: str

    @property
    def size(self) -> str:
        """Size of the model's input, as users write it."""
        return input_size(self.manifest)


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
        return [StoredEvaluation(*row) for row in connection.execute(newest.limit(MOST_EVALUATIONS))]


def find_evaluation(engine: Engine, evaluation_id: int) -> StoredEvaluation | None:
    """Find an evaluation."""
    with reading(engine) as connection:
        row = connection.execute(_evaluations().where(evaluations.c.evaluation_id == evaluation_id)).first()
    return None if row is None else StoredEvaluation(*row)


def evaluations_of(engine: Engine, model_version_id: int) -> list[StoredEvaluation]:
    """List the newest evaluations of a model version, at most MOST_EVALUATIONS."""
    mine = _evaluations().where(evaluations.c.model_version_id == model_version_id)
    with reading(engine) as connection:
        found = connection.execute(mine.order_by(evaluations.c.evaluation_id.desc()).limit(MOST_EVALUATIONS))
        return [StoredEvaluation(*row) for row in found]


def _evaluations() -> Select[tuple[object, ...]]:
    of_model = {
        "model": model_versions.c.name,
        "version_sha256": model_versions.c.version_sha256,
        "manifest": model_versions.c.manifest,
    }
    columns = (of_model[name] if name in of_model else evaluations.c[name] for name in StoredEvaluation._fields)
    joined = model_versions.c.model_version_id == evaluations.c.model_version_id
    return select(*columns).select_from(evaluations).join(model_versions, joined)


def list_benchmarks(engine: Engine) -> list[StoredBenchmark]:
    """List the newest benchmarks, at most MOST_BENCHMARKS."""
    of_model = {
        "model": model_versions.c.name,
        "version_sha256": model_versions.c.version_sha256,
        "manifest": model_versions.c.manifest,
    }
    made = benchmark_results.c
    columns = (of_model[name] if name in of_model else made[name] for name in StoredBenchmark._fields)
    joined = model_versions.c.model_version_id == made.model_version_id
    found = select(*columns).select_from(benchmark_results).join(model_versions, joined)
    newest = found.order_by(made.started_at.desc(), made.benchmark_result_id.desc()).limit(MOST_BENCHMARKS)
    with reading(engine) as connection:
        return [StoredBenchmark(*row) for row in connection.execute(newest)]
