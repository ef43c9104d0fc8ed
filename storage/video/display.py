"""Statements of a container, a stream and a decoded frame on how the frame is shown. No probing, no pixels.

Meant for a child process (storage/sandbox/parent.py), as it reads untrusted files.
"""

import dataclasses
import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.types import Video
from storage.video.geometry import NO_CROP, Crop, DisplayGeometry, geometry_of, orientation, usable_aspect, usable_crop
from storage.video.streams import VideoPacket

# These containers do not state the pixels' shape. Their streams do, and may change it: broadcasts switch from 4:3 to
# 16:9 without changing the number of pixels.
ASPECT_IN_STREAM = {"mpegts", "mpeg", "flv", "h264", "hevc", "mpegvideo", "m4v", "dv"}
PACKETS_IN_FLIGHT = 64  # more frames than any decoder holds back
# Matroska's names of elements (RFC 9559): the way to a track's picture, and the cropped edges in it.
EBML_VIDEO = (b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0")
EBML_CROP = {b"\x54\xcc": "left", b"\x54\xbb": "top", b"\x54\xdd": "right", b"\x54\xaa": "bottom"}


class AspectChanged(Exception):
    """The pixels' shape changed, at a frame that is unknown with several threads."""


class StreamAspects:
    """The pixels' aspect of each decoded frame, as the stream states it.

    PyAV's frames do not carry it. The decoder has the aspect of its last packet, and returns frames later, so the
    aspect is kept by the packet's time. With several threads a change raises AspectChanged.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._context = stream.codec_context
        self._threads = stream.thread_type.name != "NONE"
        self._at_first: Fraction | None = None
        self._started = False
        self._by_pts: dict[int | None, Fraction | None] = {}

    def sent(self, packets: Iterable[VideoPacket]) -> Iterator[VideoPacket]:
        """Pass packets through. Each one's aspect is recorded when the next one is requested, after its decoding."""
        for packet in packets:
            yield packet
            if not self._threads:
                self._by_pts[packet.pts] = self._context.sample_aspect_ratio
                if len(self._by_pts) > PACKETS_IN_FLIGHT:
                    del self._by_pts[next(iter(self._by_pts))]

    def of(self, frame: VideoFrame) -> Fraction | None:
        """Return the aspect of a frame that was just decoded. Raises AspectChanged."""
        newest = self._context.sample_aspect_ratio
        if not self._threads:
            return self._by_pts.pop(frame.pts, newest)
        if not self._started:
            self._started, self._at_first = True, newest
        if newest != self._at_first:
            raise AspectChanged
        return newest


class FrameGeometries:
    """The geometry of each decoded frame of a video: most often that of the first one."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self._known: dict[tuple[int, int, bytes | None, Fraction | None], DisplayGeometry] = {}

    def of(self, frame: VideoFrame, aspect: Fraction | None) -> DisplayGeometry:
        """Return the geometry of a frame. aspect: by the stream; it counts only where the container states none."""
        key = frame.width, frame.height, _matrix(frame), aspect
        found = self._known.get(key)
        if found is None:
            self._known.clear()  # a geometry that changes with every frame must not fill the memory
            found = self._known[key] = self._fitted(*key)
        return found

    def _fitted(self, width: int, height: int, matrix: bytes | None, aspect: Fraction | None) -> DisplayGeometry:
        first = geometry_of(self._video)
        same = (width, height) == (first.stored_width, first.stored_height)
        pixel_aspect = usable_aspect(aspect) if self._video.container in ASPECT_IN_STREAM else first.pixel_aspect
        crop = first.crop if same else NO_CROP  # its numbers are pixels of the first frame
        own = DisplayGeometry(width, height, crop, pixel_aspect, *orientation(matrix))
        return own if own.size == first.size else dataclasses.replace(own, reference=first.size)


def geometry_of_first(
    stream: VideoStream, container: str, frame: VideoFrame, aspects: StreamAspects
) -> DisplayGeometry:
    """Return the geometry of the first frame, which was just decoded."""
    stored_size = frame.width, frame.height
    in_stream = aspects.of(frame)
    aspect = in_stream if container in ASPECT_IN_STREAM else stream.sample_aspect_ratio or in_stream
    crop = usable_crop(_container_crop(stream), stored_size) if stored_size == _header_size(stream) else NO_CROP
    return DisplayGeometry(*stored_size, crop, usable_aspect(aspect), *orientation(_matrix(frame)))


def _header_size(stream: VideoStream) -> tuple[int, int]:
    return stream.codec_context.width, stream.codec_context.height


def _matrix(frame: VideoFrame) -> bytes | None:
    side_data = frame.side_data
    if not len(side_data):  # nearly always; an exception per frame would cost more than all other code here
        return None
    found = side_data.get("DISPLAYMATRIX")
    return bytes(found) if isinstance(found, SideData) else None


def _container_crop(stream: VideoStream) -> Crop:
    """Return the clean aperture of an MP4, or the PixelCrop of a Matroska file.

    FFmpeg reads both, but PyAV does not expose them. So FFmpeg writes only the stream's header as Matroska into memory,
    where the four numbers are easy to find for any container.
    """
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="matroska") as out:
            out.add_stream_from_template(stream)
            out.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return NO_CROP  # a codec that Matroska does not support: none of those has a crop
    content = header.getvalue()
    for name in EBML_VIDEO:
        content = next((inner for found, inner in _elements(content) if found == name), b"")
    crops = ((name, inner) for name, inner in _elements(content) if name in EBML_CROP)
    return Crop(**{EBML_CROP[name]: int.from_bytes(inner, "big") for name, inner in crops})


def _elements(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of each EBML element that follows another in the data (RFC 8794)."""
    position = 0
    while position < len(data):
        name = data[position : position + _vint_bytes(data, position)]
        position += len(name)
        length = _vint_bytes(data, position)
        size = int.from_bytes(data[position : position + length], "big") & (1 << 7 * length) - 1
        position += length
        yield name, data[position : position + size]
        position += size


def _vint_bytes(data: bytes, position: int) -> int:
    """Bytes of the number of variable length that begins here."""
    return 9 - data[position].bit_length()
