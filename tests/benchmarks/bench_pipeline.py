"""Speed of the pipeline compared with the limit of its parts: `python -m tests.benchmarks.bench_pipeline`.

The limit is the machine's speed if only decoding, resizing and inference took time, each with its best library, and no
core ever waited: cores / (sum of their CPU seconds per frame). The pipeline is a batch's own loop, without Prefect, in
segments from the file to committed rows in SQLite. Rounds are interleaved, so that other work on the machine affects
all alike, and medians are printed. The share by wall-clock time depends on the machine's free cores. The share by CPU
seconds (parts / pipeline) shows the pipeline's own cost, and the use of the cores is the other factor.

All cores busy: decoding and resizing, measured on one core while the others are idle, cost less than beside busy cores,
which share caches and execution units, as in the pipeline. So both are measured by as many threads as there are cores,
too, and what is missing from that limit is what better code could still gain.

Beside: the pipeline while another process uses one core, with inference threads of the default niceness and of 5.
Peer: posenet-python with its own decoder and TensorFlow's graph, in the same rounds.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import psutil
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from models.inference.devices import open_runtime
from models.inference.preprocess import plan_resize
from models.inference.runtime import Runtime
from models.inference.spec import RuntimeSpec
from models.manifest import MANIFEST_FILE, Manifest
from models.types import FrameIndex, Video
from storage.objects.artifacts import FolderArtifacts
from storage.sandbox.parent import Sandbox
from storage.sql.database import migrate, open_database
from storage.video.geometry import DisplayGeometry
from storage.video.pixels import to_rgb
from storage.video.probe import probe_video
from tasks.batch.local import run_segments
from tasks.batch.night import Night
from tasks.segment.infer import InferenceSetup
from tasks.segment.open_video import Probes, state_of
from tasks.segment.result_files import ResultReader
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.text.progress import FrameProgress
from tests.benchmarks.models import DATA, VIDEOS, converted, lengthened, quantized
from tests.benchmarks.posenet_python import Peer
from tests.storage.samples import make_model, planned_batch

SEGMENT, SEGMENTS = 690, 2  # frames of a segment, nearly as long as a batch's, and segments of each video
KEPT = 60  # decoded frames that are resized repeatedly
MIGRATED = "migrated.sqlite"
CORES = len(os.sched_getaffinity(0))
BUSY = "while True: pass"
GIVING_WAY = 5  # niceness
ALL_BUSY = "all cores busy, "


class Case(NamedTuple):
    """A model on a video. beside: measured with another process at full load, too"""

    model: str
    video: str
    precision: str = "f32"
    beside: bool = False

    @property
    def title(self) -> str:
        return f"{self.model}, {self.precision}, {self.video}"


CASES = (
    Case("posenet-050", "768x432", beside=True),
    Case("posenet-050", "768x432", "INT8"),
    Case("posenet-075", "768x432"),
    Case("posenet-050", "1768x994", beside=True),
    Case("movenet-multipose", "1768x994"),
)


class Cost(NamedTuple):
    """Cost of one frame in milliseconds."""

    cpu_ms: float
    wall_ms: float


Costs = dict[str, list[Cost]]
"""By what was measured, one cost per round."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the title, such as 'posenet-050, f32, 768'")
    parser.add_argument("--models", type=Path, help="folder of converted models, kept between runs")
    parser.add_argument("--posenet-python", type=Path, help="checkout of github.com/rwightman/posenet-python")
    arguments = parser.parse_args()
    print(f"{CORES} cores, load {os.getloadavg()[0]:.1f}; CPU ms per frame, medians of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.models or Path(scratch) / "models"
        videos = {
            size: lengthened(DATA / video, Path(scratch) / size / Path(video).name, SEGMENT * SEGMENTS)
            for size, video in VIDEOS.items()
        }
        for case in CASES:
            if arguments.only in case.title:
                model = converted(case.model, folder / case.model)
                if case.precision == "INT8":
                    model = quantized(model, folder / f"{case.model}-int8")
                peer = Peer.of(arguments.posenet_python, case.model, videos[case.video])
                measure(case, videos[case.video], model, arguments.rounds, peer)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def measure(case: Case, path: Path, folder: Path, rounds: int, peer: Peer | str) -> None:
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    runtime = open_runtime(folder, manifest, RuntimeSpec("CPU"))
    parts = parts_of(path, manifest, runtime)
    busy_parts = {part: partial(on_all_cores, next(iter(parts[part].values()))) for part in ("decode", "resize")}
    found: Costs = {}
    with tempfile.TemporaryDirectory() as scratch, Sandbox() as sandbox:
        engine = open_database(f"sqlite:///{scratch}/{MIGRATED}")
        migrate(engine)
        engine.dispose()
        batch = LocalBatch(Path(scratch), path, *probe_video(path), folder, manifest, runtime, sandbox)
        batch.run()  # warm: the child is started
        for _ in range(rounds):
            for part, ways in parts.items():
                for way, work in ways.items():
                    found.setdefault(f"{part}: {way}", []).append(cost_of(work))
            for part, work in busy_parts.items():
                found.setdefault(f"{ALL_BUSY}{part}", []).append(cost_of(work))
            found.setdefault("pipeline", []).append(cost_of(batch.run))
            if isinstance(peer, Peer):
                found.setdefault("peer", []).append(Cost(*peer.cost_ms()))
            if case.beside:
                measure_beside(batch, found)
    report(case, found, list(parts))
    report_peer(found, peer)


def parts_of(path: Path, manifest: Manifest, runtime: Runtime) -> dict[str, dict[str, Callable[[], int]]]:
    """Return the parts of the work, each with its ways to do it; they return their number of frames."""
    size = (manifest.input.width, manifest.input.height)
    kept = list(islice(decoded(path, "AUTO"), KEPT))
    plan = plan_resize((kept[0].width, kept[0].height), size, manifest.input.resize)
    inner = (plan.inner_width, plan.inner_height)
    tensors = np.random.default_rng(0).integers(0, 255, (runtime.slots, 1, *size[::-1], 3), np.uint8)
    return {
        "decode": {
            "PyAV, one thread": lambda: count(decoded(path, "NONE")),
            "PyAV, many threads": lambda: count(decoded(path, "AUTO")),
            "OpenCV": lambda: opencv_frames(path),
        },
        "resize": {name: partial(repeated, kept, inner, resize) for name, resize in RESIZES.items()},
        "inference": {"OpenVINO, throughput": lambda: infer(runtime, tensors, SEGMENT // 2)},
    }


def on_all_cores(work: Callable[[], int]) -> int:
    """Do the same work in as many threads as there are cores. Returns the frames of all."""
    with ThreadPoolExecutor(CORES) as pool:
        return sum(pool.map(lambda _: work(), range(CORES)))


def measure_beside(batch: "LocalBatch", found: Costs) -> None:
    """Measure the pipeline while another process uses a core, and with inference threads that give way to it."""
    runtime = open_runtime(batch.folder, batch.manifest, RuntimeSpec("CPU"), niceness=GIVING_WAY)
    polite, title = batch._replace(runtime=runtime), f"pipeline, niceness {GIVING_WAY}"
    found.setdefault(title, []).append(cost_of(polite.run))
    with busy_core():
        found.setdefault("pipeline beside a busy process", []).append(cost_of(batch.run))
        found.setdefault(f"{title}, beside it", []).append(cost_of(polite.run))


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with another process, in a session of this one, so that its priority counts."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            yield
        finally:
            process.kill()


def report(case: Case, found: Costs, parts: list[str]) -> None:
    """Print the figures. Shares are per round, as the machine changes between them."""
    print(f"\n{case.title}")
    costs = {name: Cost(*np.median(rounds, axis=0)) for name, rounds in found.items()}
    best = []
    for part in parts:
        ways = sorted((name for name in costs if name.startswith(f"{part}:")), key=lambda name: costs[name].cpu_ms)
        best.append(ways[0])
        for name in ways:
            print(f"  {name:44} {costs[name].cpu_ms:7.3f}")
    in_use = [name for name in costs if name.startswith(ALL_BUSY)]
    for name in in_use:
        print(f"  {name:44} {costs[name].cpu_ms:7.3f}")
    leasts, in_uses = sums(found, best), sums(found, [*in_use, best[-1]])
    for title, sum_ms in (("the three together", leasts), (f"{ALL_BUSY}the three together", in_uses)):
        least = float(np.median(sum_ms))
        print(f"  {title:44} {least:7.3f}   limit {1e3 * CORES / least:7.1f} frames/s")
    for name in [name for name in costs if name.startswith("pipeline")]:
        print(f"  {name:44} {costs[name].cpu_ms:7.3f}         {1e3 / costs[name].wall_ms:7.1f} frames/s")
        cpu, wall = np.array(found[name]).T
        by_clock, by_cpu, busy = leasts / CORES / wall, leasts / cpu, cpu / wall / CORES
        print(
            f"    of the limit {np.median(by_clock):.1%} by wall-clock time ({by_clock.min():.0%} to "
            f"{by_clock.max():.0%}), {np.median(in_uses / CORES / wall):.1%} of that of all cores busy; "
            f"{np.median(by_cpu):.1%} by CPU, {np.median(busy):.1%} of the available cores"
        )


def sums(found: Costs, names: list[str]) -> NDArray[np.float64]:
    """(rounds,) CPU milliseconds per frame of these parts together."""
    return np.sum([[cost.cpu_ms for cost in found[name]] for name in names], axis=0)


def report_peer(found: Costs, peer: Peer | str) -> None:
    """Print the peer's speed and the ratio to it, the median of the rounds', or the reason why there is none."""
    if isinstance(peer, str):
        print(f"  posenet-python: {peer}")
        return
    ratios = [theirs.wall_ms / ours.wall_ms for theirs, ours in zip(found["peer"], found["pipeline"], strict=True)]
    frames_per_s = 1e3 / float(np.median([cost.wall_ms for cost in found["peer"]]))
    print(
        f"  posenet-python at {peer.size}: {frames_per_s:.1f} frames/s; the pipeline has {np.median(ratios):.2f} times "
        f"as many ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def cost_of(work: Callable[[], int]) -> Cost:
    """Measure the cost per frame. work: returns its number of frames"""
    cpu_s, begun = all_cpu_s(), time.perf_counter()
    frames = work()
    wall_s = time.perf_counter() - begun
    return Cost(1e3 * (all_cpu_s() - cpu_s) / frames, 1e3 * wall_s / frames)


def all_cpu_s() -> float:
    """CPU time of this process and its decoders, which getrusage does not count before they end."""
    theirs = 0.0
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("storage.sandbox" in word for word in child.cmdline()):
                theirs += sum(child.cpu_times()[:2])
    return time.process_time() + theirs


def decoded(path: Path, threads: str) -> Iterator[VideoFrame]:
    """Decode the first segment."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        yield from islice(container.decode(stream), SEGMENT)


def count(frames: Iterator[VideoFrame]) -> int:
    return sum(1 for _ in frames)


def opencv_frames(path: Path) -> int:
    capture, frames = cv2.VideoCapture(str(path)), 0
    while frames < SEGMENT and capture.grab():  # not retrieved: no colours are converted
        frames += 1
    return frames


def by_swscale(frame: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(frame.reformat(*size, format="rgb24", interpolation="FAST_BILINEAR").to_ndarray(), np.uint8)


RESIZES: dict[str, Callable[[VideoFrame, tuple[int, int]], Any]] = {
    "OpenCV, planes first": lambda frame, size: to_rgb(frame, size, DisplayGeometry(frame.width, frame.height)),
    "swscale, fast bilinear": by_swscale,
    "OpenCV, all pixels to RGB first": lambda frame, size: cv2.resize(frame.to_ndarray(format="rgb24"), size),
}


def repeated(
    kept: list[VideoFrame], size: tuple[int, int], resize: Callable[[VideoFrame, tuple[int, int]], Any]
) -> int:
    for frame in kept:
        resize(frame, size)
    return len(kept)


def infer(runtime: Runtime, tensors: NDArray[np.uint8], frames: int) -> int:
    """Run inference only, without reading the outputs."""
    slots = runtime.slots
    for number in range(frames):
        if number >= slots:
            runtime.wait(number % slots)
        runtime.start(number % slots, tensors[number % slots])
    for slot in range(min(slots, frames)):
        runtime.wait(slot)
    return frames


class LocalBatch(NamedTuple):
    """A batch over one video by the loop of a local batch, without its listing and without Prefect."""

    scratch: Path
    path: Path
    video: Video
    frames: FrameIndex
    folder: Path
    manifest: Manifest
    runtime: Runtime
    sandbox: Sandbox

    def run(self) -> int:
        """Run into a new database that is already migrated."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder, ResultReader() as results:
            settings = Settings(home=Path(folder))
            engine = open_database(f"sqlite:///{shutil.copy(self.scratch / MIGRATED, folder)}")
            site = Site(settings, engine, FolderArtifacts(Path(folder) / "artifacts"))
            night = self._night(site, results)
            (entry,) = [entry for entry in night.archive.list() if entry.key == self.path.name]
            probes = Probes()
            probes.keep(entry, state_of(self.path), self.video, self.frames)
            progress = FrameProgress(self.video.frames)
            setup = InferenceSetup(self.manifest, self.runtime, self.sandbox, "bench", settings.decoder_cpu_s)
            video_id = 1
            run_segments(night, {video_id: entry}, probes, setup, progress)
            engine.dispose()
        assert progress.done == self.video.frames
        return progress.done

    def _night(self, site: Site, results: ResultReader) -> Night:
        model = make_model(self.manifest.version_id)
        _, model_version_id, batch_id = planned_batch(site.engine, self.video, SEGMENT, model=model)
        location = str(self.path.parent)
        return Night(
            location=location,
            batch_id=batch_id,
            model_version_id=model_version_id,
            folder=self.folder,
            manifest=self.manifest,
            site=site,
            sandbox=self.sandbox,
            archive=site.archive(location),
            results=results,
        )


if __name__ == "__main__":
    main()
