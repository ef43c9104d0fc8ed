"""What runs in the sandbox's child: frames as tensors, pictures of people. Light imports: no Prefect, no OpenVINO."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.preprocess import Resize
from models.render import draw_poses
from models.types import FrameIndex, Poses, Video
from storage.encode import write_video
from storage.frames import read_frames

OVERLAY_WIDTH = 960


def segment_tensors(
    slots: Iterator[NDArray[np.uint8]],
    path: Path,
    video: Video,
    index: FrameIndex,
    start: int,
    stop: int,
    resize: Resize,
) -> Iterator[tuple[int, float]]:
    """(frame number, t_s) of each frame of the segment, its tensor (height, width, 3) written into the next slot."""
    for frame in read_frames(path, video, index, start, stop, (resize.inner_width, resize.inner_height)):
        resize.place(frame.rgb, next(slots))
        yield frame.number, frame.t_s


def write_overlay(path: Path, video: Video, index: FrameIndex, start: int, stop: int, poses: Poses, out: Path) -> str:
    """The frames [start, stop) with their people drawn in, as a video beside `out`. Gives the file's name."""
    pictures = drawn_frames(path, video, index, start, stop, poses)
    first_t_s, first = next(pictures)
    height, width = first.shape[:2]

    def shifted() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        yield 0.0, first
        for t_s, picture in pictures:
            yield t_s - first_t_s, picture

    return write_video(out, shifted(), width, height, video.fps).name


def write_still(path: Path, video: Video, index: FrameIndex, number: int, poses: Poses, out: Path) -> None:
    """One frame with its people drawn in, as a PNG."""
    _, picture = next(drawn_frames(path, video, index, number, number + 1, poses))
    cv2.imwrite(str(out), picture)


def drawn_frames(
    path: Path, video: Video, index: FrameIndex, start: int, stop: int, poses: Poses
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """(t_s, BGR picture with skeletons) of each frame, at most OVERLAY_WIDTH pixels wide."""
    scale = min(1.0, OVERLAY_WIDTH / video.width)
    size = (round(video.width * scale), round(video.height * scale))
    for frame in read_frames(path, video, index, start, stop, size):
        first, last = np.searchsorted(poses.frame, [frame.number, frame.number + 1])
        picture = np.ascontiguousarray(frame.rgb[:, :, ::-1])
        caption = f"frame {frame.number}   {frame.t_s:.2f} s   {last - first} in view"
        draw_poses(picture, poses.keypoints[first:last] * scale, poses.keypoint_scores[first:last], caption)
        yield frame.t_s, picture
