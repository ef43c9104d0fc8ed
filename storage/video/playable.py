"""Decide whether browsers play a file as it is, with every frame at its t_s and in its displayed geometry.

The list is short on purpose: a file that is not on it is converted, which costs time, while a file that is played
wrongly shows skeletons beside people. Meant for a child process (storage/sandbox/parent.py), as it reads untrusted
files.
"""

import struct
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.video.stream import VideoStream

from models.types import FrameIndex, Video
from storage.video.containers.signatures import HEAD_BYTES
from storage.video.frames import open_container
from storage.video.geometry import NO_CROP, geometry_of
from storage.video.keyframes import h264_sequences, size_marks
from storage.video.regular_file import open_regular, read_at
from storage.video.streams import all_packets, film_stream

CODECS = {"mov": {"h264", "vp9", "av1"}, "matroska": {"vp8", "vp9", "av1"}}
EIGHT_BITS = {"yuv420p", "yuvj420p"}
H264_PROFILES = {"Baseline", "Constrained Baseline", "Main", "High", "Progressive High", "Constrained High"}
SOUNDS = {"aac", "opus", "vorbis", "flac"}  # a sound that fails to decode stops the picture, too
WEBM = b"\x42\x82\x84webm"  # Matroska's DocType element (RFC 8794, 11.2.6)
MOST_INDEX_BYTES = 1 << 28  # of a moov box: a day of frames has 50 MB
EMPTY_EDIT = -1  # ISO/IEC 14496-12, 8.6.6: a media_time that shows nothing
FILM = b"vide"  # the handler of a video track


class Track(NamedTuple):
    """A track of an MP4 or MOV. kind: its handler; edits: the media times of its edit list"""

    kind: bytes
    edits: list[int]

    @property
    def plain(self) -> bool:
        """Return whether the edit list does no more than delay the track and skip its lead-in."""
        return len([edit for edit in self.edits if edit != EMPTY_EDIT]) <= 1 and EMPTY_EDIT not in self.edits[1:]

    @property
    def skips(self) -> bool:
        """Return whether a lead-in is skipped: the time by which reordered frames are decoded earlier."""
        return any(edit > 0 for edit in self.edits)


class KeyPacket(NamedTuple):
    """Time stamps of a keyframe's packet, ticks."""

    pts: int
    dts: int


def reason_to_convert(path: Path, video: Video, index: FrameIndex) -> str | None:
    """Return why a file must be converted for browsers, as part of a sentence; None = they play it as it is.

    video, index: as the file was just probed. Raises VideoError or AttemptError.
    """
    if reason := _by_probe(video, index):
        return reason
    with open_regular(path) as (file, name):
        tracks = read_tracks(file, video.size_bytes) if video.container == "mov" else []
        if not all(track.plain for track in tracks):
            return "an edit list with cuts"
        if video.container == "matroska" and WEBM not in read_at(file, 0, HEAD_BYTES)[:64]:
            return "a Matroska file that is not WebM"
        with open_container(name, video.container) as opened:
            skips = any(track.skips for track in tracks if track.kind == FILM)
            return _by_streams(opened, video) or _by_packets(opened, film_stream(opened, video.stream), skips=skips)


def _by_probe(video: Video, index: FrameIndex) -> str | None:
    """Return what the probe alone tells: codec, geometry, times."""
    reasons = {
        f"{video.codec} in {video.container}": video.codec not in CODECS.get(video.container, ()),
        "edges that the container cuts off": geometry_of(video).crop != NO_CROP,
        "a mirrored picture": video.mirrored,
        f"a turned picture in {video.container}": bool(video.rotation) and video.container != "mov",
        "several video streams": video.streams > 1,
        "damaged time stamps": bool(video.time_repairs),
        "frames without plain time stamps": index.numbered_by != "pts",
        "a change of the codec's header": len(index.key_headers) > 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def read_tracks(file: BufferedReader, size: int) -> list[Track]:
    """Read the kind and the edit list of each track of an MP4 or MOV."""
    movies = _top_level(file, size, b"moov")
    tracks = (content for movie in movies for kind, content in _children(movie) if kind == b"trak")
    return [
        Track(_first(track, b"mdia", b"hdlr")[8:12], _media_times(_first(track, b"edts", b"elst"))) for track in tracks
    ]


def _top_level(file: BufferedReader, size: int, wanted: bytes) -> Iterator[bytes]:
    """Yield the contents of the file's boxes of this kind."""
    position = 0
    while position + 8 <= size:
        head = read_at(file, position, 16)
        length, kind = struct.unpack(">I4s", head[:8])
        start = 8
        if length == 1 and len(head) == 16:
            length, start = struct.unpack(">Q", head[8:])[0], 16
        elif length == 0:
            length = size - position
        if length < start:
            return
        if kind == wanted:
            yield read_at(file, position + start, min(length - start, MOST_INDEX_BYTES))
        position += length


def _first(data: bytes, *path: bytes) -> bytes:
    """Return the content of the first box at this path; b"" = there is none."""
    for name in path:
        data = next((content for kind, content in _children(data) if kind == name), b"")
    return data


def _children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if length < 8:
            return
        yield kind, data[position + 8 : position + length]
        position += length


def _media_times(edits: bytes) -> list[int]:
    """Media time of each edit; version 1 of the box has 64 bits."""
    entry = struct.Struct(">qqi" if edits[:1] == b"\x01" else ">iii")
    whole = len(edits[8:]) // entry.size * entry.size
    return [media_time for _, media_time, _ in entry.iter_unpack(edits[8 : 8 + whole])]


def _by_streams(opened: InputContainer, video: Video) -> str | None:
    context = film_stream(opened, video.stream).codec_context
    if len(opened.streams.video) > 1:
        return "a second picture stream"
    if context.pix_fmt not in EIGHT_BITS:
        return f"{context.pix_fmt or 'unknown'} pixels"
    if video.codec == "h264" and context.profile not in H264_PROFILES:
        return f"H.264's profile {context.profile}"
    sounds = {sound.codec_context.codec.canonical_name for sound in opened.streams.audio if sound.codec_context}
    return f"sound that browsers do not play ({', '.join(sorted(sounds - SOUNDS))})" if sounds - SOUNDS else None


def _by_packets(opened: InputContainer, stream: VideoStream, *, skips: bool) -> str | None:
    """Read the file to its end for what its header does not tell: cut frames, pictures of another size, bad seeking.

    skips: the edit list skips the lead-in of reordered frames
    """
    codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
    marks = h264_sequences(extradata or b"") if codec == "h264" else set()
    most = max(1, len(marks))
    keys: list[KeyPacket] = []
    for packet in all_packets(opened, stream):
        if packet.is_discard:
            return "frames that an edit list hides"
        if packet.size and (packet.is_keyframe or codec == "vp9"):
            marks |= size_marks(codec, extradata, memoryview(packet))
            if len(marks) > most:
                return "pictures of several sizes"
        if packet.size and packet.is_keyframe:
            shown = packet.pts or 0
            keys.append(KeyPacket(shown, shown if packet.dts is None else packet.dts))
    return None if sought_exactly(keys, skips=skips) else "keyframes that Chromium does not find by their time"


def sought_exactly(keys: list[KeyPacket], *, skips: bool) -> bool:
    """Return whether Chromium finds the keyframe before any moment.

    It looks for one decoded at that moment less the lead-in that the edit list skips, and would show a later picture
    where a keyframe is decoded longer before it is shown. skips: the edit list skips the first frame's lead-in
    """
    lead_in = keys[0].pts - keys[0].dts if keys and skips else 0
    return all(key.pts - key.dts <= lead_in for key in keys[1:])
