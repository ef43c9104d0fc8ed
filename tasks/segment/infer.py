"""Inference of one segment on one device: frames from the sandbox, rows from the pipeline. No SQL, no store."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.inference.pipeline import FrameResult, FrameTensor, decoder_for, run_pipeline
from models.inference.preprocess import plan_resize
from models.inference.runtime import Runtime
from models.inference.segments import sampled_frames
from models.manifest import Manifest
from models.types import Classifications, FrameIndex, Poses, Rows, Segment, SegmentReport
from storage.parquet import Result
from storage.sandbox.parent import Sandbox, Stream
from tasks.segment.open_video import LocalVideo
from tasks.segment.sandboxed import segment_tensors

# Decoded frames that wait for the device, besides those it has: a keyframe takes ten times as long as other frames.
LOOKAHEAD = 16
_GATHER: dict[str, Callable[[Any], Rows]] = {"pose": Poses.gather, "classification": Classifications.gather}


@dataclass(frozen=True)
class InferenceSetup:
    """A model on a device, the sandbox that decodes, and limits: the same for all segments of a run.

    worker: name that the results contain
    cpu_s: CPU seconds that decoding one segment may take
    """

    manifest: Manifest
    runtime: Runtime
    sandbox: Sandbox
    worker: str
    cpu_s: float


def infer_segment(
    local: LocalVideo, segment: Segment, setup: InferenceSetup, on_frames: Callable[[int], None]
) -> Result:
    """Run the model over the segment.

    on_frames: receives the number of frames done since its last call, and may raise to stop the work

    Raises VideoError or SandboxError for faults of the input, RuntimeFault for faults of the device, AttemptError for
    other faults.
    """
    path, video, index = local
    manifest, runtime = setup.manifest, setup.runtime
    size = (manifest.input.width, manifest.input.height)
    resize = plan_resize((video.width, video.height), size, manifest.input.resize)
    decode, wanted = decoder_for(manifest, resize), _wanted(index, segment, manifest.frames_per_second)
    arguments = (path, video, index, segment.start_frame, segment.stop_frame, resize, wanted)
    shape, slots = (*size[::-1], 3), 2 * runtime.slots + LOOKAHEAD
    begun, results, next_frame = time.monotonic(), [], segment.start_frame
    with setup.sandbox.stream(segment_tensors, *arguments, shape=shape, slots=slots, cpu_s=setup.cpu_s) as stream:
        for result in run_pipeline(_shared_frames(stream, runtime.slots), runtime, decode):
            results.append(result)
            on_frames(result.number + 1 - next_frame)
            next_frame = result.number + 1
    undecodable = _missing(segment, wanted, results)
    report = SegmentReport(
        frames_done=segment.frames - len(undecodable),
        undecodable=undecodable,
        device=runtime.device,
        precision=runtime.precision,
        worker=setup.worker,
        wall_s=time.monotonic() - begun,
    )
    return Result(video, segment, manifest.version_id, _GATHER[manifest.task](results), report)


def _wanted(index: FrameIndex, segment: Segment, frames_per_second: float | None) -> NDArray[np.int64] | None:
    """Return the segment's frames to infer; None: all of them."""
    if frames_per_second is None:
        return None
    sampled = sampled_frames(index.timestamps_s, frames_per_second)
    return sampled[np.searchsorted(sampled, segment.start_frame) : np.searchsorted(sampled, segment.stop_frame)]


def _shared_frames(stream: Stream, in_flight: int) -> Iterator[FrameTensor]:
    """Yield frames in shared memory, and release each when the pipeline has finished it."""
    for ordinal, ((number, t_s), tensor) in enumerate(stream):
        yield FrameTensor(int(number), t_s, tensor[None])
        if ordinal >= in_flight:
            stream.release()


def _missing(segment: Segment, wanted: NDArray[np.int64] | None, results: list[FrameResult]) -> tuple[int, ...]:
    """Return the requested frames that the decoder did not deliver."""
    asked = range(segment.start_frame, segment.stop_frame) if wanted is None else wanted.tolist()
    seen = {result.number for result in results}
    return tuple(number for number in asked if number not in seen)
