"""Frames of a video by exact number, as RGB. No probing: storage/video/probe.py made the index.

Meant for a child process (storage/sandbox/parent.py): a decoder that meets a hostile file may crash or take all memory.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from models.types import AttemptError, FrameIndex, Video, VideoError
from storage.video.containers.signatures import HEAD_BYTES
from storage.video.decoder_headers import give_headers, headers_after
from storage.video.display import ASPECT_IN_STREAM, AspectChanged, FrameGeometries, StreamAspects
from storage.video.geometry import DisplayGeometry
from storage.video.keyframes import is_shown, mpeg2_size
from storage.video.pixels import to_rgb
from storage.video.regular_file import confirmed, open_regular
from storage.video.streams import VideoPacket, all_packets, film_stream

MAX_PIXELS = 8192 * 4320  # of a frame: 8K
SEEK_TRIES = 3  # keyframes that are tried, going back, before decoding from the start
# With many threads MPEG-4's errors arrived late at random, and damaged frames passed as sound. One thread is enough.
THREADED = {"h264", "hevc", "vp8", "vp9", "av1"}
# Below this number of pixels one thread decodes faster than two cores infer, and several cost a fifth more CPU.
SMALL_PIXELS = 1 << 19
# They have no index by time, and a search by time fails where the clock starts again.
SOUGHT_BY_BYTE = {"mpegts", "mpeg", "h264", "hevc", "mpegvideo", "m4v", "dv"}
# FFmpeg's decoder drops the frame that it holds back when the size changes, so it must be drained before.
LOSES_AT_NEW_SIZE = {"mpeg1video", "mpeg2video"}


class Frame(NamedTuple):
    """One frame as shown. t_s: seconds on a player's clock; rgb: (height, width, 3) uint8"""

    number: int
    t_s: float
    rgb: NDArray[np.uint8]


class _Numbered(NamedTuple):
    number: int
    frame: VideoFrame
    geometry: DisplayGeometry


class InexactError(Exception):
    """Decoding continued, but the numbers of its frames are no longer exact."""


def read_frames(
    path: Path,
    video: Video,
    index: FrameIndex,
    start_frame: int,
    stop_frame: int,
    size: tuple[int, int] | None = None,
    wanted: NDArray[np.int64] | None = None,
    places: Iterator[NDArray[np.uint8]] | None = None,
) -> Iterator[Frame]:
    """Read frames [start_frame, stop_frame) in order, with equal pixels however a video is segmented.

    Each has the size of the video's first frame as a player shows it. A frame of another size keeps its proportions, is
    as large as fits, and centred.
    size: (width, height) to resize to, bilinearly; None = the video's
    wanted: only these frames, ascending; None = all. Their pixels do not depend on the choice
    places: gives the array for each frame's pixels, (height, width, 3) uint8; None = new ones
    A frame that does not decode, or that the decoder flags as corrupt, is left out: its number is missing.
    Raises VideoError where no frame of the segment decodes, AttemptError where the file is not the probed one.
    """
    if not 0 <= start_frame < stop_frame <= video.frames:
        raise ValueError(f"Frames [{start_frame}, {stop_frame}) are not inside [0, {video.frames}).")
    chosen = None if wanted is None else set(wanted.tolist())
    if chosen is not None:
        if not chosen:
            return
        stop_frame = max(chosen) + 1
    empty = True
    for number, frame, geometry in _exact_frames(path, video, index, start_frame, stop_frame):
        if not frame.is_corrupt:
            empty = False
            if chosen is not None and number not in chosen:
                continue
            rgb = to_rgb(frame, size or (video.width, video.height), geometry, next(places) if places else None)
            yield Frame(number, float(index.timestamps_s[number]), rgb)
    if empty:
        raise VideoError(
            f"None of the frames {start_frame} to {stop_frame - 1} can be decoded. Copy the damaged video again."
        )


def _exact_frames(path: Path, video: Video, index: FrameIndex, start: int, stop: int) -> Iterator[_Numbered]:
    """Decode frames [start, stop) with several threads, and where those are inexact keyframe by keyframe.

    A decoder's output for a damaged packet depends on the packets before it, and on the threads' timing. So the first
    error ends the threads, and a new decoder with one thread decodes the frames up to the next keyframe, starting at
    their own keyframe: the result is the same wherever the segment begins. Then the threads continue.
    """
    position = start
    while position < stop:
        strict = index.numbered_by != "order"  # a frame lost to an error shifts all later numbers
        keyframe = _keyframe_before(index, position)
        try:
            for numbered in _run(path, video, index, keyframe, position, stop, strict=strict):
                position = numbered.number + 1
                yield numbered
            return
        except InexactError:
            until = min(_keyframe_after(index, position), stop)
        yield from _patiently(
            path, video, index, keyframe=_keyframe_before(index, position), start=position, stop=until
        )
        position = until


def _patiently(
    path: Path, video: Video, index: FrameIndex, *, keyframe: int, start: int, stop: int
) -> Iterator[_Numbered]:
    """Decode with one thread; from the file's start where the frames after a seek are not those of the index."""
    try:
        for numbered in _run(path, video, index, keyframe, start, stop, strict=False):
            start = numbered.number + 1
            yield numbered
    except InexactError:
        yield from _run(path, video, index, 0, start, stop, strict=False)


def _keyframe_before(index: FrameIndex, number: int) -> int:
    return int(index.keyframes[np.searchsorted(index.keyframes, number, side="right") - 1])


def _keyframe_after(index: FrameIndex, number: int) -> int:
    after = index.keyframes[np.searchsorted(index.keyframes, number, side="right") :]
    return int(after[0]) if len(after) else len(index.pts)


def _run(
    path: Path, video: Video, index: FrameIndex, keyframe: int, start: int, stop: int, *, strict: bool
) -> Iterator[_Numbered]:
    """Decode frames [start, stop) from the keyframe on until a later one comes out.

    The pictures shown before an open keyframe lie behind it in the file. Raises InexactError.
    """
    geometries = FrameGeometries(video)
    with open_regular(path) as (file, name):
        if file.seek(0, 2) != video.size_bytes:
            raise AttemptError(
                f"The file has changed since it was probed, from {video.size_bytes} to {file.tell()} bytes. Run again."
            )
        with confirmed(file, os.fstat(file.fileno()), video.sha256), open_container(name, video.container) as container:
            stream = film_stream(container, video.stream)
            prepare_decoder(stream, MAX_PIXELS, strict=strict)  # a frame may be larger than the first one
            packets = _packets(container, stream, index, keyframe)
            aspects = StreamAspects(stream) if video.container in ASPECT_IN_STREAM else None
            frames = decode(stream, aspects.sent(packets) if aspects else packets, strict=strict)
            for number, frame in _number(frames, index, sought=keyframe > 0):
                aspect = _aspect(aspects, frame)
                if number >= stop:
                    return
                if number >= start:
                    start = number + 1
                    yield _Numbered(number, frame, geometries.of(frame, aspect))


def _aspect(aspects: StreamAspects | None, frame: VideoFrame) -> Fraction | None:
    """Return the aspect of a frame. Raises InexactError."""
    try:
        return aspects.of(frame) if aspects else None
    except AspectChanged as error:
        raise InexactError from error


@contextmanager
def open_container(name: str, container: str) -> Iterator[InputContainer]:
    """Open the file as this container only, and by the file protocol only. Raises VideoError."""
    options = {"protocol_whitelist": "file", "format_whitelist": container}
    try:
        opened = av.open(name, format=container, options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(
            f"The file cannot be opened as {container} ({_words(error)}). Copy it again, as it is damaged or truncated."
        ) from error
    with opened:
        yield opened


def prepare_decoder(stream: VideoStream, max_pixels: int, *, strict: bool) -> None:
    """Set up the decoder. strict: fast, any damage is an error; else one thread, which conceals damage like players."""
    options = {"max_pixels": str(max_pixels)}
    stream.codec_context.options = options | {"err_detect": "explode"} if strict else options
    many = strict and stream.codec_context.codec.canonical_name in THREADED and _pays(stream)
    stream.thread_type = "AUTO" if many else "NONE"


def _pays(stream: VideoStream) -> bool:
    """Return whether several threads are faster although inference needs cores, too."""
    pixels = stream.codec_context.width * stream.codec_context.height
    return pixels > SMALL_PIXELS or len(os.sched_getaffinity(0)) > 2


def decode(stream: VideoStream, packets: Iterable[VideoPacket], *, strict: bool) -> Iterator[VideoFrame]:
    """Decode frames in presentation order. strict: raise at an error; else leave out the lost frames.

    Empty packets are skipped, as they mean the end to a decoder; None marks the end.
    """
    drain = stream.codec_context.codec.canonical_name in LOSES_AT_NEW_SIZE
    size: bytes | None = None
    for packet in itertools.chain((packet for packet in packets if packet.size), [None]):
        if drain and packet is not None and packet.is_keyframe:
            before, size = size, mpeg2_size(bytes(memoryview(packet)[:HEAD_BYTES])) or size
            if before not in (None, size):
                yield from _decode_packet(stream, None, strict=strict)
                stream.codec_context.flush_buffers()
        yield from _decode_packet(stream, packet, strict=strict)


def _decode_packet(stream: VideoStream, packet: VideoPacket | None, *, strict: bool) -> list[VideoFrame]:
    try:
        return stream.decode(packet)
    except MemoryError:
        raise  # the sandbox's limit, not damage of the video
    except av.error.FFmpegError as error:
        if strict:
            raise InexactError from error
        return []


def _packets(container: InputContainer, stream: VideoStream, index: FrameIndex, keyframe: int) -> Iterable[VideoPacket]:
    """Packets from this keyframe or an earlier one on; numbered by packet, each has its frame's number as its pts."""
    start, packets = _seek(container, stream, index, keyframe) if keyframe else (0, all_packets(container, stream))
    if index.numbered_by != "packet":
        return packets
    return _stamp_numbers(count_packets(stream, packets, int(index.packets[start]) if keyframe else 0), index)


def count_packets(
    stream: VideoStream, packets: Iterable[VideoPacket], first: int = 0
) -> Iterator[tuple[int, VideoPacket]]:
    """Yield packets with the numbers of their frames, -1 for packets without a frame. first: the first frame's"""
    codec, number = stream.codec_context.codec.canonical_name, first
    for packet in packets:
        if packet.size and not packet.is_discard and is_shown(codec, memoryview(packet)):
            yield number, packet
            number += 1
        else:
            yield -1, packet


def _stamp_numbers(counted: Iterable[tuple[int, VideoPacket]], index: FrameIndex) -> Iterator[VideoPacket]:
    frame_of = np.full(int(index.packets.max()) + 2, -1)
    frame_of[index.packets] = np.arange(len(index.packets))
    for number, packet in counted:
        frame = int(frame_of[min(number, len(frame_of) - 1)])
        packet.pts, packet.dts = (frame if frame >= 0 else None), None
        yield packet


def _seek(
    container: InputContainer, stream: VideoStream, index: FrameIndex, keyframe: int
) -> tuple[int, Iterable[VideoPacket]]:
    """Seek this keyframe or, where the container's index is coarse, an earlier one. Returns it and its packets.

    Raises InexactError.
    """
    position = int(np.searchsorted(index.keyframes, keyframe))
    headers = headers_after(all_packets(container, stream), _headers_up_to(index, keyframe))
    for candidate in range(position, max(position - SEEK_TRIES, 0), -1):
        try:
            _seek_to(container, stream, index, candidate)
            packets = all_packets(container, stream)
            first = next((packet for packet in packets if packet.is_keyframe and packet.size), None)
        except av.error.FFmpegError:
            continue
        number = None if first is None else _known_keyframe(index, first)
        if first is not None and number is not None and number <= keyframe:
            give_headers(first, headers[_headers_up_to(index, number)])
            return number, itertools.chain([first], packets)
    raise InexactError


def _headers_up_to(index: FrameIndex, keyframe: int) -> int:
    return int(index.key_headers[np.searchsorted(index.keyframes, keyframe)]) if len(index.key_headers) else 0


def _seek_to(container: InputContainer, stream: VideoStream, index: FrameIndex, candidate: int) -> None:
    if index.numbered_by != "packet":
        container.seek(int(index.pts[index.keyframes[candidate]]), stream=stream)
    elif container.format.name in SOUGHT_BY_BYTE:
        container.seek(int(index.key_bytes[candidate]), stream=stream, unsupported_byte_offset=True)
    else:
        container.seek(int(index.key_stamps[candidate]), stream=stream)


def _known_keyframe(index: FrameIndex, packet: VideoPacket) -> int | None:
    """Return the number of the keyframe that begins with this packet; None where it is not in the index."""
    if index.numbered_by == "packet":
        found = np.flatnonzero(index.key_bytes == packet.pos) if packet.pos is not None else np.empty(0, np.int64)
        return int(index.keyframes[found[0]]) if len(found) else None
    number = None if packet.pts is None else _lookup(index, packet.pts)
    return number if number is not None and number in index.keyframes else None


def _lookup(index: FrameIndex, key: int) -> int | None:
    number = int(index.pts.searchsorted(key))
    return number if number < len(index.pts) and index.pts[number] == key else None


def _number(frames: Iterable[VideoFrame], index: FrameIndex, *, sought: bool) -> Iterator[tuple[int, VideoFrame]]:
    """Give each frame its number. sought: a frame that is not in the index means a wrong seek; else it is left out."""
    number: int | None = -1
    previous = -1
    for frame in frames:
        key = frame.dts if index.numbered_by == "dts" else frame.pts
        if index.numbered_by == "order" or (index.numbered_by == "dts" and key is None):
            number = previous + 1
        else:
            number = None if key is None else _lookup(index, key)
        if number is not None:
            previous = number
            yield number, frame
        elif sought:
            raise InexactError


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
