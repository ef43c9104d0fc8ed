"""The stream of a file that is its film, not a thumbnail, a cover or a disabled track."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from models.types import VideoError

if TYPE_CHECKING:  # PyAV's class is generic for type checkers only
    VideoPacket: TypeAlias = Packet[VideoStream]
else:
    VideoPacket = Packet

PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def choose_stream(container: InputContainer) -> tuple[int, int]:
    """Index of the film's stream, and the number of streams that it was chosen from. Raises VideoError.

    ffmpeg's choice: default before others, then the most pixels, then the most frames, then the first. A track that
    is disabled in an MP4 is not a default. A stream with a single picture is a thumbnail if another one moves.
    Reads the file to its end where there are several streams.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        raise VideoError(_what_is_missing(container, films))
    if len(decodable) == 1:
        return decodable[0].index, 1
    frames = _count_packets(container, decodable)
    moving = [stream for stream in decodable if frames[stream.index] > 1]
    candidates = moving or [stream for stream in decodable if frames[stream.index]] or decodable
    best = max(candidates, key=lambda stream: (*_rank(stream), frames[stream.index], -stream.index))
    return best.index, len(decodable)


def film_stream(container: InputContainer, index: int) -> VideoStream:
    """Return the stream that was chosen when the file was probed. Raises VideoError where the file is another now."""
    streams = container.streams
    stream = streams[index] if index < len(streams) else None
    if not isinstance(stream, VideoStream) or stream.codec_context is None:
        raise VideoError(
            f"The file has changed since it was probed: its stream {index} is not a video. Run the batch again."
        )
    return stream


def all_packets(container: InputContainer, *streams: VideoStream) -> Iterator[VideoPacket]:
    """Iterate over the packets to the file's end.

    FFmpeg gives up on MPEG-TS after 64 KB without a packet, as after a lost signal, a bad disk or reserved space. It
    continues when called again. PyAV fails in the same way at a packet of a stream that begins with garbage.
    """
    while True:
        try:
            yield from container.demux(streams)
            return
        except (av.error.BlockingIOError, IndexError):
            continue


def _rank(stream: VideoStream) -> tuple[bool, int]:
    context = stream.codec_context
    return bool(stream.disposition & Disposition.default), context.width * context.height


def _count_packets(container: InputContainer, streams: list[VideoStream]) -> Counter[int]:
    """Packets of each stream by its index; of a damaged file, as far as it can be read."""
    counts: Counter[int] = Counter()
    try:
        counts.update(packet.stream.index for packet in all_packets(container, *streams) if packet.size)
    except MemoryError:
        raise
    except av.error.FFmpegError:
        pass
    return counts


def _what_is_missing(container: InputContainer, films: list[VideoStream]) -> str:
    if films:
        return "There is no decoder for its video stream. Convert it to H.264."
    videos = container.streams.video
    kinds = ", ".join(sorted({stream.type for stream in container.streams if stream not in videos})) or "nothing"
    cover = " and a cover picture" if videos else ""
    return f"The file has {kinds}{cover}, but no video stream. Remove it from the archive."
