"""Speed of the pipeline compared with the limit of its parts: `python -m tests.benchmarks.bench_pipeline`.

The limit is the machine's speed if only decoding, resizing and inference took time, each with its best library, and no
core ever waited: cores / (sum of their CPU seconds per frame). The pipeline is a batch's: segments from the file to
committed rows in SQLite. Rounds are interleaved, so that other work on the machine affects all alike, and medians are
printed. The share by the clock depends on the machine's free cores. The share by CPU seconds (parts / pipeline) shows
the pipeline's own cost, and the use of the cores is the other factor.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from sqlalchemy import Engine

from models.inference.devices import open_runtime
from models.inference.preprocess import plan_resize
from models.inference.runtime import Runtime
from models.inference.spec import RuntimeSpec
from models.manifest import MANIFEST_FILE, Manifest
from models.types import FrameIndex, Video
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.objects.artifacts import FolderArtifacts
from storage.sandbox.parent import Sandbox
from storage.sql.database import migrate, open_database
from storage.video.geometry import DisplayGeometry
from storage.video.pixels import to_rgb
from storage.video.probe import probe_video
from tasks.segment.infer import InferenceSetup, infer_segment
from tasks.segment.open_video import LocalVideo
from tasks.segment.result_files import put, result_key
from tests.storage.samples import make_model, planned_batch

DATA = Path(os.environ.get("NIGHTJAR_TEST_DATA", "../shared/data"))
VIDEOS = {
    "768x432": "videos/intel_one-by-one-person-detection.mp4",
    "1768x994": "videos/sports2d_demo.mp4",
}
MODELS = {
    "posenet-050": "posenet/tfjs_graph_uint16_050/model-stride16.json",
    "posenet-075": "posenet/tfjs_manifest_075/manifest.json",
}
CONVERT = (
    "import sys; from pathlib import Path; from models.conversion.convert import convert; "
    "from models.conversion.spec import ConvertSpec; "
    "convert(Path(sys.argv[1]), ConvertSpec(sys.argv[2]), Path(sys.argv[3]))"
)
FRAMES = 690  # of each video, repeated where it is shorter: a segment, nearly as long as a batch's
KEPT = 60  # decoded frames that are resized repeatedly
SIZE = (224, 224)
MIGRATED = "migrated.sqlite"
CORES = len(os.sched_getaffinity(0))


class Cost(NamedTuple):
    """Cost of one frame in milliseconds."""

    cpu_ms: float
    wall_ms: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the title, such as 'posenet-075, 768'")
    parser.add_argument("--models", type=Path, help="folder of converted models, kept between runs")
    arguments = parser.parse_args()
    print(f"{CORES} cores, load {os.getloadavg()[0]:.1f}; CPU ms per frame, medians of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.models or Path(scratch) / "models"
        for size, video in VIDEOS.items():
            path = lengthened(DATA / video, Path(scratch) / f"{size}{Path(video).suffix}", FRAMES)
            for name, source in MODELS.items():
                if arguments.only in (title := f"{name}, {size}"):
                    measure(title, path, converted(name, DATA / source, folder / name), arguments.rounds)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def converted(name: str, source: Path, folder: Path) -> Path:
    """Convert in another process: TensorFlow's memory and threads do not belong to the pipeline."""
    if not (folder / MANIFEST_FILE).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", CONVERT, str(source), name, str(folder)], check=True, capture_output=True)
    return folder


def lengthened(source: Path, target: Path, frames: int) -> Path:
    """Copy the video's packets, repeated if necessary, until it has this number of frames, without encoding."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        whole = (packet for packet in given.demux(stream) if packet.size)
        packets = [(packet, packet.pts or 0, packet.dts or 0) for packet in islice(whole, frames)]
        copy = out.add_stream_from_template(stream)
        first = min(pts for _, pts, _ in packets)
        length = max(pts + (packet.duration or 0) for packet, pts, _ in packets) - first
        for turn in range(-(-frames // len(packets))):
            for packet, pts, dts in packets:
                packet.stream, packet.time_base = copy, stream.time_base or Fraction(1, 1000)
                packet.pts, packet.dts = pts - first + turn * length, dts - first + turn * length
                out.mux(packet)
    return target


def measure(title: str, path: Path, folder: Path, rounds: int) -> None:
    video, index = probe_video(path)
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    runtime = open_runtime(folder, manifest, RuntimeSpec("CPU"))
    kept = list(islice(decoded(path, "AUTO"), KEPT))
    tensors = np.random.default_rng(0).integers(0, 255, (runtime.slots, 1, *SIZE, 3), np.uint8)
    parts: dict[str, dict[str, Callable[[], int]]] = {
        "decode": {
            "PyAV, many threads": lambda: count(decoded(path, "AUTO")),
            "PyAV, one thread": lambda: count(decoded(path, "NONE")),
            "OpenCV": lambda: opencv_frames(path),
        },
        "resize": {name: partial(repeated, kept, resize) for name, resize in RESIZES.items()},
        "inference": {"OpenVINO, throughput": lambda: infer(runtime, tensors, video.frames // 2)},
    }
    with tempfile.TemporaryDirectory() as scratch, Sandbox() as sandbox:
        engine = open_database(f"sqlite:///{scratch}/{MIGRATED}")
        migrate(engine)
        engine.dispose()
        batch = LocalBatch(Path(scratch), path, video, index, manifest, runtime, sandbox)
        batch.run()  # warm: the child is started
        found: dict[str, list[Cost]] = {}
        for _ in range(rounds):
            for part, ways in parts.items():
                for way, work in ways.items():
                    found.setdefault(f"{part}: {way}", []).append(cost_of(work))
            found.setdefault("pipeline", []).append(cost_of(batch.run))
    report(title, found, list(parts))


def report(title: str, found: dict[str, list[Cost]], parts: list[str]) -> None:
    """Print the figures. found: one cost per round. Shares are per round, as the machine changes between them."""
    print(f"\n{title}")
    costs = {name: Cost(*np.median(rounds, axis=0)) for name, rounds in found.items()}
    best = []
    for part in parts:
        ways = sorted((name for name in costs if name.startswith(f"{part}:")), key=lambda name: costs[name].cpu_ms)
        best.append(ways[0])
        for name in ways:
            print(f"  {name:40} {costs[name].cpu_ms:7.3f}")
    whole, least = costs["pipeline"], sum(costs[name].cpu_ms for name in best)
    print(f"  {'the three together':40} {least:7.3f}   limit {1e3 * CORES / least:7.1f} frames/s")
    print(f"  {'pipeline, file to committed rows':40} {whole.cpu_ms:7.3f}         {1e3 / whole.wall_ms:7.1f} frames/s")
    leasts = np.sum([[cost.cpu_ms for cost in found[name]] for name in best], axis=0)
    cpu, wall = np.array(found["pipeline"]).T
    by_clock, by_cpu, busy = leasts / CORES / wall, leasts / cpu, cpu / wall / CORES
    print(
        f"  of the limit {np.median(by_clock):.1%} by the clock ({by_clock.min():.0%} to {by_clock.max():.0%}); "
        f"{np.median(by_cpu):.1%} by CPU, {np.median(busy):.1%} of the available cores"
    )


def cost_of(work: Callable[[], int]) -> Cost:
    """Measure the cost per frame. work: returns its number of frames"""
    cpu_s, begun = all_cpu_s(), time.perf_counter()
    frames = work()
    wall_s = time.perf_counter() - begun
    return Cost(1e3 * (all_cpu_s() - cpu_s) / frames, 1e3 * wall_s / frames)


def all_cpu_s() -> float:
    """CPU time of this process and its living children, which getrusage does not count before they end."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    theirs = 0
    for pid in children:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        theirs += int(fields[11]) + int(fields[12])
    return time.process_time() + theirs * tick_s


def decoded(path: Path, threads: str) -> Iterator[VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        yield from container.decode(stream)


def count(frames: Iterator[VideoFrame]) -> int:
    return sum(1 for _ in frames)


def opencv_frames(path: Path) -> int:
    capture, frames = cv2.VideoCapture(str(path)), 0
    while capture.grab():  # not retrieved: no colours are converted
        frames += 1
    return frames


def by_swscale(frame: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(frame.reformat(*size, format="rgb24", interpolation="FAST_BILINEAR").to_ndarray(), np.uint8)


RESIZES: dict[str, Callable[[VideoFrame, tuple[int, int]], Any]] = {
    "OpenCV, planes first": lambda frame, size: to_rgb(frame, size, DisplayGeometry(frame.width, frame.height)),
    "swscale, fast bilinear": by_swscale,
    "OpenCV, all pixels to RGB first": lambda frame, size: cv2.resize(frame.to_ndarray(format="rgb24"), size),
}


def repeated(kept: list[VideoFrame], resize: Callable[[VideoFrame, tuple[int, int]], Any]) -> int:
    plan = plan_resize((kept[0].width, kept[0].height), SIZE, "letterbox")
    for frame in kept:
        resize(frame, (plan.inner_width, plan.inner_height))
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
    """One video, one segment at a time, like tasks/batch/local.py, without Prefect."""

    scratch: Path
    path: Path
    video: Video
    frames: FrameIndex
    manifest: Manifest
    runtime: Runtime
    sandbox: Sandbox

    def run(self) -> int:
        """Run into a new database that is already migrated."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            engine = open_database(f"sqlite:///{shutil.copy(self.scratch / MIGRATED, folder)}")
            frames = self._segments(engine, FolderArtifacts(Path(folder)))
            engine.dispose()
        return frames

    def _segments(self, engine: Engine, artifacts: FolderArtifacts) -> int:
        version_id, frames = self.manifest.version_id, 0
        _, _, batch_id = planned_batch(engine, self.video, self.video.frames, model=make_model(version_id))
        while mine := claim(engine, batch_id, "bench", 60):
            setup = InferenceSetup(self.manifest, self.runtime, self.sandbox, "bench", 600.0)
            local = LocalVideo(self.path, self.video, self.frames)
            result = infer_segment(local, mine.segment, setup, lambda _: None)
            stored = put(artifacts, result_key(version_id, mine.segment, mine.attempt), result)
            assert commit_segment(engine, mine, result.rows, result.report, *stored)
            frames += result.report.frames_done
        return frames


if __name__ == "__main__":
    main()
