"""Identity, exact frames, times, keyframes and display geometry of a video, by demuxing. Frames: frames.py.

Meant for a child process (storage/sandbox/parent.py), as it reads untrusted files.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.video.stream import VideoStream

from models.types import FrameIndex, TimeRepair, Video, VideoError
from storage.video.coded_film import CodedDigest, CodedFilm
from storage.video.containers.completeness import check_whole
from storage.video.containers.creation_time import EARLIEST, LATEST, creation_time
from storage.video.containers.signatures import HEAD_BYTES, container_of
from storage.video.frame_index import TRIAL_FRAMES, Film, demux, index_frames, timing_of, try_decoder
from storage.video.frames import MAX_PIXELS, open_container
from storage.video.regular_file import UNFINISHED, confirmed, digest, open_regular
from storage.video.streams import choose_stream, film_stream
from storage.video.unused import unused_bytes

__all__ = [
    "Limits",
    "VideoError",
    "begins_with",
    "checked_created_s",
    "created_record",
    "from_record",
    "probe_record",
    "probe_video",
]


@dataclass(frozen=True)
class Limits:
    """Bounds of a video: 8K, slow motion, a day and a half. Anything beyond is an attack or a fault."""

    max_pixels: int = MAX_PIXELS
    max_fps: float = 1000.0
    max_frames: int = 5_000_000
    max_duration_s: float = 36 * 3600.0


def probe_video(path: Path, limits: Limits | None = None, coded: CodedDigest | None = None) -> tuple[Video, FrameIndex]:
    """Probe a video's properties and its frames' positions. Only a few frames are decoded if its times are reliable.

    coded: digest of the coded pictures, where the caller wants to compare them with a former film

    Raises VideoError with the reason where it cannot be used: empty, not a video, truncated, no picture, beyond the
    limits, no decoder; AttemptError where it cannot be read now or changes meanwhile.
    """
    limits, coded = limits or Limits(), coded or CodedDigest()
    with open_regular(path) as (file, name):
        before = os.fstat(file.fileno())
        container = check_whole(file, before.st_size)
        sha256 = digest(file)
        with confirmed(file, before, sha256):
            with open_container(name, container) as opened:
                chosen, streams = choose_stream(opened)
            film = Film(name, container, chosen, limits.max_pixels)
            with open_container(name, container) as opened:
                stream = film_stream(opened, chosen)
                codec = stream.codec_context.codec.canonical_name
                _check_header(stream, limits)
                _check_entries(stream, container, before.st_size)
                packets = demux(opened, stream, limits.max_frames, coded)
                timing = timing_of(opened, stream, container)
                created_s = _created_s(opened, stream)
            whole = container == "avi" and packets.reordered
            trial = try_decoder(film, codec, None if whole else TRIAL_FRAMES)
            found = index_frames(film, packets, timing, trial)
            unused = unused_bytes(file, film, int(packets.position.max()))
    shown, frames = trial.geometry, len(found.index.pts)
    video = Video(
        sha256=sha256,
        size_bytes=before.st_size,
        container=container,
        codec=codec,
        width=shown.size[0],
        height=shown.size[1],
        rotation=shown.rotation,
        frames=frames,
        fps=frames / found.duration_s if frames > 1 else None,
        duration_s=found.duration_s,
        stored_width=shown.stored_width,
        stored_height=shown.stored_height,
        crop_left=shown.crop.left,
        crop_top=shown.crop.top,
        crop_right=shown.crop.right,
        crop_bottom=shown.crop.bottom,
        pixel_aspect=shown.pixel_aspect,
        mirrored=shown.mirrored,
        stream=chosen,
        streams=streams,
        coded_bytes=coded.film.size_bytes,
        coded_sha256=coded.film.sha256,
        created_s=created_s,
        created_read=True,
        time_repairs=found.repairs,
        unused_bytes=unused,
    )
    _check_extent(video, limits)
    return video, found.index


def begins_with(path: Path, sha256: str, size_bytes: int) -> bool:
    """Return whether the file's first size_bytes have this hash. Raises VideoError or AttemptError."""
    with open_regular(path) as (file, _):
        return digest(file, size_bytes) == sha256


def created_record(path: Path) -> dict[str, Any]:
    """Read the creation time from a video's header alone: {"created_s": seconds since 1970, or None}.

    Raises VideoError or AttemptError.
    """
    with open_regular(path) as (file, name):
        container = container_of(file.read(HEAD_BYTES))
        if container is None:
            raise VideoError("The file is not a video any more. Run the batch again.")
        with open_container(name, container) as opened:
            chosen, _ = choose_stream(opened)
            return {"created_s": _created_s(opened, film_stream(opened, chosen))}


def checked_created_s(value: Any) -> float | None:
    """Return seconds since 1970 that came from a sandbox, None for none. Raises ValueError for anything else."""
    if value is None:
        return None
    if not isinstance(value, float) or not EARLIEST.timestamp() <= value < LATEST.timestamp():
        raise ValueError(f"A creation time is {value!r}, not seconds between 1971 and 2199.")
    return value


def _created_s(opened: InputContainer, stream: VideoStream) -> float | None:
    found = creation_time([opened.metadata, stream.metadata])
    return None if found is None else found.timestamp()


def probe_record(path: Path, former: CodedFilm | None = None) -> dict[str, Any]:
    """Probe a video into plain values and arrays, which a sandbox can return.

    continues_former: true if the video's coded pictures begin with all of the former film's
    """
    coded = CodedDigest(former)
    video, index = probe_video(path, coded=coded)
    record = {"video": dataclasses.asdict(video), "index": dict(vars(index))}
    return record | {"continues_former": coded.continues_former}


def from_record(record: dict[str, Any]) -> tuple[Video, FrameIndex]:
    """Rebuild the video and its index from a probe_record. Raises ValueError for an invalid record."""
    try:
        repairs = tuple(TimeRepair(*values) for values in record["video"]["time_repairs"])
        video, index = Video(**{**record["video"], "time_repairs": repairs}), FrameIndex(**record["index"])
        checked_created_s(video.created_s)
        lengths = {video.frames, len(index.pts), len(index.timestamps_s)}
    except (KeyError, TypeError) as error:
        raise ValueError(f"This is not the record of a probed video: {error!r}.") from error
    if len(lengths) != 1:
        raise ValueError(f"This is not the record of a probed video: it has the lengths {sorted(lengths)}.")
    return video, index


def _check_header(stream: VideoStream, limits: Limits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_pixels:
        raise VideoError(
            f"The video has absurd dimensions: {width}x{height}, more than {limits.max_pixels} pixels per frame. "
            "Convert it."
        )


def _check_extent(video: Video, limits: Limits) -> None:
    if video.width * video.height > limits.max_pixels:
        raise VideoError(
            f"The video has absurd dimensions: {video.width}x{video.height} as shown, more than {limits.max_pixels} "
            "pixels. Convert it."
        )
    if video.fps and video.fps > limits.max_fps:
        raise VideoError(
            f"The video has an absurd frame rate: {video.fps:.6g} per second, more than {limits.max_fps:g}. Convert it."
        )
    if video.duration_s > limits.max_duration_s:
        raise VideoError(
            f"The video has an absurd duration: {video.duration_s:.0f} s, more than {limits.max_duration_s:.0f}. Cut "
            "it."
        )


def _check_entries(stream: VideoStream, container: str, size: int) -> None:
    """Refuse an MP4 whose boxes are in order but whose index points beyond the end of the file."""
    promised = max((entry.pos + entry.size for entry in stream.index_entries), default=0) if container == "mov" else 0
    if promised > size:
        raise VideoError(
            f"The file is truncated: it has {size} bytes, and its index points to byte {promised}. {UNFINISHED}"
        )
