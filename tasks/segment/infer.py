"""Inference of one segment on one device: frames from the sandbox, rows from the pipeline. No SQL, no store."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.inference.pipeline import (
    FrameResult,
    FrameTensor,
    decoder_for,
    label_regions,
    regions_of,
    run_pipeline,
)
from models.inference.preprocess import plan_cuts, plan_resize
from models.inference.runtime import Runtime
from models.inference.segments import sampled_frames
from models.manifest import Manifest
from models.types import Classifications, FrameIndex, Poses, Region, Rows, Segment, SegmentReport, Video
from storage.parquet import Result
from storage.sandbox.parent import Sandbox, SandboxError, Stream
from tasks.segment.open_video import LocalVideo
from tasks.segment.sandboxed import region_tensors, segment_tensors

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
    manifest, runtime = setup.manifest, setup.runtime
    wanted = _wanted(local.frame_index, segment, manifest.frames_per_second)
    begun, results, next_frame = time.monotonic(), [], segment.start_frame
    with closing(_results(local, segment, setup, wanted)) as found:  # on_frames may raise
        for result in found:
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
    return Result(local.video, segment, manifest.version_id, _GATHER[manifest.task](results), report)


def _results(
    local: LocalVideo, segment: Segment, setup: InferenceSetup, wanted: NDArray[np.int64] | None
) -> Generator[FrameResult, None, None]:
    """Yield the model's result for each frame, from the frame as a whole or from its regions."""
    path, video, index = local
    manifest, runtime = setup.manifest, setup.runtime
    size = (manifest.input.width, manifest.input.height)
    resize = plan_resize((video.width, video.height), size, manifest.input.resize)
    decode, by_region = decoder_for(manifest, resize), regions_of(manifest)
    frames = (path, video, index, segment.start_frame, segment.stop_frame)
    stream_of = partial(
        setup.sandbox.stream, shape=(*size[::-1], 3), slots=2 * runtime.slots + LOOKAHEAD, cpu_s=setup.cpu_s
    )
    if by_region is None:
        with stream_of(segment_tensors, *frames, resize, wanted) as stream:
            frames_only = (frame for frame, _ in _shared_tensors(stream, runtime.slots))
            yield from run_pipeline(frames_only, runtime, decode)
        return
    (params, spec), shown = by_region, (video.width, video.height)
    with stream_of(region_tensors, *frames, plan_cuts(shown, spec, size), wanted) as stream:
        tensors = ((frame, _region(place, video)) for frame, place in _shared_tensors(stream, runtime.slots))
        yield from label_regions(tensors, runtime, params)


def _wanted(index: FrameIndex, segment: Segment, frames_per_second: float | None) -> NDArray[np.int64] | None:
    """Return the segment's frames to infer; None: all of them."""
    if frames_per_second is None:
        return None
    sampled = sampled_frames(index.timestamps_s, frames_per_second)
    return sampled[np.searchsorted(sampled, segment.start_frame) : np.searchsorted(sampled, segment.stop_frame)]


def _shared_tensors(stream: Stream, in_flight: int) -> Iterator[tuple[FrameTensor, list[float]]]:
    """Yield tensors in shared memory, each with the place of its region, which is empty for a whole frame.

    Each is released when the pipeline, asking for another one, has finished with it.
    """
    for ordinal, ((number, t_s, *place), tensor) in enumerate(stream):
        yield FrameTensor(int(number), t_s, tensor[None]), place
        if ordinal >= in_flight:
            stream.release()


def _region(place: list[float], video: Video) -> Region:
    """Return the region that the sandbox named. Raises SandboxError where it is not inside the frame."""
    region = Region(*map(int, place))
    if min(region) < 0 or region.left + region.width > video.width or region.top + region.height > video.height:
        raise SandboxError("The decoder's process named a region outside of the frame.")
    return region


def _missing(segment: Segment, wanted: NDArray[np.int64] | None, results: list[FrameResult]) -> tuple[int, ...]:
    """Return the requested frames that the decoder did not deliver."""
    asked = range(segment.start_frame, segment.stop_frame) if wanted is None else wanted.tolist()
    seen = {result.number for result in results}
    return tuple(number for number in asked if number not in seen)
