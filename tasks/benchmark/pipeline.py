"""Speed from a video to its rows, by stage, with the code of a batch: sandbox, device, decoder, Parquet, SQL.

The rows go to a temporary database and store under a given folder and are no results.
"""

import dataclasses
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter, process_time, thread_time

import numpy as np
from numpy.typing import NDArray

from models.inference.benchmark import Latency, latency_of
from models.inference.runtime import Runtime
from models.inference.segments import plan_segments
from models.manifest import Manifest
from models.types import FrameIndex, NightjarError, Segment, Video
from storage.ledger.commit import load_result
from storage.objects.artifacts import open_artifacts
from storage.objects.s3 import S3Options
from storage.parquet import Result
from storage.sandbox.parent import Sandbox
from storage.sql.catalogue import register_model
from storage.sql.database import Database, migrate, open_database
from tasks.benchmark.machine import cpu_s, peak_memory_bytes
from tasks.model.stored import version_of
from tasks.segment.infer import InferenceSetup, infer_segment
from tasks.segment.open_video import LocalVideo, probe
from tasks.segment.result_files import put, result_key
from tasks.site.settings import ReadLimits

LONGEST_SEGMENT_S = 60.0  # the default of a batch
SHORTEST_SEGMENT_S = 1.0
DECODER_CPU_S = 3600.0
READ_LIMITS = ReadLimits(DECODER_CPU_S, 2 * DECODER_CPU_S)


@dataclass(frozen=True)
class PipelineSpeed:
    """Figures of one measurement. latency: from a frame's start on the device to its decoded result

    CPU milliseconds per frame:
    decode_cpu_ms: decoding, in the sandbox's child
    inference_cpu_ms: OpenVINO, in this process
    reading_cpu_ms: decoding outputs to poses or a label
    storing_cpu_ms: Parquet and SQL
    other_cpu_ms: passing on frames, collecting rows
    decoder_memory_bytes: peak memory of the sandbox's child
    """

    video: Video
    frames: int
    seconds: float
    latency: Latency
    decode_cpu_ms: float
    inference_cpu_ms: float
    reading_cpu_ms: float
    storing_cpu_ms: float
    other_cpu_ms: float
    decoder_memory_bytes: int

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds


class TimedRuntime:
    """A runtime that records the latency of each frame and the CPU time of its thread.

    The pipeline waits for one or several frames and reads their outputs; then its `on_frames` calls `record_frame` for
    each of them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.device, self.precision = runtime.device, runtime.precision
        self.slots, self.at_once = runtime.slots, runtime.at_once
        self.device_cpu_s = self.reading_cpu_s = 0.0
        self.taken_s: list[float] = []
        self._started_at = [0.0] * runtime.slots
        self._waited: deque[int] = deque()  # slots of frames that are not recorded yet
        self._reading_since = 0.0

    def start(self, slot: int, tensor: NDArray[np.uint8]) -> None:
        self._started_at[slot], begun = perf_counter(), thread_time()
        self._runtime.start(slot, tensor)
        self.device_cpu_s += thread_time() - begun

    def wait(self, slot: int) -> dict[str, NDArray[np.float32]]:
        begun = thread_time()
        if self._waited:  # the outputs of the one before were checked meanwhile
            self.reading_cpu_s += begun - self._reading_since
        outputs = self._runtime.wait(slot)
        self._reading_since = thread_time()
        self.device_cpu_s += self._reading_since - begun
        self._waited.append(slot)
        return outputs

    def record_frame(self, _frames: int) -> None:
        slot, now = self._waited.popleft(), thread_time()
        self.reading_cpu_s += now - self._reading_since
        self._reading_since = now
        self.taken_s.append(perf_counter() - self._started_at[slot])


@dataclass
class _TimeSums:
    """Seconds over the segments so far: wall clock, and CPU time of child, process, this thread and storing."""

    clock: float = 0.0
    child: float = 0.0
    process: float = 0.0
    thread: float = 0.0
    storing: float = 0.0


def measure_pipeline(
    path: Path, runtime: Runtime, manifest: Manifest, seconds: float, model_frames_per_s: float, scratch: Path
) -> PipelineSpeed:
    """Run the video repeatedly for the given number of seconds; at least one segment.

    model_frames_per_s: speed of the model alone; a slow device receives shorter segments, to end in time

    Raises VideoError or SandboxError for a faulty video, NightjarError if none of its frames can be decoded.
    """
    with Sandbox() as sandbox:
        video, index = probe(sandbox, path, READ_LIMITS)
        wanted_s = seconds * model_frames_per_s / (video.fps or model_frames_per_s)
        segment_s = min(LONGEST_SEGMENT_S, max(SHORTEST_SEGMENT_S, wanted_s))
        with closing(_PipelineRun(path, index, runtime, manifest, sandbox, scratch)) as run:
            run.warm_up(*next(_segments(video, index, SHORTEST_SEGMENT_S, 0)))
            for copy, segment in _segments(video, index, segment_s, 1):
                run.run(copy, segment)
                if run.sums.clock >= seconds:
                    break
            return _speed(video, run.timed, run.sums, peak_memory_bytes(run.decoder_pid()))


def _segments(video: Video, index: FrameIndex, segment_s: float, first: int) -> Iterator[tuple[Video, Segment]]:
    """Yield segments without end. Each round, from number `first` on, has another video hash, so its rows are new."""
    for number in count(first):
        copy = dataclasses.replace(video, sha256=f"{number:064x}")
        for segment in plan_segments(copy.sha256, index.keyframes, index.timestamps_s, copy.frames, segment_s):
            yield copy, segment


class _PipelineRun:
    """Infers and stores segments one after the other, and adds up the time."""

    def __init__(
        self, path: Path, index: FrameIndex, runtime: Runtime, manifest: Manifest, sandbox: Sandbox, scratch: Path
    ) -> None:
        self._path, self._index, self._manifest, self._sandbox = path, index, manifest, sandbox
        self._runtime = runtime
        self._artifacts = open_artifacts(str(scratch / "store"), S3Options())
        self._engine: Database = open_database(f"sqlite:///{scratch / 'rows.sqlite'}")
        migrate(self._engine)
        register_model(self._engine, version_of(manifest))
        self.timed, self.sums = TimedRuntime(runtime), _TimeSums()

    def decoder_pid(self) -> int:
        pid = self._sandbox.pid
        assert pid is not None
        return pid

    def warm_up(self, video: Video, segment: Segment) -> None:
        """Run the pipeline once, so that imports and first uses are not measured."""
        self._store(self._infer(video, segment, TimedRuntime(self._runtime)))

    def run(self, video: Video, segment: Segment) -> None:
        sums, pid = self.sums, self.decoder_pid()
        clock, child, process, thread = perf_counter(), cpu_s(pid), process_time(), thread_time()
        result = self._infer(video, segment, self.timed)
        sums.child += cpu_s(pid) - child
        sums.thread += thread_time() - thread
        inferred = process_time()
        sums.process += inferred - process
        self._store(result)
        sums.storing += process_time() - inferred
        sums.clock += perf_counter() - clock

    def _infer(self, video: Video, segment: Segment, timed: TimedRuntime) -> Result:
        setup = InferenceSetup(self._manifest, timed, self._sandbox, "benchmark", DECODER_CPU_S)
        return infer_segment(LocalVideo(self._path, video, self._index), segment, setup, timed.record_frame)

    def _store(self, result: Result) -> None:
        stored = put(self._artifacts, result_key(result.version_sha256, result.segment, 1), result)
        load_result(self._engine, result, stored.key, stored.sha256)

    def close(self) -> None:
        self._engine.dispose()


def _speed(video: Video, timed: TimedRuntime, sums: _TimeSums, decoder_memory_bytes: int) -> PipelineSpeed:
    frames = len(timed.taken_s)
    if not frames:
        raise NightjarError("No frame of the video could be decoded. Choose another --video.")
    own = sums.thread - timed.device_cpu_s
    spent_s = {
        "decode": sums.child,
        "inference": sums.process - own,
        "reading": timed.reading_cpu_s,
        "storing": sums.storing,
        "other": own - timed.reading_cpu_s,
    }
    return PipelineSpeed(
        video=video,
        frames=frames,
        seconds=sums.clock,
        latency=latency_of(np.array(timed.taken_s)),
        decoder_memory_bytes=decoder_memory_bytes,
        **{f"{stage}_cpu_ms": 1000 * max(0.0, value) / frames for stage, value in spent_s.items()},
    )
