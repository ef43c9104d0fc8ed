"""A decoded frame becomes the small RGB picture that a model or a person sees. No files, no decoding."""

from functools import lru_cache

import cv2
import numpy as np
from av.video.frame import VideoFrame
from cv2.typing import MatLike
from numpy.typing import NDArray

PLANAR = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
# Red and blue weights of luma by FFmpeg's AVColorSpace: ITU-R BT.709 (1), BT.601 (2 = not said, 5, 6), BT.2020 (9).
LUMA = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def to_rgb(frame: VideoFrame, size: tuple[int, int], rotation: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB as a player shows it.

    size: (width, height) of the result, after rotation; rotation: degrees clockwise, 0, 90, 180 or 270
    Shrunk bilinearly, in YUV where the frame's format allows: a third of the time of converting all pixels first,
    and within 1.2 levels of it in the mean and 4 at the 99th percentile (measured on the videos of the tests).
    """
    stored = size if rotation in (0, 180) else (size[1], size[0])
    rgb: MatLike
    if (frame.width, frame.height) == stored:
        rgb = _all_rgb(frame)
    elif frame.format.name in PLANAR and frame.colorspace in LUMA:
        full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
        rgb = cv2.transform(_shrunk_planes(frame, stored), _yuv_to_rgb(int(frame.colorspace), full))
    else:
        rgb = cv2.resize(_all_rgb(frame), stored, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.rotate(rgb, TURNS[rotation]) if rotation else rgb, np.uint8)


def _all_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _shrunk_planes(frame: VideoFrame, size: tuple[int, int]) -> MatLike:
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        planes.append(cv2.resize(rows[:, : plane.width], size, interpolation=cv2.INTER_LINEAR))
    return cv2.merge(planes)


@lru_cache(maxsize=16)
def _yuv_to_rgb(colorspace: int, full: bool) -> NDArray[np.float32]:
    """(3, 4) float32: RGB = matrix · (Y, U, V, 1), by the definition of the colour space's luma."""
    red, blue = LUMA[colorspace]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full else (255 / 219, 255 / 224)
    matrix = np.array(
        [
            [luma, 0, 2 * (1 - red) * chroma],
            [luma, -2 * (1 - blue) * blue / green * chroma, -2 * (1 - red) * red / green * chroma],
            [luma, 2 * (1 - blue) * chroma, 0],
        ]
    )
    offset = np.array([0 if full else 16, 128, 128])
    return np.hstack([matrix, -(matrix @ offset)[:, None]]).astype(np.float32)
