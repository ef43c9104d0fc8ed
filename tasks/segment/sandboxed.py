"""Functions for the sandbox's child: frames as tensors, pictures with results. No Prefect, no OpenVINO."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoders.regions import plan_tiles
from models.drawing.people import draw_caption, draw_poses
from models.inference.motion import Grey, frames_before, moving_regions, shrink
from models.inference.preprocess import RegionCuts, Resize, cut_region
from models.types import Classifications, FrameIndex, Rows, Video, VideoError
from storage.video.encode import write_video
from storage.video.frames import Frame, read_frames

OVERLAY_WIDTH = 960
STILL_FPS = 1.0  # a video of a single frame has no rate


def segment_tensors(
    slots: Iterator[NDArray[np.uint8]],
    path: Path,
    video: Video,
    index: FrameIndex,
    start: int,
    stop: int,
    resize: Resize,
    wanted: NDArray[np.int64] | None,
) -> Iterator[tuple[int, float]]:
    """Write each frame's tensor (height, width, 3) into the next slot, and yield (frame number, t_s).

    wanted: frame numbers to read, ascending; None = all
    """
    size = (resize.inner_width, resize.inner_height)
    for frame in read_frames(path, video, index, start, stop, size, wanted):
        resize.place(frame.rgb, next(slots))
        yield frame.number, frame.t_s


def region_tensors(
    slots: Iterator[NDArray[np.uint8]],
    path: Path,
    video: Video,
    index: FrameIndex,
    start: int,
    stop: int,
    cuts: RegionCuts,
    wanted: NDArray[np.int64] | None,
) -> Iterator[tuple[int, float, int, int, int, int]]:
    """Yield (frame number, t_s, left, top, width, height) of each region of the segment's frames, frame by frame.

    The region's tensor (height, width, 3) is written into the next slot. wanted: as in `segment_tensors`
    The regions of a frame depend on it and on one earlier frame, and not on where the segment begins.
    """
    shown = video.width, video.height
    tiles = plan_tiles(shown, cuts.spec)
    for frame, before in _with_earlier(path, video, index, range(start, stop), cuts, wanted):
        moving = () if before is None else moving_regions(before, shrink(frame.rgb), shown, cuts.spec.moving)
        for region in (*tiles, *moving):
            cut_region(frame.rgb, region, shown, next(slots))
            yield frame.number, frame.t_s, *region


def _with_earlier(
    path: Path, video: Video, index: FrameIndex, numbers: range, cuts: RegionCuts, wanted: NDArray[np.int64] | None
) -> Iterator[tuple[Frame, Grey | None]]:
    """Yield each frame with the shrunken one that moving regions are found by; None = there is none, or none wanted."""
    own = np.arange(numbers.start, numbers.stop) if wanted is None else wanted
    if not cuts.spec.moving:
        frames = read_frames(path, video, index, numbers.start, numbers.stop, cuts.read_size, wanted)
        yield from ((frame, None) for frame in frames)
        return
    earlier = dict(zip(own.tolist(), frames_before(index.timestamps_s, own, cuts.spec.gap_s).tolist(), strict=True))
    needed = np.unique(np.fromiter(earlier.values(), np.int64))
    shrunken = _shrunken(path, video, index, needed[needed < numbers.start], cuts.read_size)
    asked = np.union1d(own, needed[needed >= numbers.start])
    for frame in read_frames(path, video, index, numbers.start, numbers.stop, cuts.read_size, asked):
        shrunken[frame.number] = shrink(frame.rgb)
        if frame.number in earlier:
            oldest = earlier[frame.number]
            shrunken = {number: grey for number, grey in shrunken.items() if number >= oldest}
            yield frame, shrunken.get(oldest)


def _shrunken(
    path: Path, video: Video, index: FrameIndex, numbers: NDArray[np.int64], size: tuple[int, int]
) -> dict[int, Grey]:
    """Read frames from before a segment. One that cannot be decoded is left out, as it would be inside a segment."""
    found: dict[int, Grey] = {}
    if len(numbers):
        with suppress(VideoError):
            for frame in read_frames(path, video, index, int(numbers[0]), int(numbers[-1]) + 1, size, numbers):
                found[frame.number] = shrink(frame.rgb)
    return found


def picked_tensors(
    slots: Iterator[NDArray[np.uint8]],
    path: Path,
    video: Video,
    index: FrameIndex,
    numbers: NDArray[np.int64],
    resize: Resize,
) -> Iterator[tuple[int, float]]:
    """Read single frames of the video as tensors. Frames that cannot be decoded are skipped."""
    size = (resize.inner_width, resize.inner_height)
    for number in numbers.tolist():
        with suppress(VideoError):
            for frame in read_frames(path, video, index, number, number + 1, size):
                resize.place(frame.rgb, next(slots))
                yield frame.number, frame.t_s


def write_overlay(path: Path, video: Video, index: FrameIndex, start: int, stop: int, rows: Rows, out: Path) -> str:
    """Draw the detections on frames [start, stop) into a video next to `out`. Returns the file's name."""
    pictures = drawn_frames(path, video, index, start, stop, rows)
    first_t_s, first = next(pictures)
    height, width = first.shape[:2]

    def shifted() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        yield 0.0, first
        for t_s, picture in pictures:
            yield t_s - first_t_s, picture

    return write_video(out, shifted(), width, height, video.fps or STILL_FPS).name


def write_still(path: Path, video: Video, index: FrameIndex, number: int, rows: Rows, out: Path) -> None:
    """Write one frame with its results as a PNG."""
    _, picture = next(drawn_frames(path, video, index, number, number + 1, rows))
    out.write_bytes(cv2.imencode(".png", picture)[1].tobytes())  # OpenCV's writer does not report a full disk


def drawn_frames(
    path: Path, video: Video, index: FrameIndex, start: int, stop: int, rows: Rows
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield (t_s, BGR picture with skeletons or label) of each frame, at most OVERLAY_WIDTH pixels wide."""
    scale = min(1.0, OVERLAY_WIDTH / video.width)
    size = (max(1, round(video.width * scale)), max(1, round(video.height * scale)))
    for frame in read_frames(path, video, index, start, stop, size):
        picture = np.ascontiguousarray(frame.rgb[:, :, ::-1])
        _draw(picture, rows, frame.number, scale, f"frame {frame.number}   {frame.t_s:.2f} s")
        yield frame.t_s, picture


def _draw(picture: NDArray[np.uint8], rows: Rows, number: int, scale: float, caption: str) -> None:
    first, last = np.searchsorted(rows.frame, [number, number + 1])
    if isinstance(rows, Classifications):  # of the last processed frame
        seen = f"   {rows.label[last - 1]} {rows.scores[last - 1]:.2f}" if last else ""
        draw_caption(picture, caption + seen)
    else:
        places, scores = rows.keypoints[first:last] * scale, rows.keypoint_scores[first:last]
        draw_poses(picture, places, scores, f"{caption}   {last - first} in view")
