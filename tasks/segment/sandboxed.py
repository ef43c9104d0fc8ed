"""Functions for the sandbox's child: frames as tensors, pictures with results. No Prefect, no OpenVINO."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.decoders.regions import plan_tiles
from models.drawing.faces import hide_faces
from models.drawing.people import draw_caption, draw_poses
from models.inference.motion import Grey, frames_before, moving_regions, shrink
from models.inference.preprocess import RegionCuts, Resize, cut_region
from models.types import Classifications, FrameIndex, Rows, Video, VideoError
from storage.video.encode import Encoder, FilmForm, open_writer, partial_of, write_video
from storage.video.frames import Frame, read_frames
from storage.video.playable import reason_to_convert

OVERLAY_WIDTH = 960
PICTURE_WIDTH = 1280
TELL_EVERY_FRAMES = 25
STILL_FPS = 1.0  # a video of a single frame has no rate
JPEG_QUALITY = 88
REPORTED_FRAMES = 10  # between two reports of a conversion
CONVERSION_NICENESS = 10


class Drawn(NamedTuple):
    """Results to draw.

    tracks: (n,) int32, track of each row of poses, 0 = none; None = not known
    hide_faces: blur the heads of the people
    """

    rows: Rows
    tracks: NDArray[np.int32] | None
    hide_faces: bool = False


class Conversion(NamedTuple):
    """A conversion for browsers. width: at most, in pixels; limit_bytes: of the written file"""

    width: int
    limit_bytes: int
    encoder: Encoder


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
    for frame in read_frames(path, video, index, start, stop, size, wanted, map(resize.inner, slots)):
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
            for frame in read_frames(path, video, index, number, number + 1, size, None, map(resize.inner, slots)):
                yield frame.number, frame.t_s


def write_overlay(path: Path, video: Video, index: FrameIndex, span: tuple[int, int], drawn: Drawn, out: Path) -> str:
    """Draw the detections on frames span[0] to span[1] into a video next to `out`. Returns the file's name.

    Meanwhile the number of written frames is in the file that progress_file names.
    """
    pictures = drawn_frames(path, video, index, *span, drawn)
    first_t_s, first = next(pictures)
    height, width = first.shape[:2]
    progress = progress_file(out)

    def shifted() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        yield 0.0, first
        for number, (t_s, picture) in enumerate(pictures, 2):
            yield t_s - first_t_s, picture
            if number % TELL_EVERY_FRAMES == 0:
                progress.write_text(str(number))

    return write_video(out, shifted(), width, height, video.fps or STILL_FPS).name


def progress_file(out: Path) -> Path:
    """Return the file in which write_overlay counts."""
    return out.with_name(f"{out.name}.progress")


def frames_written(out: Path) -> int:
    """Return the number of frames that write_overlay has written by now."""
    try:
        return int(progress_file(out).read_text())
    except (OSError, ValueError):  # none yet, or being replaced
        return 0


def write_still(path: Path, video: Video, index: FrameIndex, number: int, drawn: Drawn, out: Path) -> None:
    """Write one frame with its results as a PNG."""
    _, picture = next(drawn_frames(path, video, index, number, number + 1, drawn))
    out.write_bytes(cv2.imencode(".png", picture)[1].tobytes())  # OpenCV's writer does not report a full disk


def write_picture(path: Path, video: Video, index: FrameIndex, number: int, out: Path) -> None:
    """Write one frame as a PNG, as it is, at most PICTURE_WIDTH pixels wide."""
    scale = min(1.0, PICTURE_WIDTH / video.width)
    size = (max(1, round(video.width * scale)), max(1, round(video.height * scale)))
    frame = next(iter(read_frames(path, video, index, number, number + 1, size)))
    out.write_bytes(cv2.imencode(".png", np.ascontiguousarray(frame.rgb[:, :, ::-1]))[1].tobytes())


def playability_record(path: Path, video: Video, index: FrameIndex) -> dict[str, Any]:
    """Decide whether browsers play a video as it is: {"reason": why not; None = they do}."""
    return {"reason": reason_to_convert(path, video, index)}


def jpeg_of_frame(path: Path, video: Video, index: FrameIndex, number: int, width: int) -> NDArray[np.uint8]:
    """Encode one frame as a JPEG of at most this width: (bytes,) uint8. Raises VideoError if it cannot be decoded."""
    frame = next(iter(read_frames(path, video, index, number, number + 1, shown_size(video, width))))
    bgr = np.ascontiguousarray(frame.rgb[:, :, ::-1])
    return np.asarray(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1], np.uint8).reshape(-1)


def converted_frames(
    slots: Iterator[NDArray[np.uint8]],
    path: Path,
    video: Video,
    index: FrameIndex,
    conversion: Conversion,
    out: Path,
) -> Iterator[tuple[int, int]]:
    """Write a video for browsers next to `out`, and yield (frame number, bytes written) now and then.

    Every frame keeps its t_s. One that cannot be decoded is left out, so that the one before it is shown for longer;
    the first one is also shown from 0 on, so that no player waits for it. Raises VideoError beyond the limit of bytes.
    """
    os.nice(CONVERSION_NICENESS)  # of this child only: a batch on the same machine comes first
    width, height = even_size(shown_size(video, conversion.width))
    partial = partial_of(out.with_suffix(conversion.encoder.suffix))
    form = FilmForm(width, height, video.fps or STILL_FPS)
    with open_writer(out, form, conversion.encoder) as writer:
        for frame in read_frames(path, video, index, 0, video.frames, (width, height)):
            if not writer.frames and frame.t_s > 0:
                writer.add(0.0, frame.rgb, "rgb24")
            writer.add(frame.t_s, frame.rgb, "rgb24")
            if frame.number % REPORTED_FRAMES == 0:
                written = partial.stat().st_size if partial.exists() else 0  # the encoder begins late
                if written > conversion.limit_bytes:
                    raise VideoError(f"The converted video has more than {conversion.limit_bytes:,} bytes. Cut it.")
                next(slots)
                yield frame.number, written


def shown_size(video: Video, width: int) -> tuple[int, int]:
    """Return (width, height) of the displayed picture, scaled down to at most this width."""
    scale = min(1.0, width / video.width)
    return max(1, round(video.width * scale)), max(1, round(video.height * scale))


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """Round up to even numbers, as H.264 needs them. The picture is stretched by a pixel instead of padded, so that
    a place in it stays the same share of its width and height."""
    width, height = size
    return width + width % 2, height + height % 2


def drawn_frames(
    path: Path, video: Video, index: FrameIndex, start: int, stop: int, drawn: Drawn
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield (t_s, BGR picture with skeletons or label) of each frame, at most OVERLAY_WIDTH pixels wide."""
    scale = min(1.0, OVERLAY_WIDTH / video.width)
    size = (max(1, round(video.width * scale)), max(1, round(video.height * scale)))
    for frame in read_frames(path, video, index, start, stop, size):
        picture = np.ascontiguousarray(frame.rgb[:, :, ::-1])
        _draw(picture, drawn, frame.number, scale, f"frame {frame.number}   {frame.t_s:.2f} s")
        yield frame.t_s, picture


def _draw(picture: NDArray[np.uint8], drawn: Drawn, number: int, scale: float, caption: str) -> None:
    rows = drawn.rows
    first, last = np.searchsorted(rows.frame, [number, number + 1])
    if isinstance(rows, Classifications):  # of the last processed frame
        seen = f"   {rows.label[last - 1]} {rows.scores[last - 1]:.2f}" if last else ""
        draw_caption(picture, caption + seen)
    else:
        places, scores = rows.keypoints[first:last] * scale, rows.keypoint_scores[first:last]
        tracks = None if drawn.tracks is None else drawn.tracks[first:last]
        if drawn.hide_faces:
            hide_faces(picture, places)
        draw_poses(picture, places, scores, f"{caption}   {last - first} in view", tracks)
