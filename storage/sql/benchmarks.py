"""Benchmarks in SQL: one row per measurement, and the newest ones of each model and device. Measures nothing."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Engine, func, insert, select

from storage.sql.clock import database_now
from storage.sql.database import reading, storable, writing
from storage.sql.listings import input_size
from storage.sql.tables import benchmark_results, model_versions


@dataclass(frozen=True)
class BenchmarkRow:
    """One measurement, as described in docs/schema.md. The last fields are of a pipeline only."""

    model_version_id: int
    what: Literal["model", "pipeline"]
    device: str
    precision: str
    worker: str
    machine: str
    openvino: str
    seconds: float
    frames: int
    frames_per_s: float
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    requests: int
    multiply_adds: int
    inference_cpu_ms: float
    memory_bytes: int
    load_1m: float
    temperature_c: float | None = None
    flow_run_id: str | None = None
    video: str | None = None
    decode_cpu_ms: float | None = None
    reading_cpu_ms: float | None = None
    storing_cpu_ms: float | None = None
    other_cpu_ms: float | None = None
    decoder_memory_bytes: int | None = None


class BenchmarkSpeed(NamedTuple):
    """The newest measurements of a model's name and input size with one device of one worker; None: not measured.

    model_frames_per_s: the model alone; pipeline_frames_per_s: from the video to the rows
    size: of the input, as users write it
    inference_cpu_ms: of the model alone, per frame
    """

    model: str
    task: str
    version_sha256: str
    worker: str
    device: str
    precision: str
    multiply_adds: int
    model_frames_per_s: float | None
    pipeline_frames_per_s: float | None
    latency_p90_ms: float
    measured_at: datetime
    size: str = ""
    inference_cpu_ms: float | None = None

    @property
    def frames_per_s(self) -> float:
        """Best known estimate of the speed in a nightly batch."""
        found = self.pipeline_frames_per_s or self.model_frames_per_s
        assert found is not None
        return found


def record_benchmark(engine: Engine, row: BenchmarkRow) -> int:
    """Record a measurement that began its own seconds ago, by the database's clock. Returns its id."""
    values: dict[str, Any] = {**asdict(row), "video": None if row.video is None else storable(row.video)}
    with writing(engine) as connection:
        values["started_at"] = database_now(-row.seconds)
        made = insert(benchmark_results).values(values).returning(benchmark_results.c.benchmark_result_id)
        return int(connection.execute(made).scalar_one())


def newest_speeds(engine: Engine) -> list[BenchmarkSpeed]:
    """Newest speeds by task, worker, device, precision; the model that computes least comes first.

    Of each name and size the version that was measured last counts, not the newest version.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in _newest_rows(engine):
        one = (row["task"], row["worker"], row["device"], row["precision"], row["name"], input_size(row["manifest"]))
        found.setdefault(one, {})[row["what"]] = row
    speeds = [_speed(measured) for measured in found.values()]
    return sorted(speeds, key=lambda speed: (speed.task, *speed[3:7], speed.model))


def _newest_rows(engine: Engine) -> list[dict[str, Any]]:
    """Newest row of each version, device and kind of measurement, the oldest first."""
    made, models = benchmark_results.c, model_versions.c
    age = func.row_number().over(
        partition_by=(made.model_version_id, made.what, made.worker, made.device, made.precision),
        order_by=(made.started_at.desc(), made.benchmark_result_id.desc()),
    )
    joined = benchmark_results.join(model_versions, models.model_version_id == made.model_version_id)
    model = (models.name, models.task, models.version_sha256, models.manifest)
    newest = select(benchmark_results, *model, age.label("age")).select_from(joined).subquery()
    rows = select(newest).where(newest.c.age == 1).order_by(newest.c.started_at, newest.c.benchmark_result_id)
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.execute(rows)]


def _speed(measured: dict[str, dict[str, Any]]) -> BenchmarkSpeed:
    """BenchmarkSpeed of the last measured version, with the other measurement only where it is of the same version."""
    last = max(measured.values(), key=lambda row: (row["started_at"], row["benchmark_result_id"]))
    same = {what: row for what, row in measured.items() if row["version_sha256"] == last["version_sha256"]}
    of = {what: row["frames_per_s"] for what, row in same.items()}
    return BenchmarkSpeed(
        model=last["name"],
        task=last["task"],
        version_sha256=last["version_sha256"],
        worker=last["worker"],
        device=last["device"],
        precision=last["precision"],
        multiply_adds=last["multiply_adds"],
        model_frames_per_s=of.get("model"),
        pipeline_frames_per_s=of.get("pipeline"),
        latency_p90_ms=last["latency_p90_ms"],
        measured_at=last["started_at"],
        size=input_size(last["manifest"]),
        inference_cpu_ms=same["model"]["inference_cpu_ms"] if "model" in same else None,
    )
