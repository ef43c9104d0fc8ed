"""What a video is: identity, exact frames, times, keyframes, rotation, by demuxing. Reading frames: storage/frames.py.

Meant for a child process (storage/sandbox.py), as it reads files that nobody has vouched for.
"""

import dataclasses
import itertools
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from models.types import FrameIndex, Video
from storage.access_units import can_start, is_shown
from storage.containers import UNFINISHED, VideoError, check_whole, open_regular
from storage.digest import sha256_of
from storage.frames import InexactError, decode, open_container, prepare_decoder, video_stream

__all__ = ["Limits", "VideoError", "from_record", "probe_record", "probe_video"]

TRIAL_FRAMES = 20  # decoded to see whether packets tell the frames' times: longer than any reordering (H.264: 16)
DEFAULT_FPS = 25.0  # where a single picture has no duration and the header no rate
NO_TIME = int(np.iinfo(np.int64).min)
# Their times count from what a player shows as 0, so a first frame at 1 s starts late; the others start anywhere.
TIMED_FROM_ZERO = {"mov", "matroska"}


@dataclass(frozen=True)
class Limits:
    """What a video may be at most: 8K, slow motion, a day and a half. What is beyond is an attack or a fault."""

    max_pixels: int = 8192 * 4320
    max_fps: float = 1000.0
    max_frames: int = 5_000_000
    max_duration_s: float = 36 * 3600.0


@dataclass(frozen=True)
class _Packets:
    """The packets that give a frame, in the file's order; each (n,) int64 in units of the stream's time base.

    starts: bool, decoding can start here; in_order: every dts is there and later than the one before
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    starts: NDArray[np.bool_]
    in_order: bool

    @property
    def reordered(self) -> bool:
        return not np.array_equal(self.pts, self.dts)


@dataclass(frozen=True)
class _Trial:
    """The first frames that came out of the decoder, or all where the container knows no pts (an AVI with B-frames).

    clean: nothing failed on the way
    """

    first: VideoFrame
    pts: list[int | None]
    dts: list[int | None]
    clean: bool


@dataclass(frozen=True)
class _Timing:
    """The stream's clock. time_base_s: seconds a unit; origin_s: the player's zero; frame_s: by the header"""

    time_base_s: float
    origin_s: float
    frame_s: float


def probe_video(path: Path, limits: Limits | None = None) -> tuple[Video, FrameIndex]:
    """What the video is and where its frames are; only a few are decoded, unless its times cannot be trusted.

    Raises VideoError with the reason where it cannot be used: empty, no video, cut short, no picture, beyond the
    limits, no decoder.
    """
    limits = limits or Limits()
    with open_regular(path) as (file, name):
        before = os.fstat(file.fileno())
        container = check_whole(file, before.st_size)
        file.seek(0)
        sha256 = sha256_of(file)
        with open_container(name, container) as opened:
            stream = video_stream(opened)
            codec = stream.codec_context.codec.canonical_name
            _check_header(stream, limits)
            _check_entries(stream, container, before.st_size)
            packets = _demux(opened, stream, limits)
            timing = _timing(opened, stream, container)
        whole = container == "avi" and packets.reordered
        trial = _try_decoder(name, container, codec, limits, None if whole else TRIAL_FRAMES)
        index = _index(packets, trial, timing, container) or _decoded_index(name, container, packets, timing, limits)
        _check_unchanged(file, before)
    rotation = round(-trial.first.rotation / 90) * 90 % 360
    shown = (trial.first.width, trial.first.height)[:: -1 if rotation in (90, 270) else 1]
    duration_s = _duration_s(index, packets, timing)
    video = Video(
        sha256=sha256,
        size_bytes=before.st_size,
        container=container,
        codec=codec,
        width=shown[0],
        height=shown[1],
        rotation=rotation,
        frames=len(index.pts),
        fps=len(index.pts) / duration_s,
        duration_s=duration_s,
    )
    _check_extent(video, limits)
    return video, index


def probe_record(path: Path, limits: Limits | None = None) -> dict[str, Any]:
    """probe_video as plain values and arrays, which a sandbox can hand over."""
    video, index = probe_video(path, limits)
    return {"video": dataclasses.asdict(video), "index": dict(vars(index))}


def from_record(record: dict[str, Any]) -> tuple[Video, FrameIndex]:
    """The inverse of probe_record. Raises ValueError where the record is not one."""
    try:
        video, index = Video(**record["video"]), FrameIndex(**record["index"])
        lengths = {video.frames, len(index.pts), len(index.timestamps_s)}
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the record of a probed video: {error!r}") from error
    if len(lengths) != 1:
        raise ValueError(f"not the record of a probed video: lengths {sorted(lengths)}, expected one")
    return video, index


def _check_header(stream: VideoStream, limits: Limits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_pixels:
        raise VideoError(f"absurd dimensions: {width}x{height}, expected at most {limits.max_pixels} pixels a frame")


def _check_extent(video: Video, limits: Limits) -> None:
    if video.fps > limits.max_fps:
        raise VideoError(f"absurd frame rate: {video.fps:.6g} a second, expected at most {limits.max_fps:g}")
    if video.duration_s > limits.max_duration_s:
        raise VideoError(f"absurd duration: {video.duration_s:.0f} s, expected at most {limits.max_duration_s:.0f}")


def _check_unchanged(file: BufferedReader, before: os.stat_result) -> None:
    now = os.fstat(file.fileno())
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise VideoError("changed while it was read: still being copied? It will be tried again when it is at rest")


def _check_entries(stream: VideoStream, container: str, size: int) -> None:
    """An MP4's index may point behind the end of a file whose boxes are in order."""
    promised = max((entry.pos + entry.size for entry in stream.index_entries), default=0) if container == "mov" else 0
    if promised > size:
        raise VideoError(f"truncated: found {size} bytes, its index points to byte {promised}; {UNFINISHED}")


def _demux(opened: InputContainer, stream: VideoStream, limits: Limits) -> _Packets:
    codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
    pts, dts, duration, starts = array("q"), array("q"), array("q"), array("b")
    in_order, previous, damaged = True, NO_TIME, False
    for packet in _packets(opened, stream):
        dts_now = NO_TIME if packet.dts is None else packet.dts
        in_order &= dts_now > previous
        previous, damaged = dts_now, packet.is_corrupt
        unit = memoryview(packet)
        if packet.is_discard or not is_shown(codec, unit):
            continue
        pts.append(NO_TIME if packet.pts is None else packet.pts)
        dts.append(dts_now)
        duration.append(packet.duration or 0)
        starts.append(packet.is_keyframe and can_start(codec, extradata, unit))
        if len(pts) > limits.max_frames:
            raise VideoError(f"more than {limits.max_frames} frames: expected fewer; cut the video")
    if damaged:
        raise VideoError(f"truncated: its last packet is not whole; {UNFINISHED}")
    if not pts:
        raise VideoError("no frames: the video stream is empty; record or copy it again")
    return _Packets(np.array(pts), np.array(dts), np.array(duration), np.array(starts, bool), in_order)


def _packets(opened: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """All but empty ones. Raises VideoError."""
    try:
        yield from (packet for packet in opened.demux(stream) if packet.size)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise VideoError(f"cannot be read to its end ({error.strerror}): damaged or cut short") from error


def _timing(opened: InputContainer, stream: VideoStream, container: str) -> _Timing:
    start_s = (opened.start_time or 0) / av.time_base
    rate = stream.average_rate or stream.guessed_rate
    return _Timing(
        time_base_s=float(stream.time_base or 1),
        origin_s=min(start_s, 0.0) if container in TIMED_FROM_ZERO else start_s,
        frame_s=float(1 / rate) if rate else 1 / DEFAULT_FPS,
    )


def _try_decoder(name: str, container: str, codec: str, limits: Limits, most: int | None) -> _Trial:
    """Raises VideoError where not one frame comes out. most: frames to decode, None = all"""
    for strict in (True, False):
        try:
            with open_container(name, container) as opened:
                frames = itertools.islice(_decode_all(opened, limits, strict=strict), most)
                first = next(frames, None)
                times = [(frame.pts, frame.dts) for frame in itertools.chain([first], frames) if frame is not None]
        except InexactError:
            continue
        if first is not None:
            return _Trial(first, [pts for pts, _ in times], [dts for _, dts in times], strict)
        break
    raise VideoError(
        f"none of its frames can be decoded as {codec}, expected one at least: "
        "damaged, encrypted, of absurd dimensions, or of a kind without a decoder"
    )


def _decode_all(opened: InputContainer, limits: Limits, *, strict: bool) -> Iterator[VideoFrame]:
    stream = video_stream(opened)
    prepare_decoder(stream, limits.max_pixels, strict=False)
    # Nobody sees these frames: only their times count.
    stream.codec_context.options = stream.codec_context.options | {"skip_loop_filter": "all"}
    return decode(stream, opened.demux(stream), strict=strict)


def _index(packets: _Packets, trial: _Trial, timing: _Timing, container: str) -> FrameIndex | None:
    """From the packets' own times where the trial proves them right; None where it does not."""
    if not packets.in_order:
        return None
    pts = np.sort(packets.pts)
    unique = bool(pts[0] > NO_TIME and np.all(np.diff(pts) > 0))
    if unique and _as_promised(trial.pts, pts, clean=trial.clean):
        if container == "avi":
            timing = dataclasses.replace(timing, origin_s=float(pts[0]) * timing.time_base_s)
        return _index_by_pts(pts, packets, timing)
    return _index_by_dts(packets, trial, timing) if container == "avi" and trial.clean else None


def _as_promised(found: list[int | None], promised: NDArray[np.int64], *, clean: bool) -> bool:
    """Whether the first frames came as promised: all of them, or in order where some failed to decode."""
    times = [time for time in found if time is not None]
    if len(times) < len(found) or any(later <= time for time, later in itertools.pairwise(times)):
        return False
    return times == promised[: len(times)].tolist() if clean else bool(np.isin(times, promised).all())


def _index_by_pts(pts: NDArray[np.int64], packets: _Packets, timing: _Timing) -> FrameIndex:
    times = np.maximum(pts * timing.time_base_s - timing.origin_s, 0.0)
    return FrameIndex(
        pts, times, _with_first(np.searchsorted(pts, packets.pts[packets.starts & np.isin(packets.pts, pts)]))
    )


def _index_by_dts(packets: _Packets, trial: _Trial, timing: _Timing) -> FrameIndex | None:
    """AVI stores no pts, and FFmpeg's guess is wrong with B-frames packed as DivX and Xvid do.

    A frame leaves the decoder with the dts of the packet that pushed it out, so many packets after its own.
    """
    times = [time for time in trial.dts if time is not None]
    delay = int(np.searchsorted(packets.dts, times[0])) if times else 0
    if times != packets.dts[delay : delay + len(times)].tolist():
        return None
    pushed_by_end = packets.dts[-1] + np.arange(1, delay + 1)
    keys = np.concatenate([packets.dts[delay:], pushed_by_end])
    seconds = (packets.dts - packets.dts[0]) * timing.time_base_s
    return FrameIndex(keys, seconds, np.zeros(1, np.int64), "dts")


def _decoded_index(name: str, container: str, packets: _Packets, timing: _Timing, limits: Limits) -> FrameIndex:
    """By decoding everything once: for fields in packets of their own, times that jump back or are missing."""
    with open_container(name, container) as opened:
        found = [frame.pts for frame in _decode_all(opened, limits, strict=False)]
    pts = np.array([NO_TIME if time is None else time for time in found], np.int64)
    if pts[0] > NO_TIME and np.all(np.diff(pts) > 0):
        return _index_by_pts(pts, packets, timing)
    numbers = np.arange(len(found), dtype=np.int64)
    return FrameIndex(numbers, numbers * timing.frame_s, np.zeros(1, np.int64), "order")


def _with_first(keyframes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frame 0 is one always: what comes before it in the file is decoded and not shown."""
    return np.unique(np.concatenate([np.zeros(1, np.int64), keyframes])).astype(np.int64)


def _duration_s(index: FrameIndex, packets: _Packets, timing: _Timing) -> float:
    """Until the end of the last frame, which lasts as long as its packet says or, if that is silent, as the header."""
    last = int(packets.duration[np.argmax(packets.pts)]) if index.numbered_by == "pts" else 0
    span = float(index.timestamps_s[-1] - index.timestamps_s[0])
    return span + (last * timing.time_base_s or timing.frame_s)
