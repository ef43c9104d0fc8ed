"""Pipeline from frames to results on a device: overlapped, in order, in bounded memory. No files, no SQL, no OpenVINO.

While the device works on the requests in flight, the next frames are decoded elsewhere and the previous outputs are
read here, so that neither waits for the other.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoders.candidates import CandidateParams
from models.decoders.classifier import ClassifyParams, classify, classify_regions, score_region
from models.decoders.movenet import MoveNetParams, decode_movenet
from models.decoders.openpose import OpenPoseParams, decode_openpose
from models.decoders.posenet import DecodeParams, decode_frames
from models.decoders.region_spec import RegionSpec
from models.decoders.regions import RegionScore
from models.decoders.rtmo import decode_rtmo
from models.decoders.yolo_pose import decode_yolo_pose
from models.inference.preprocess import Resize
from models.inference.runtime import Runtime, RuntimeFault, check_outputs
from models.manifest import Manifest
from models.types import FrameLabel, FramePoses, NightjarError, Region

Outputs = Mapping[str, NDArray[np.float32]]
Seen = FramePoses | FrameLabel | RegionScore
Decoder = Callable[[Sequence[Outputs]], list[Seen]]
"""Reads the outputs of several frames at once, which costs less than one by one."""


class FrameTensor(NamedTuple):
    """A frame ready for the device.

    number: frame of the video; t_s: seconds on a player's clock
    tensor: (1, height, width, 3) uint8 RGB, unchanged until `Runtime.slots` further frames were requested
    """

    number: int
    t_s: float
    tensor: NDArray[np.uint8]


class FrameResult(NamedTuple):
    """Result of the model for one frame, in pixels of the original frame."""

    number: int
    t_s: float
    seen: Seen


def one_by_one(read: Callable[[Outputs], Seen]) -> Decoder:
    """Return a decoder that reads each frame by itself."""
    return lambda outputs: [read(frame) for frame in outputs]


def _posenet(params: dict[str, Any]) -> Decoder:
    decode = DecodeParams(**params)
    return lambda outputs: list(decode_frames(outputs, decode, finite=True))


# By manifest.decoder: from its parameters to a reader of outputs that are finite. People are in pixels of the tensor.
DECODERS: dict[str, Callable[[dict[str, Any]], Decoder]] = {
    "posenet": _posenet,
    "openpose": lambda params: one_by_one(partial(decode_openpose, params=OpenPoseParams(**params))),
    "movenet": lambda params: one_by_one(partial(decode_movenet, params=MoveNetParams(**params))),
    "rtmo": lambda params: one_by_one(partial(decode_rtmo, params=CandidateParams(**params))),
    "yolo-pose": lambda params: one_by_one(partial(decode_yolo_pose, params=CandidateParams(**params))),
    "classifier": lambda params: one_by_one(partial(classify, params=ClassifyParams(**params))),
}


def decoder_for(manifest: Manifest, resize: Resize) -> Decoder:
    """Return a function from the model's outputs to its people or labels, in pixels of the frame before `resize`.

    Raises NightjarError where the manifest names an unknown decoder, or parameters that are not the decoder's.
    """
    try:
        read = DECODERS[manifest.decoder](manifest.decode_params)
    except (KeyError, TypeError, ValueError) as error:
        raise NightjarError(
            f"{manifest.name} has the decoder {manifest.decoder!r} with the parameters {manifest.decode_params} "
            f"({error}), and the decoders are {', '.join(DECODERS)}. Convert the model again, or choose another one."
        ) from error
    return lambda outputs: _in_frames(read(outputs), resize)


def _in_frames(seen: list[Seen], resize: Resize) -> list[Seen]:
    """Convert the people of frames from pixels of the tensor to those of the frames, all at once."""
    people = [one for one in seen if isinstance(one, FramePoses)]
    if not people:
        return seen
    bounds = pairwise(accumulate((len(one.scores) for one in people), initial=0))
    keypoints = inside_frame(np.concatenate([one.keypoints for one in people]), resize)
    return [one._replace(keypoints=keypoints[start:stop]) for one, (start, stop) in zip(people, bounds, strict=True)]


def regions_of(manifest: Manifest) -> tuple[ClassifyParams, RegionSpec] | None:
    """Return how a classifier looks at regions of a frame; None = the model looks at whole frames.

    The manifest must have been accepted by `decoder_for`.
    """
    if manifest.decoder != "classifier":
        return None
    params = ClassifyParams(**manifest.decode_params)
    return None if params.regions is None else (params, params.regions)


def inside_frame(keypoints: NDArray[np.float32], resize: Resize) -> NDArray[np.float32]:
    """(..., 2) x, y in pixels of the tensor -> of the frame; NaN stays NaN.

    A position outside the frame becomes the nearest pixel of its edge. It gets no farther from any position inside, so
    that no keypoint of an annotated person is measured worse.
    """
    last_pixel = np.array([resize.source_width - 1, resize.source_height - 1], np.float32)
    return np.clip(resize.to_original(keypoints), 0, last_pixel)


def run_pipeline(
    frames: Iterable[FrameTensor], runtime: Runtime, decode: Decoder
) -> Generator[FrameResult, None, None]:
    """Yield one result per frame, in the frames' order, with at most `runtime.slots` frames in flight.

    Raises RuntimeFault when the device is lost or returns values that are not numbers, and whatever `frames` raises.
    """
    in_flight: deque[tuple[int, FrameTensor]] = deque()
    try:
        for ordinal, frame in enumerate(frames):
            if len(in_flight) == runtime.slots:
                yield from _finish(runtime, decode, in_flight)
            slot = ordinal % runtime.slots
            runtime.start(slot, frame.tensor)
            in_flight.append((slot, frame))
        while in_flight:
            yield from _finish(runtime, decode, in_flight)
    finally:
        # Abandoned: the device still reads the tensors, whose memory is about to be reused.
        for slot, _ in in_flight:
            with suppress(RuntimeFault):  # every slot of a lost device fails; the first error was raised
                runtime.wait(slot)


def label_regions(
    tensors: Iterable[tuple[FrameTensor, Region]], runtime: Runtime, params: ClassifyParams
) -> Generator[FrameResult, None, None]:
    """Yield one label per frame from the scores of its regions, one inference each.

    tensors: all regions of a frame before the next frame's. Raises as `run_pipeline` does.
    """
    in_flight: deque[Region] = deque()

    def noted() -> Iterator[FrameTensor]:
        for tensor, region in tensors:
            in_flight.append(region)
            yield tensor

    def score(outputs: Outputs) -> RegionScore:
        return score_region(outputs, params, in_flight.popleft())  # outputs come in the order of the tensors

    with closing(run_pipeline(noted(), runtime, one_by_one(score))) as scored:
        for (number, t_s), group in groupby(scored, key=lambda result: result[:2]):
            scores = [result.seen for result in group if isinstance(result.seen, RegionScore)]
            yield FrameResult(number, t_s, classify_regions(scores, params))


def _finish(runtime: Runtime, decode: Decoder, in_flight: deque[tuple[int, FrameTensor]]) -> list[FrameResult]:
    """Take the oldest frames out of the device and read their outputs together."""
    frames: list[FrameTensor] = []
    outputs: list[Outputs] = []
    while in_flight and len(frames) < runtime.at_once:
        slot, frame = in_flight.popleft()
        frames.append(frame)
        outputs.append(runtime.wait(slot))
        check_outputs(runtime.device, outputs[-1])
    seen = decode(outputs)
    return [FrameResult(frame.number, frame.t_s, one) for frame, one in zip(frames, seen, strict=True)]
