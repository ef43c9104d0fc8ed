"""Benchmarks in SQL: every measurement is kept, and the newest one of each model and device is used."""

import dataclasses
from typing import Any

import pytest
from sqlalchemy import Engine

from storage.sql.benchmarks import BenchmarkRow, newest_speeds, record_benchmark
from storage.sql.catalogue import register_model
from storage.sql.database import DatabaseError
from storage.sql.query import query
from tests.storage.samples import make_model

STAGES: dict[str, Any] = {
    "decode_cpu_ms": 1.5,
    "reading_cpu_ms": 0.25,
    "storing_cpu_ms": 0.125,
    "other_cpu_ms": 0.5,
    "decoder_memory_bytes": 90_000_000,
    "video": "film.mp4, 640x480",
}


def row(model_version_id: int, frames_per_s: float, what: str = "model", **changes: Any) -> BenchmarkRow:
    alone = BenchmarkRow(
        model_version_id=model_version_id,
        what="model",
        device="CPU (a CPU)",
        precision="f32",
        worker="here",
        machine="a machine",
        openvino="2026.4",
        seconds=10.0,
        frames=round(10 * frames_per_s),
        frames_per_s=frames_per_s,
        latency_p50_ms=2.0,
        latency_p90_ms=3.0,
        latency_p99_ms=4.0,
        requests=4,
        multiply_adds=10**9,
        inference_cpu_ms=1.0,
        memory_bytes=3 * 10**9,
        load_1m=0.5,
    )
    return dataclasses.replace(alone, what=what, **{**(STAGES if what == "pipeline" else {}), **changes})


def test_each_measurement_is_stored_unchanged(engine: Engine) -> None:
    model = register_model(engine, make_model())
    rows = [row(model, 100.0), row(model, 60.0, "pipeline", temperature_c=61.5, flow_run_id="f"), row(model, 100.0)]
    assert [record_benchmark(engine, each) for each in rows] == [1, 2, 3]
    columns, found = query(engine, "SELECT * FROM benchmark_results ORDER BY benchmark_result_id")
    stored = [dict(zip(columns, each, strict=True)) for each in found]
    for each, expected in zip(stored, rows, strict=True):
        del each["benchmark_result_id"]
        del each["started_at"]
        assert each == dataclasses.asdict(expected)


def test_started_at_is_its_duration_ago(engine: Engine) -> None:
    model = register_model(engine, make_model())
    record_benchmark(engine, row(model, 100.0, seconds=3600.0))
    record_benchmark(engine, row(model, 100.0, seconds=1.0))
    [(first,), (second,)] = query(engine, "SELECT started_at FROM benchmark_results ORDER BY benchmark_result_id")[1]
    assert str(first) < str(second)


def test_the_newest_of_each_name_and_device_is_used(engine: Engine) -> None:
    small = register_model(engine, make_model("1" * 64, "small"))
    large = register_model(engine, make_model("2" * 64, "large"))
    for each in (
        row(large, 20.0, multiply_adds=2 * 10**9),
        row(small, 90.0),
        row(small, 50.0, "pipeline"),
        row(small, 100.0),
        row(small, 300.0, precision="bf16"),
    ):
        record_benchmark(engine, each)
    found = [
        (speed.model, speed.precision, speed.model_frames_per_s, speed.pipeline_frames_per_s, speed.frames_per_s)
        for speed in newest_speeds(engine)
    ]
    assert found == [
        ("small", "bf16", 300.0, None, 300.0),
        ("small", "f32", 100.0, 50.0, 50.0),
        ("large", "f32", 20.0, None, 20.0),
    ]


def test_versions_of_a_name_are_not_mixed(engine: Engine) -> None:
    old = register_model(engine, make_model("1" * 64, "posenet"))
    new = register_model(engine, make_model("2" * 64, "posenet"))
    record_benchmark(engine, row(old, 50.0, "pipeline"))
    record_benchmark(engine, row(new, 80.0))
    [speed] = newest_speeds(engine)
    assert (speed.version_sha256, speed.model_frames_per_s, speed.pipeline_frames_per_s) == ("2" * 64, 80.0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"what": "guess"},
        {"frames": 0},
        {"what": "pipeline"},
        {"decode_cpu_ms": 1.0, **STAGES},
        {"model_version_id": 77},
    ],
    ids=str,
)
def test_invalid_measurements_are_refused(engine: Engine, wrong: dict[str, Any]) -> None:
    model = register_model(engine, make_model())
    with pytest.raises(DatabaseError):
        record_benchmark(engine, dataclasses.replace(row(model, 100.0), **wrong))
    assert newest_speeds(engine) == []
