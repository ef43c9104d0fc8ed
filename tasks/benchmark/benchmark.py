"""Tasks of `benchmark-model`: measure a model on a device, alone and in the whole pipeline, and record the results."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from prefect import task

from models.conversion.ir_xml import multiply_adds
from models.drawing.speeds import ARTICLE, Bar, draw_speeds
from models.inference.benchmark import ModelSpeed, measure_model
from models.inference.devices import open_runtime
from models.inference.runtime import OpenVinoRuntime, Runtime, openvino_version
from models.inference.spec import BenchmarkSpec
from models.manifest import XML_FILE
from models.types import Video
from storage.sql.benchmarks import BenchmarkRow, record_benchmark
from tasks.benchmark.machine import describe_machine, load_1m, peak_memory_bytes, reset_peak_memory, temperature_c
from tasks.benchmark.pipeline import PipelineSpeed, measure_pipeline
from tasks.demo.film import render as render_frames
from tasks.model.store import take_model
from tasks.runs.policy import TASK
from tasks.site.owner import host_name
from tasks.site.site import Site, reopen_site
from tasks.text.wording import rate

log = logging.getLogger(__name__)

STAGES = ("decode", "inference", "reading", "storing", "other")


def render_film(folder: Path) -> Path:
    """Render half a minute of three synthetic people, 640x480, and return its path."""
    return render_frames(folder / "film.mp4")


render_film_task = task(name="render film", **TASK)(render_film)


@task(name="benchmark", **TASK)
def benchmark_task(
    name: str, spec: BenchmarkSpec, film: Path, scratch: Path, flow_run_id: str | None
) -> list[BenchmarkRow]:
    """Measure a stored model. Raises as benchmark does."""
    with reopen_site() as site:
        return benchmark(site, name, spec, film, scratch, flow_run_id)


def benchmark(
    site: Site, name: str, spec: BenchmarkSpec, film: Path, scratch: Path, flow_run_id: str | None
) -> list[BenchmarkRow]:
    """Measure the model alone, then the pipeline from video to rows, for N seconds each; record both in SQL.

    Raises NightjarError: no such model, device or film.
    """
    rows = []
    for row in measure(site, name, spec, film, scratch):
        rows.append(dataclasses.replace(row, flow_run_id=flow_run_id))
        record_benchmark(site.engine, rows[-1])
        log.info("%s, %s: %s", name, row.what, summary(row))
    return rows


def measure(site: Site, name: str, spec: BenchmarkSpec, film: Path, scratch: Path) -> Iterator[BenchmarkRow]:
    """Yield the measurement of the model, then that of the pipeline. Records nothing."""
    model_version_id, folder, manifest = take_model(site, name)
    busy = load_1m()
    reset_peak_memory()
    runtime = open_runtime(folder, manifest, spec.runtime)
    about: dict[str, Any] = {
        "model_version_id": model_version_id,
        "device": runtime.device,
        "precision": runtime.precision,
        "worker": site.settings.worker_name or host_name(),
        "machine": describe_machine(),
        "openvino": openvino_version(),
        "requests": runtime.slots,
        "multiply_adds": multiply_adds(folder / XML_FILE),
        "load_1m": busy,
    }
    alone = measure_model(runtime, manifest.input.height, manifest.input.width, spec.seconds)
    yield BenchmarkRow(what="model", **about, **_measured(alone), **_memory_and_temperature(runtime))
    whole = measure_pipeline(film, runtime, manifest, spec.seconds, alone.frames_per_s, scratch)
    stages = {name: value for name, value in vars(whole).items() if name.endswith(("_cpu_ms", "_memory_bytes"))}
    about |= {"video": _describe_film(film, whole.video)}
    yield BenchmarkRow(what="pipeline", **about, **{**_measured(whole), **stages}, **_memory_and_temperature(runtime))


def _measured(speed: ModelSpeed | PipelineSpeed) -> dict[str, Any]:
    return {
        "seconds": speed.seconds,
        "frames": speed.frames,
        "frames_per_s": speed.frames_per_s,
        "inference_cpu_ms": speed.inference_cpu_ms,
        **{f"latency_{name}": value for name, value in vars(speed.latency).items()},
    }


def _memory_and_temperature(runtime: Runtime) -> dict[str, Any]:
    """Return peak memory and temperature after the work."""
    own = runtime.temperature_c() if isinstance(runtime, OpenVinoRuntime) else None
    return {"memory_bytes": peak_memory_bytes(), "temperature_c": temperature_c() if own is None else own}


def _describe_film(film: Path, video: Video) -> str:
    rate = f"{video.fps:g} frames/s" if video.fps else "a single frame"
    return f"{film.name}, {video.width}x{video.height}, {video.codec}, {rate}"


def summary(row: BenchmarkRow) -> str:
    """Format one measurement as a line."""
    return (
        f"{rate(row.frames_per_s)} on {row.device} in {row.precision}, {row.requests} requests in parallel; "
        f"median latency {row.latency_p50_ms:.1f} ms, 99 % within {row.latency_p99_ms:.1f} ms"
    )


def speed_table(measured: Mapping[str, Sequence[BenchmarkRow]]) -> list[dict[str, Any]]:
    """Return one row per model, with the article's figure. measured: model's name -> its two rows"""
    return [
        {
            "model": name,
            "video to rows, frames/s": round(whole.frames_per_s, 1),
            "model alone, frames/s": round(alone.frames_per_s, 1),
            "median latency, ms": round(whole.latency_p50_ms, 1),
            "99 % latency, ms": round(whole.latency_p99_ms, 1),
            "parallel requests": whole.requests,
            "article's frames/s, on a Neural Compute Stick": ARTICLE.get(name),
        }
        for name, (alone, whole) in _by_name(measured)
    ]


def cost_table(measured: Mapping[str, Sequence[BenchmarkRow]]) -> list[dict[str, Any]]:
    """Return one row per model: CPU milliseconds per frame of each pipeline stage, and peak memory."""
    return [
        {
            "model": name,
            **{f"{stage} CPU ms": round(getattr(whole, f"{stage}_cpu_ms"), 2) for stage in STAGES},
            "memory MB": round((whole.memory_bytes + (whole.decoder_memory_bytes or 0)) / 1e6),
        }
        for name, (_, whole) in _by_name(measured)
    ]


def _by_name(measured: Mapping[str, Sequence[BenchmarkRow]]) -> list[tuple[str, tuple[BenchmarkRow, BenchmarkRow]]]:
    """Return each model's name with its rows: the model alone, then the pipeline."""
    of = {name: {row.what: row for row in rows} for name, rows in measured.items()}
    return [(name, (rows["model"], rows["pipeline"])) for name, rows in of.items()]


def draw_chart(measured: Mapping[str, Sequence[BenchmarkRow]]) -> bytes:
    """Draw the results as bars, PNG bytes."""
    bars, last = [], None
    for name, rows in measured.items():
        of = {row.what: row for row in rows}
        last = of["pipeline"]
        note = f"{last.precision}, {last.requests} parallel requests"
        bars.append(Bar(name, note, of["model"].frames_per_s, last.frames_per_s))
    if last is None:
        raise ValueError("There are no measurements to draw. Measure at least one model.")
    subtitle = f"{last.machine}; load average {last.load_1m:.1f} at the start"
    return cv2.imencode(".png", draw_speeds(f"Speed on {last.device}", subtitle, bars))[1].tobytes()
