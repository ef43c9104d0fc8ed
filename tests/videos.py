"""Tiny real videos, sound and broken, written by PyAV. Each picture carries its own number, readable after coding."""

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

WIDTH, HEIGHT = 128, 96
BITS = 10
X264 = {"preset": "ultrafast", "crf": "18"}


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB: the upper half says the number in ten bars, below something moves."""
    picture = np.full((height, width, 3), 60, np.uint8)
    bar = width // BITS
    for bit in range(BITS):
        picture[: height // 2, bit * bar : (bit + 1) * bar] = 255 if number >> bit & 1 else 0
    left = number * 3 % (width - 16)
    picture[height // 2 + 8 : height // 2 + 24, left : left + 16] = (220, 90, 30)
    return picture


def number_of(rgb: NDArray[np.uint8]) -> int:
    """The number that a decoded picture carries."""
    bar = rgb.shape[1] // BITS
    middles = rgb[rgb.shape[0] // 4, bar // 2 : bar * BITS : bar].mean(axis=1)
    return sum(1 << bit for bit, level in enumerate(middles[:BITS]) if level > 128)


@contextmanager
def priority_kept() -> Iterator[None]:
    """Restore this thread's priority: SVT-AV1 gives root's the highest real-time one, which all children inherit."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def make_video(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    container: str | None = None,
    options: dict[str, str] | None = None,
    gop: int = 10,
    b_frames: int = 2,
    fps: int = 25,
    times_s: Sequence[float] | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    sound: bool = False,
    movflags: str = "",
    threads: int = 1,
) -> Path:
    """Write pictures, or numbered ones, as a video.

    rotation: degrees clockwise that a player turns the picture, after mirroring it; times_s: of each frame, for
        variable rates
    pixel_aspect: width of a pixel divided by its height, as the encoder and the container say it
    """
    pictures = pictures or [numbered_picture(number) for number in range(frames)]
    times_s = times_s or [number / fps for number in range(len(pictures))]
    muxing = {"movflags": movflags} if movflags else {}
    with priority_kept(), av.open(str(path), "w", format=container, options=muxing) as out:
        video = out.add_stream(codec, rate=fps, options=options if options is not None else X264)
        assert isinstance(video, VideoStream)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        fixed_rate = codec in ("mpeg1video", "mpeg2video") or (container or path.suffix) in ("avi", ".avi")
        video.codec_context.time_base = Fraction(1, fps) if fixed_rate else Fraction(1, 60_000)
        video.codec_context.gop_size, video.codec_context.max_b_frames = gop, b_frames
        video.codec_context.thread_count = threads
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation or mirrored:
            video.set_display_matrix(display_matrix(rotation, mirrored=mirrored))
        audio = out.add_stream("aac" if codec != "libvpx" else "libopus", rate=48_000) if sound else None
        for picture, t_s in zip(pictures, times_s, strict=True):
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = video.codec_context.time_base
            frame.pts = round(t_s / frame.time_base)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            _add_silence(out, audio, times_s[-1])
    return path


def display_matrix(rotation: int, *, mirrored: bool) -> list[int]:
    """3 x 3 in fixed point, for row vectors, y down: mirror left and right, then turn clockwise."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation]
    flip = -1 if mirrored else 1
    return [flip * cosine << 16, flip * sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]


def with_clean_aperture(
    source: Path, target: Path, width: int, height: int, right: int = 0, down: int = 0, denominator: int = 1
) -> Path:
    """An MP4 of which a player shows only this many pixels around the centre, shifted to the right and down.

    denominator: of all these numbers

    The `clap` box goes to the end of the sample entry: each box around it grows, and nothing that follows has offsets.
    """
    clap = struct.pack(
        ">I4s8i", 40, b"clap", *itertools.chain(*((n, denominator) for n in (width, height, right, down)))
    )
    data = bytearray(source.read_bytes())
    entry = data.index(b"stsd") + 12
    end = entry + int.from_bytes(data[entry : entry + 4])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", bytes(data[entry + 4 : entry + 8])):
        at = data.index(name, 0 if name == b"moov" else data.index(b"moov")) - 4
        data[at : at + 4] = struct.pack(">I", int.from_bytes(data[at : at + 4]) + len(clap))
    target.write_bytes(data[:end] + clap + data[end:])
    return target


def make_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with an audio stream and nothing else."""
    with av.open(str(path), "w") as out:
        _add_silence(out, out.add_stream("aac", rate=48_000), seconds)
    return path


def _add_silence(out: av.container.OutputContainer, audio: av.AudioStream, seconds: float) -> None:
    for position in range(0, int(seconds * 48_000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, position
        out.mux(audio.encode(frame))
    out.mux(audio.encode(None))


def cut(source: Path, target: Path, keep: float) -> Path:
    """The first part of a file, as a copy that has not ended."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * keep)])
    return target


def damage(source: Path, target: Path, packet: int, fill: int = 0xFF, skip: int = 0) -> Path:
    """One packet of the video, counted in the file's order, overwritten behind its first `skip` bytes."""
    with av.open(str(source)) as container:
        packets = [item for item in container.demux(container.streams.video[0]) if item.size]
        position, size = packets[packet].pos, packets[packet].size
    data = bytearray(source.read_bytes())
    assert position is not None
    assert size > skip
    data[position + skip : position + size] = bytes([fill]) * (size - skip)
    target.write_bytes(data)
    return target


def patched(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    """Every occurrence of some bytes replaced by others of the same length."""
    data = source.read_bytes()
    assert len(old) == len(new)
    assert old in data, old
    target.write_bytes(data.replace(old, new))
    return target
