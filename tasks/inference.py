"""One segment through one device: frames from the sandbox, poses from the pipeline. No SQL, no store, no lease."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from models.manifest import Manifest
from models.pipeline import FrameResult, FrameTensor, decoder_for, run_pipeline
from models.preprocess import plan_resize
from models.runtime import Runtime
from models.types import FrameIndex, Poses, Segment, SegmentReport, Video
from storage.parquet import Result
from storage.sandbox import Sandbox, Stream
from tasks.frames import segment_tensors

# Decoded frames that wait for the device, beside those it has: a keyframe takes ten times as long as the others.
LOOKAHEAD = 16


def infer_segment(
    path: Path,
    video: Video,
    index: FrameIndex,
    segment: Segment,
    manifest: Manifest,
    runtime: Runtime,
    sandbox: Sandbox,
    worker: str,
    cpu_s: float,
    on_frame: Callable[[], None],
) -> Result:
    """What the model sees in the segment.

    worker: whose name the result bears; on_frame is called after each frame, and may raise to stop the work

    Raises VideoError or SandboxError where the input is at fault, RuntimeFault where the device is.
    """
    size = (manifest.input.width, manifest.input.height)
    resize = plan_resize((video.width, video.height), size, manifest.input.resize)
    decode = decoder_for(manifest, resize)
    arguments = (path, video, index, segment.start_frame, segment.stop_frame, resize)
    shape, slots = (*size[::-1], 3), 2 * runtime.slots + LOOKAHEAD
    begun, results = time.monotonic(), []
    with sandbox.stream(segment_tensors, *arguments, shape=shape, slots=slots, cpu_s=cpu_s) as stream:
        for result in run_pipeline(_shared_frames(stream, runtime.slots), runtime, decode):
            results.append(result)
            on_frame()
    report = _report(segment, results, runtime, worker, time.monotonic() - begun)
    return Result(video, segment, manifest.version_id, Poses.gather(results), report)


def _shared_frames(stream: Stream, in_flight: int) -> Iterator[FrameTensor]:
    """Frames in shared memory, each given back when the pipeline, asking for another one, is through with it."""
    for ordinal, ((number, t_s), tensor) in enumerate(stream):
        yield FrameTensor(int(number), t_s, tensor[None])
        if ordinal >= in_flight:
            stream.release()


def _report(
    segment: Segment, results: list[FrameResult], runtime: Runtime, worker: str, wall_s: float
) -> SegmentReport:
    seen = {result.number for result in results}
    frames = range(segment.start_frame, segment.stop_frame)
    return SegmentReport(
        frames_done=len(results),
        undecodable=tuple(number for number in frames if number not in seen),
        device=runtime.device,
        precision=runtime.precision,
        worker=worker,
        wall_s=wall_s,
    )
