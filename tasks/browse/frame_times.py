"""The exact time of each frame of a video, and its geometry as it is read now.

A video is probed once in the sandbox. The outcome is kept in the home's cache under the hash of the video's bytes and
of the code that reads it, also where the file cannot be read: a hostile file costs one probe per FAILED_S.
"""

import dataclasses
import hashlib
import io
import json
import threading
import time
from collections.abc import Sequence
from functools import cache
from io import BufferedRandom
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import storage.video
from models.types import FrameIndex, NightjarError, Video, VideoError
from storage.objects.archive import Entry
from storage.objects.cache import FileCache
from storage.objects.places import ObjectError
from storage.sandbox.parent import Sandbox, SandboxError
from storage.sql.browse.videos import StoredVideo, present_files
from storage.sql.catalogue import ArchivedVideo, read_geometry
from storage.video.geometry import DisplayGeometry, geometry_of
from storage.video.probe import from_record
from tasks.segment.open_video import probe
from tasks.site.site import Site

CACHE_BYTES = 1 << 30
FRAME_BYTES = 64  # at most, of a frame's place and of its keyframe's
HEADER_BYTES = 1 << 20  # at most, of the properties of a video
FAILED_S = 600.0
MOST_READ_S = 120.0  # for any file, and 1 s per 2 MB as in a batch: somebody waits
AT_ONCE = threading.BoundedSemaphore(2)  # probes of this process
# Geometries of videos by home and hash, as every piece of rows needs one: a day's times are 50 MB. The same bytes keep
# their geometry as long as the code is the same.
_GEOMETRIES: dict[tuple[Path, str], DisplayGeometry] = {}
_UNREADABLE_UNTIL: dict[tuple[Path, str], float] = {}  # videos whose files do not need another look for UNREADABLE_S
UNREADABLE_S = 10.0
MOST_REMEMBERED = 10_000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
MAGIC = b"NJF1"
HEAD_BYTES = len(MAGIC) + 32 + 4  # with a hash and the header's length
SUFFIX = ".frames"


class UnreadableVideo(NightjarError):
    """A video whose frames cannot be read now: its file is gone, changed or damaged."""


class _Kept(NamedTuple):
    """A kept outcome. header: properties of the video, or the reason of a failure; arrays: of the index, as npz"""

    header: dict[str, Any]
    arrays: bytes


def probed_video(site: Site, video: StoredVideo) -> tuple[Video, FrameIndex]:
    """Return the properties of a video and the place of each frame, from the cache if it was probed before.

    One probe of a video runs at a time; others wait for it. Raises NightjarError.
    """
    header, arrays = _outcome(site, video)
    with np.load(io.BytesIO(arrays), allow_pickle=False) as found:
        index = {name: found[name] for name in found.files}
    return from_record({"video": header["video"], "index": {**index, "numbered_by": header["numbered_by"]}})


def shown_geometry(site: Site, video: StoredVideo) -> DisplayGeometry:
    """Return the geometry of the frames as they are read now; as stored if the file cannot be read.

    Waits for a probe that is needed.
    """
    key = (site.settings.home, video.sha256)
    if (known := _GEOMETRIES.get(key)) is not None:
        return known
    if video.gone_at is not None or time.monotonic() < _UNREADABLE_UNTIL.get(key, 0.0):
        return read_geometry(site.engine, video.video_id)
    try:
        found = geometry_of(_video(_outcome(site, video).header))
    except NightjarError:
        _remember(_UNREADABLE_UNTIL, key, time.monotonic() + UNREADABLE_S)
        return read_geometry(site.engine, video.video_id)
    _remember(_GEOMETRIES, key, found)
    return found


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[key] = value


def _video(header: dict[str, Any]) -> Video:
    return Video(**{**header["video"], "time_repairs": ()})


def _outcome(site: Site, video: StoredVideo) -> _Kept:
    """Return the kept probe. Raises NightjarError, also for a kept failure."""
    kept = _keep(site, video)
    if kept is None or _is_old_failure(kept):
        (_folder(site) / _name(video)).unlink(missing_ok=True)
        kept = _keep(site, video)
    if kept is None:
        raise UnreadableVideo(f"The cache in {str(_folder(site))!r} does not keep what is written. Check its disk.")
    if "reason" in kept.header:
        raise UnreadableVideo(str(kept.header["reason"]))
    return kept


def _is_old_failure(kept: _Kept) -> bool:
    return "reason" in kept.header and time.time() - float(kept.header["at"]) > FAILED_S


def _keep(site: Site, video: StoredVideo) -> _Kept | None:
    """Return the kept probe, after making it if there is none; None = its file is damaged."""
    size = HEADER_BYTES + video.frames * FRAME_BYTES

    def fetch(file: BufferedRandom) -> None:
        with AT_ONCE:
            file.write(_probe(site, video))

    with FileCache(_folder(site), CACHE_BYTES).file(_identity(video), SUFFIX, size, fetch) as path:
        return _parsed(path.read_bytes())


def _parsed(data: bytes) -> _Kept | None:
    """Read the content of a kept file; None = it is not as it was written."""
    digest, length = data[len(MAGIC) : HEAD_BYTES - 4], int.from_bytes(data[HEAD_BYTES - 4 : HEAD_BYTES], "little")
    if not data.startswith(MAGIC) or hashlib.sha256(data[HEAD_BYTES - 4 :]).digest() != digest:
        return None
    return _Kept(json.loads(data[HEAD_BYTES : HEAD_BYTES + length]), data[HEAD_BYTES + length :])


def _probe(site: Site, video: StoredVideo) -> bytes:
    """Probe the video, and return the content of its file in the cache. Raises NightjarError."""
    try:
        found, index = _read(site, video, present_files(site.engine, video.video_id))
    except (VideoError, SandboxError) as error:  # of the bytes themselves
        return _content({"reason": str(error), "at": time.time()}, b"")
    arrays = io.BytesIO()
    np.savez(arrays, **{name: value for name, value in vars(index).items() if isinstance(value, np.ndarray)})
    return _content({"video": dataclasses.asdict(found), "numbered_by": index.numbered_by}, arrays.getvalue())


def _content(header: dict[str, Any], arrays: bytes) -> bytes:
    """Return the content of a kept file: MAGIC, sha256 of the rest, length of the header, header, arrays."""
    text = json.dumps(header).encode()
    body = len(text).to_bytes(4, "little") + text + arrays
    return MAGIC + hashlib.sha256(body).digest() + body


def _read(site: Site, video: StoredVideo, files: Sequence[ArchivedVideo]) -> tuple[Video, FrameIndex]:
    """Probe the first of the video's files that can be opened."""
    limits = site.settings.read_limits
    limits = limits._replace(base_s=min(limits.base_s, MOST_READ_S))
    reason: NightjarError = UnreadableVideo(f"{video.name} is in no archive any more, so its frames cannot be read.")
    for file in files:
        try:
            with (
                site.archive(file.archive).local(Entry(file.key, file.size_bytes, file.etag)) as path,
                Sandbox(site.settings.decoder_memory_bytes) as sandbox,
            ):
                found = probe(sandbox, path, limits)
        except ObjectError as error:
            reason = error
            continue
        if found[0].sha256 == video.sha256:
            return found
        reason = UnreadableVideo(f"{file.key} has changed since it was read. Run 'nightjar run {file.archive}'.")
    raise reason


def _folder(site: Site) -> Path:
    return site.settings.home.resolve() / "cache" / "frames"


def _identity(video: StoredVideo) -> str:
    return f"{video.sha256} {code_version()}"


def _name(video: StoredVideo) -> str:
    """Return the name that the cache gives the video's file."""
    return f"{hashlib.sha256(_identity(video).encode()).hexdigest()}{SUFFIX}"


@cache
def code_version() -> str:
    """Return a hash of the code that reads videos, so that a newer one reads them again."""
    digest = hashlib.sha256()
    for path in sorted(Path(next(iter(storage.video.__path__))).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
