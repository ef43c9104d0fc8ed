"""`make bench`: measure this machine in a quarter of an hour, on the terminal and in docs/benchmarks.md.

Absolute figures are of this machine and day. Ratios are measured in turns in one run, so other machines reproduce them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from models.drawing.speeds import ARTICLE
from models.inference.benchmark import measure_model
from models.inference.runtime import OpenVinoRuntime
from models.inference.spec import BenchmarkSpec
from models.manifest import MANIFEST_FILE, Manifest
from storage.sql.benchmarks import BenchmarkRow
from tasks.benchmark import benchmark as benchmarking
from tasks.benchmark.machine import describe_machine
from tasks.model.convert import SHIPPED
from tasks.model.names import DEMO_MODEL
from tasks.model.store import store_model
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tasks.text.markdown import markdown_table
from tests.benchmarks.models import converted, missing_data
from tests.benchmarks.openvino_app import app_frames_per_s, compare_with_app

OUT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
SECONDS = 8.0
APP_ROUNDS, APP_SECONDS = 3, 3
TURNS = 20
# Title -> module, options, and the options of a shortened run. One that needs real videos is left out without them.
OTHERS = {
    "Outputs to poses: the decoder compared with the plain one of the tests": ("bench_posenet_decode", [], []),
    "The pipeline compared with its limit and with posenet-python": ("bench_pipeline", [], ["--rounds", "1"]),
    "A night over many short clips": ("bench_clips", ["--clips", "500"], ["--clips", "20"]),
    "Start of commands": ("bench_start", [], ["--rounds", "1"]),
    "Memory over a long video": ("bench_memory", ["--minutes", "10"], ["--minutes", "1"]),
    "Tracks and motion of a million person-frames": ("bench_analysis", [], ["--rows", "100000"]),
    "Rows into and out of SQL": ("bench_load", [], []),
    "The queries of docs/queries.md on PostgreSQL": (
        "bench_queries",
        ["--rows", "10000000"],
        ["--rows", "200000"],
    ),
}
NEED_VIDEOS = {"bench_pipeline", "bench_clips", "bench_memory"}
LIMIT_S = 1800.0


def measure_demo(folder: Path, manifest: Manifest, scratch: Path) -> list[BenchmarkRow]:
    """Measure the demo's model like `nightjar benchmark posenet-demo`, without Prefect."""
    os.environ["NIGHTJAR_HOME"] = str(scratch / "home")
    for name in ("NIGHTJAR_ARTIFACTS", "NIGHTJAR_DATABASE_URL"):
        os.environ.pop(name, None)
    read_settings.cache_clear()
    film = benchmarking.render_film(scratch)
    with open_site() as site:
        store_model(site, folder, manifest)
        return list(
            benchmarking.measure(site, DEMO_MODEL, BenchmarkSpec((DEMO_MODEL,), seconds=SECONDS), film, scratch)
        )


def speed_section(rows: Sequence[BenchmarkRow]) -> str:
    alone, whole = rows
    stages = [{"stage": stage, "CPU ms per frame": _stage_ms(whole, stage)} for stage in benchmarking.STAGES]
    sum_ms = sum(_stage_ms(whole, stage) for stage in benchmarking.STAGES)
    return "\n\n".join(
        [
            f"- alone: {benchmarking.summary(alone)}\n- from the video to its rows: {benchmarking.summary(whole)}\n"
            f"- ratio of the two: {whole.frames_per_s / alone.frames_per_s:.2f}\n- film: {whole.video}\n"
            f"- memory: {whole.memory_bytes / 1e6:.0f} MB, and {(whole.decoder_memory_bytes or 0) / 1e6:.0f} MB of the "
            f"decoder's process\n- temperature: {_temperature(whole)}",
            markdown_table(stages),
            f"Together {sum_ms:.2f} ms of CPU per frame: at most {1000 / sum_ms:,.0f} frames per second and core.",
        ]
    )


def _stage_ms(row: BenchmarkRow, stage: str) -> float:
    return round(float(getattr(row, f"{stage}_cpu_ms")), 3)


def _temperature(row: BenchmarkRow) -> str:
    return "not readable here" if row.temperature_c is None else f"{row.temperature_c:.1f} °C"


def app_section(folder: Path, manifest: Manifest, scratch: Path) -> str:
    """Measure the program in turns with ours, and its loop in shorter turns."""
    ours, theirs = [], []
    for _ in range(APP_ROUNDS):
        theirs.append(app_frames_per_s(folder, manifest, APP_SECONDS, scratch))
        ours.append(_own_frames_per_s(folder, manifest))
    ratio = compare_with_app(folder, manifest, TURNS, TURNS, 0)
    return (
        f"- the best of {APP_ROUNDS} rounds of {APP_SECONDS} s: {max(ours):,.1f} frames/s, benchmark_app "
        f"{max(theirs):,.1f}: ratio {max(ours) / max(theirs):.3f}\n- its loop and ours in {TURNS} turns of a fraction "
        f"of a second: ratio {ratio.frames_per_s:.3f}, of the CPU per frame {ratio.cpu:.3f}"
    )


def _own_frames_per_s(folder: Path, manifest: Manifest) -> float:
    runtime = OpenVinoRuntime(folder, manifest)
    return measure_model(runtime, manifest.input.height, manifest.input.width, APP_SECONDS).frames_per_s


def article_section() -> str:
    rows = [{"model": model, "frames/s": speed} for model, speed in ARTICLE.items()]
    return "Not measured here: the article's figures for its own Neural Compute Stick.\n\n" + markdown_table(rows)


def output_of(module: str, options: Sequence[str]) -> str:
    """Run a benchmark. Returns its output, or the reason why there is none: one that fails must not cost the others.

    What it says about a failure has paths of this machine in it, so it is for the terminal only.
    """
    if module in NEED_VIDEOS and (missing := missing_data()):
        return f"Not measured: there is no {missing} in the folder that NIGHTJAR_TEST_DATA names."
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"Not measured: it took more than {LIMIT_S:.0f} s."
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return f"Not measured: `{module}` failed."
    return f"```\n{done.stdout.strip()}\n```"


def heading(load_before: float) -> str:
    cores, load_after = os.cpu_count() or 1, os.getloadavg()[0]
    busy = max(load_before, load_after - cores) > cores / 2
    return (
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Machine: {describe_machine()}.\n"
        f"Load average: {load_before:.1f} before, {load_after:.1f} after"
        + (": **others used the machine too**, trust the ratios only." if busy else ".")
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posenet-python", type=Path, help="checkout of github.com/rwightman/posenet-python")
    parser.add_argument("--short", action="store_true", help="check every part; its figures mean little")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    parts, begun, load_before = [], time.monotonic(), os.getloadavg()[0]

    def publish(title: str, text: str) -> None:
        parts.append(f"## {title}\n\n{text}")
        print(f"\n{title}\n{text}\n({time.monotonic() - begun:.0f} s so far)", flush=True)

    with tempfile.TemporaryDirectory(prefix="nightjar-bench-") as place:
        scratch, folder = Path(place), Path(place) / "ir"
        converted(DEMO_MODEL, folder, SHIPPED / "model.json")
        manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        publish(f"{DEMO_MODEL}, by stage", speed_section(measure_demo(folder, manifest, scratch)))
        publish(f"{DEMO_MODEL} and OpenVINO's benchmark_app", app_section(folder, manifest, scratch))
        for title, (module, whole, short) in OTHERS.items():
            options = short if arguments.short else whole
            if module in NEED_VIDEOS:  # the models are kept between benchmarks
                options = [*options, "--models", str(scratch / "models")]
            if module == "bench_pipeline" and arguments.posenet_python:
                options = [*options, "--posenet-python", str(arguments.posenet_python)]
            publish(title, output_of(module, options))
    publish("The seed article's figures", article_section())
    arguments.out.write_text("\n\n".join(["# Benchmarks", heading(load_before), *parts]) + "\n", encoding="utf-8")
    print(f"\n{arguments.out}, after {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
