"""Encode pictures as a video that a browser plays. No drawing, no models; the input is trusted."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

TIME_BASE = Fraction(1, 60_000)  # exact for 24, 25, 30, 50, 60 and 30000/1001 a second; MPEG-4 takes up to 65535
RATE_LIMIT = 1000


class Encoder(NamedTuple):
    """A way to write a video. plays: in browsers"""

    codec: str
    container: str
    suffix: str
    options: dict[str, str]
    plays: bool = True


ENCODERS = (
    Encoder("libx264", "mp4", ".mp4", {"preset": "veryfast", "crf": "23"}),
    Encoder("libopenh264", "mp4", ".mp4", {}),
    Encoder("libvpx-vp9", "webm", ".webm", {"deadline": "realtime", "cpu-used": "6", "crf": "32", "b": "0"}),
    Encoder("libvpx", "webm", ".webm", {"deadline": "realtime", "cpu-used": "6", "b": "2M"}),
    Encoder("mpeg4", "mp4", ".mp4", {"qscale": "4"}, plays=False),  # VLC and mpv play it, browsers do not
)


def find_encoder() -> Encoder:
    """Return the first encoder that opens, as a build may name codecs that this machine cannot run; or RuntimeError."""
    for encoder in ENCODERS:
        try:
            context = VideoCodecContext.create(encoder.codec, "w")
            assert isinstance(context, VideoCodecContext)
            context.width, context.height, context.pix_fmt = 64, 64, "yuv420p"
            context.time_base, context.framerate = TIME_BASE, Fraction(25)
            context.open()
        except (av.error.FFmpegError, ValueError):
            continue
        return encoder
    names = ", ".join(encoder.codec for encoder in ENCODERS)
    raise RuntimeError(f"There is no video encoder of {names}. Install PyAV's own build ('pip install av').")


def write_video(
    path: Path,
    frames: Iterable[tuple[float, NDArray[np.uint8]]],
    width: int,
    height: int,
    fps: float,
    encoder: Encoder | None = None,
    rotation: int = 0,
) -> Path:
    """Write (t_s, bgr) pairs as a video. Returns the path with the suffix of the written format.

    t_s: seconds, ascending, kept unchanged (variable rates too); bgr: (height, width, 3) uint8
    fps: approximate rate, for the encoder's rate control and the last frame's duration
    rotation: degrees clockwise, 0, 90, 180 or 270, by which a player turns the pictures
    An odd width or height gets one more column or row, as H.264 needs even ones. The file appears under its name when
    it is whole, and not at all after an error. Raises ValueError where there is no frame, or one of another shape.
    """
    encoder = encoder or find_encoder()
    target = path.with_suffix(encoder.suffix)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with av.open(str(partial.absolute()), "w", format=encoder.container, options=_options(encoder)) as container:
            stream = _add_stream(container, encoder, width, height, fps)
            if rotation:
                stream.set_display_rotation(-rotation)
            if not _encode(container, stream, frames, (height, width, 3)):
                raise ValueError("There were no frames, so nothing was written. Give at least one.")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _options(encoder: Encoder) -> dict[str, str]:
    return {"movflags": "+faststart"} if encoder.container == "mp4" else {}


def _add_stream(container: OutputContainer, encoder: Encoder, width: int, height: int, fps: float) -> VideoStream:
    rate = Fraction(fps).limit_denominator(1001) if fps < RATE_LIMIT else Fraction(RATE_LIMIT)
    stream = container.add_stream(encoder.codec, rate=max(rate, Fraction(1, 100)), options=encoder.options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    stream.codec_context.time_base = TIME_BASE
    return stream


def _encode(
    container: OutputContainer,
    stream: VideoStream,
    frames: Iterable[tuple[float, NDArray[np.uint8]]],
    shape: tuple[int, int, int],
) -> int:
    """Encode all frames. Returns their number."""
    count, last = 0, -1
    for t_s, bgr in frames:
        if bgr.shape != shape:
            raise ValueError(f"Frame {count} has the shape {bgr.shape}, not {shape}.")
        frame = VideoFrame.from_ndarray(_even(bgr), format="bgr24")
        last = max(round(t_s / TIME_BASE), last + 1)
        frame.pts, frame.time_base = last, TIME_BASE
        container.mux(stream.encode(frame))
        count += 1
    container.mux(stream.encode(None))
    return count


def _even(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = bgr.shape[:2]
    if not height % 2 and not width % 2:
        return np.ascontiguousarray(bgr)
    return np.asarray(cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
