"""Files of videos for the pages, and whether browsers play them as they are.

A file is opened by its archive, never by a path of a request, and read in the sandbox only. What was found out about it
is kept below the home's cache folder.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any, NamedTuple

from models.types import NightjarError, TooSlowError
from storage.objects.archive import Entry
from storage.objects.cache import FileCache
from storage.objects.places import ObjectError
from storage.sandbox.parent import Sandbox
from storage.sql.browse.videos import StoredVideo, present_files
from storage.sql.catalogue import ArchivedVideo
from tasks.browse.frame_times import code_version, probed_video
from tasks.browse.turns import Turns
from tasks.segment.open_video import state_of
from tasks.segment.sandboxed import playability_record
from tasks.site.settings import Settings
from tasks.site.site import Site

VERDICT_BYTES, VERDICTS_BYTES = 1 << 12, 1 << 24  # of one, and of all
STILLS_SHARE = 0.05  # of the cache's size; the rest is for converted films
_readings = Turns(most=2, waiting=8)


class MediaGoneError(NightjarError):
    """No archive has the video's file as it was read."""


class Playability(NamedTuple):
    """The verdict on a video for browsers. reason: why they cannot play it as it is; None = they can"""

    reason: str | None


class OpenFile(NamedTuple):
    """A video's file, which is as its archive lists it. path: valid while the context that gave it lasts"""

    path: Path
    size_bytes: int


def playability(site: Site, video: StoredVideo) -> Playability:
    """Find out whether browsers play a video, from the cache or from its file in the sandbox.

    Takes long for a large file that is read for the first time. Raises NightjarError: MediaGoneError without the file.
    """
    if known := known_playability(site.settings, video.sha256):
        return known

    def judge(out: BufferedRandom) -> None:
        with _readings.turn(), open_file(site, video) as file:
            out.write(json.dumps(_judged(site, video, file.path)).encode())

    with _verdicts(site.settings).file(_name(video.sha256), ".json", VERDICT_BYTES, judge) as path:
        return _parsed(path)


def known_playability(settings: Settings, sha256: str) -> Playability | None:
    """Return what was found out about a video, without reading its file; None = it was not read yet."""
    with _verdicts(settings).kept(_name(sha256), ".json") as path:
        return None if path is None else _parsed(path)


@contextmanager
def open_file(site: Site, video: StoredVideo) -> Iterator[OpenFile]:
    """Provide the video's file, from the first archive that has it as listed. Raises NightjarError."""
    files = present_files(site.engine, video.video_id)
    with ExitStack() as stack:
        fault = "No archive has it any more."
        for listed in files:
            try:
                path = stack.enter_context(site.archive(listed.archive).local(entry_of(listed)))
            except ObjectError as error:
                fault = error.happened
                continue
            yield OpenFile(path, listed.size_bytes)
            return
        archive = files[-1].archive if files else video.archive or "its archive"
        raise MediaGoneError(
            f"The file of {video.name} cannot be opened as it was read. {fault} Put the file back, or run "
            f"'nightjar run {archive}' to read it again."
        )


def is_at_hand(site: Site, video: StoredVideo) -> bool:
    """Return whether an archive has the file where it can be read without a download."""
    files = present_files(site.engine, video.video_id)
    return any(site.archive(listed.archive).at_hand(entry_of(listed)) for listed in files)


def entry_of(listed: ArchivedVideo) -> Entry:
    """Return a file of the database as its archive lists it."""
    return Entry(listed.key, listed.size_bytes, listed.etag)


def film_cache(settings: Settings) -> FileCache:
    """Return the cache of converted films."""
    return FileCache(settings.media_cache / "films", int(settings.media_cache_bytes * (1 - STILLS_SHARE)))


def still_cache(settings: Settings) -> FileCache:
    """Return the cache of single frames."""
    return FileCache(settings.media_cache / "stills", int(settings.media_cache_bytes * STILLS_SHARE))


def _verdicts(settings: Settings) -> FileCache:
    return FileCache(settings.media_cache / "verdicts", VERDICTS_BYTES)


def _name(sha256: str) -> str:
    """Name a verdict by the bytes that it is about and by the code that gave it."""
    return f"{sha256} {code_version()}"


def _judged(site: Site, video: StoredVideo, path: Path) -> dict[str, Any]:
    probed, index = probed_video(site, video)
    state, limits = state_of(path), site.settings.read_limits
    wall_s = limits.wall_s(state.size_bytes if state else 0)
    with Sandbox(site.settings.decoder_memory_bytes) as sandbox:
        try:
            found = sandbox.call(playability_record, path, probed, index, cpu_s=limits.cpu_s, wall_s=wall_s)
        except TooSlowError as error:
            raise NightjarError(
                f"Reading {video.name} took more than {wall_s:,.0f} s. Check its disk or network share."
            ) from error
    reason = found.get("reason")
    return {"reason": None if reason is None else str(reason)[:200]}


def _parsed(path: Path) -> Playability:
    return Playability(json.loads(path.read_bytes())["reason"])
