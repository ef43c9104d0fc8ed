"""Encode pictures as a video that a browser plays. No drawing, no models; the input is trusted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

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
KEY_FRAMES = 30
MOST_BITS_PER_S = 3_000_000  # of a film at most 960 pixels wide: more is noise


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


def for_browsers(encoder: Encoder) -> Encoder:
    """Return the encoder set up for films that people look around in: fast, a keyframe per KEY_FRAMES, a bounded size.

    Without reordered frames no player needs an edit list, and seeking to a frame decodes few others.
    """
    options = encoder.options | {"g": str(KEY_FRAMES), "bf": "0"}
    if encoder.codec == "libx264":
        rate = {"maxrate": str(MOST_BITS_PER_S), "bufsize": str(MOST_BITS_PER_S)}
        options |= {"preset": "superfast", "crf": "23", **rate}
    return encoder._replace(options=options)


def reproducible(encoder: Encoder) -> Encoder:
    """Return the encoder set up so that equal pictures give equal bytes, on any number of cores, busy or not.

    The bytes still depend on the versions of FFmpeg and of the codec's library.
    """
    options = encoder.options | {"threads": "1", "flags": "+bitexact"}
    if encoder.codec == "libx264":
        # Its AVX-512 code for macroblock trees (mbtree_propagate_list in common/x86/mc-a2.asm) takes 8 macroblocks at
        # once. Where a row does not consist of eights, the bytes depend on memory that nobody has written.
        options |= {"mbtree": "0"}
    if encoder.codec == "libvpx":
        options |= {"cpu-used": "-6"}  # a positive speed is adapted to the clock (vp8_auto_select_speed)
    return encoder._replace(options=options)


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


class VideoWriter:
    """A video that is being written, frame by frame."""

    def __init__(self, container: OutputContainer, stream: VideoStream, shape: tuple[int, int, int]) -> None:
        self.frames = 0
        self._container, self._stream, self._shape = container, stream, shape
        self._last = -1

    def add(self, t_s: float, pixels: NDArray[np.uint8], form: Literal["bgr24", "rgb24"] = "bgr24") -> None:
        """Add a frame. t_s: seconds, later than the last frame's; pixels: (height, width, 3) uint8

        Raises ValueError for another shape.
        """
        if pixels.shape != self._shape:
            raise ValueError(f"Frame {self.frames} has the shape {pixels.shape}, not {self._shape}.")
        frame = VideoFrame.from_ndarray(_even(pixels), format=form)
        self._last = max(round(t_s / TIME_BASE), self._last + 1)
        frame.pts, frame.time_base = self._last, TIME_BASE
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def finish(self) -> None:
        """Write what the encoder holds back. Raises ValueError where there was no frame."""
        self._container.mux(self._stream.encode(None))
        if not self.frames:
            raise ValueError("There were no frames, so nothing was written. Give at least one.")


class FilmForm(NamedTuple):
    """The form of a film. width, height: of its pictures, pixels

    fps: approximate rate, for the encoder's rate control and the last frame's duration
    rotation: degrees clockwise, 0, 90, 180 or 270, by which a player turns the pictures
    """

    width: int
    height: int
    fps: float
    rotation: int = 0


@contextmanager
def open_writer(path: Path, form: FilmForm, encoder: Encoder) -> Iterator[VideoWriter]:
    """Write a video at this path with the encoder's suffix.

    The file appears under its name when the context ends, whole, and not at all after an error. Meanwhile it is next to
    it, as `partial_of` says. An odd width or height gets one more column or row, as H.264 needs even ones.
    """
    target = path.with_suffix(encoder.suffix)
    partial = partial_of(target)
    try:
        with av.open(str(partial.absolute()), "w", format=encoder.container, options=_options(encoder)) as container:
            stream = _add_stream(container, encoder, form.width, form.height, form.fps)
            if form.rotation:
                stream.set_display_rotation(-form.rotation)
            writer = VideoWriter(container, stream, (form.height, form.width, 3))
            yield writer
            writer.finish()
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def partial_of(target: Path) -> Path:
    """Return the path of a video while it is being written."""
    return target.with_name(f".{target.name}.partial")


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
    fps, rotation: as in FilmForm. encoder: None = the first that opens
    Raises ValueError where there is no frame, or one of another shape.
    """
    encoder = encoder or find_encoder()
    with open_writer(path, FilmForm(width, height, fps, rotation), encoder) as writer:
        for t_s, bgr in frames:
            writer.add(t_s, bgr)
    return path.with_suffix(encoder.suffix)


def _options(encoder: Encoder) -> dict[str, str]:
    """Options of the container, which gets no random identifier (Matroska, WebM) and no FFmpeg version.

    An MP4 states a late start in the movie's clock: the same as the frames', exactly.
    """
    options = {"fflags": "+bitexact"}
    if encoder.container == "mp4":
        options |= {"movflags": "+faststart", "movie_timescale": str(TIME_BASE.denominator)}
    return options


def _add_stream(container: OutputContainer, encoder: Encoder, width: int, height: int, fps: float) -> VideoStream:
    rate = Fraction(fps).limit_denominator(1001) if fps < RATE_LIMIT else Fraction(RATE_LIMIT)
    stream = container.add_stream(encoder.codec, rate=max(rate, Fraction(1, 100)), options=encoder.options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    stream.codec_context.time_base = TIME_BASE
    return stream


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if not height % 2 and not width % 2:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
