"""Videos made ready for a browser: fetched, read, and converted where browsers cannot play the file as it is.

The work of each video is a thread of its own that ends when nobody has asked for the video for a while. Converting is
left to one video at a time on this machine, in a sandbox; the others wait. A converted film is kept below the home's
cache folder. What a killed process leaves is removed by the next one, as other scratch folders are.
"""

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BufferedRandom
from pathlib import Path
from typing import Literal, NamedTuple

from models.types import NightjarError, Video
from storage.objects.cache import FileCache
from storage.private import make_folder
from storage.sandbox.parent import Sandbox
from storage.sql.browse.videos import StoredVideo
from storage.video.encode import ENCODERS, MOST_BITS_PER_S, Encoder, find_encoder, for_browsers
from tasks.browse.frame_times import probed_video
from tasks.browse.media import MediaGoneError, film_cache, is_at_hand, known_playability, open_file, playability
from tasks.segment.open_video import LocalVideo
from tasks.segment.sandboxed import Conversion, converted_frames
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site

_log = logging.getLogger(__name__)

FILM_VERSION = 1  # of the conversion: raise it when its result changes
WIDTH = 960  # of converted films, at most
PATIENCE_S = 120.0  # a browser asks once a second, in a hidden tab once a minute
FAILURE_KEPT_S = 600.0
MOST_JOBS = 16
POLL_S = 0.2
SLOTS = 4  # reports of progress in flight
FRAME_CPU_S = 0.25  # on top of the decoder's limit for a segment
SLACK_BYTES = 1 << 24  # of a film's container, and of its first pictures
TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}
AS_IT_IS = {"mov": "video/mp4", "matroska": "video/webm"}


class MediaVideo(NamedTuple):
    """A video that a page shows. convert: even if browsers should play it as it is, as one of them could not"""

    stored: StoredVideo
    convert: bool = False

    @property
    def sha256(self) -> str:
        return self.stored.sha256


class MediaState(NamedTuple):
    """State of a video for browsers. done: share of the work, 0 to 1

    why: why it is converted, or what happened
    transcoded: the player gets a converted film
    """

    state: Literal["ready", "preparing", "failed", "gone"]
    done: float
    why: str | None
    transcoded: bool


class ReadyFile(NamedTuple):
    """Bytes for a player. path: valid while the context that gave it lasts; etag: without quotes"""

    path: Path
    size_bytes: int
    media_type: str
    etag: str


@dataclass
class Job:
    """Work on one video."""

    video: MediaVideo
    asked_at: float = field(default_factory=time.monotonic)
    done: float = 0.0
    failure: NightjarError | None = None
    ended_at: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False

    @property
    def abandoned(self) -> bool:
        """Return whether nobody waits for it any more."""
        return self.cancelled or time.monotonic() - self.asked_at > PATIENCE_S


class NobodyWaits(Exception):
    """Nobody waits for the video any more."""


class Preparation:
    """Makes videos ready. For any number of threads; touches no disk before the first question."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._jobs: dict[MediaVideo, Job] = {}
        self._lock = threading.Lock()

    def state(self, video: MediaVideo, *, start: bool, wait_s: float = 0.0) -> MediaState:
        """Return a video's state. start: begin the work, or go on; wait_s: for its end, before answering"""
        if ready := self._ready(video):
            return ready
        job = self._job(video, start=start)
        if job is None:
            return self._idle(video)
        job.ended.wait(wait_s)
        if not job.ended.is_set():
            return MediaState("preparing", job.done, self._reason(video), self._converts(video))
        if job.failure is not None:
            gone = isinstance(job.failure, MediaGoneError)
            return MediaState("gone" if gone else "failed", 0.0, str(job.failure), self._converts(video))
        return self._ready(video) or MediaState("preparing", 0.0, self._reason(video), self._converts(video))

    @contextmanager
    def open(self, video: MediaVideo) -> Iterator[ReadyFile]:
        """Provide the bytes for a player of a video that is ready. Raises NightjarError otherwise."""
        with ExitStack() as stack:
            if self._converts(video):
                yield _open_film(stack, film_cache(self._site.settings), video)
                return
            file = stack.enter_context(open_file(self._site, video.stored))
            yield ReadyFile(file.path, file.size_bytes, AS_IT_IS[video.stored.container], video.sha256)

    def close(self) -> None:
        """Stop all work, and wait for its end."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.cancelled = True
        for job in jobs:
            job.ended.wait(5.0)

    def _ready(self, video: MediaVideo) -> MediaState | None:
        if self._converts(video):
            with _kept_film(film_cache(self._site.settings), video) as found:
                return MediaState("ready", 1.0, self._reason(video), True) if found else None
        known = known_playability(self._site.settings, video.sha256)
        ready = known is not None and is_at_hand(self._site, video.stored)
        return MediaState("ready", 1.0, None, False) if ready else None

    def _reason(self, video: MediaVideo) -> str | None:
        known = known_playability(self._site.settings, video.sha256)
        return known.reason if known else None

    def _converts(self, video: MediaVideo) -> bool:
        return video.convert or self._reason(video) is not None

    def _idle(self, video: MediaVideo) -> MediaState:
        return MediaState("preparing", 0.0, self._reason(video), self._converts(video))

    def _job(self, video: MediaVideo, *, start: bool) -> Job | None:
        """Return the video's job, begun if needed; None where there is none, or too many."""
        with self._lock:
            self._forget()
            job = self._jobs.get(video)
            if job is None and start and len(self._jobs) < MOST_JOBS:
                job = self._jobs[video] = Job(video)
                threading.Thread(target=self._work, args=(job,), name="media", daemon=True).start()
            if job is not None and start:
                job.asked_at = time.monotonic()
            return job

    def _forget(self) -> None:
        """Forget jobs that ended well, and failures after a while: then the work may be tried again."""
        now = time.monotonic()
        for video, job in list(self._jobs.items()):
            kept_s = 0.0 if job.failure is None else FAILURE_KEPT_S
            if job.ended_at is not None and now - job.ended_at >= kept_s:
                del self._jobs[video]

    def _work(self, job: Job) -> None:
        try:
            self._prepare(job)
        except NobodyWaits:
            pass
        except NightjarError as error:
            job.failure = error
        except Exception as error:
            _log.exception("Preparing a video for the browser failed")
            job.failure = NightjarError(f"Preparing the video failed ({type(error).__name__}). See the server's log.")
        finally:
            job.ended_at = time.monotonic()
            job.ended.set()

    def _prepare(self, job: Job) -> None:
        video = job.video
        with open_file(self._site, video.stored) as file:
            if not video.convert and playability(self._site, video.stored).reason is None:
                return
            encoder = _encoder()
            local = LocalVideo(file.path, *probed_video(self._site, video.stored))
            limit = min(_most_bytes(local.video), film_cache(self._site.settings).limit_bytes)

            def convert(out: BufferedRandom) -> None:
                with _alone(self._site, job), scratch_folder("film") as scratch:
                    film = self._convert(job, local, Conversion(WIDTH, limit, encoder), scratch)
                    with film.open("rb") as made:
                        shutil.copyfileobj(made, out, 1 << 20)

            with film_cache(self._site.settings).file(_film_name(video), encoder.suffix, limit, convert):
                job.done = 1.0

    def _convert(self, job: Job, local: LocalVideo, conversion: Conversion, scratch: Path) -> Path:
        """Convert a video in a sandbox of its own. Returns the film's path. Raises NobodyWaits or NightjarError."""
        settings, out, frames = self._site.settings, scratch / f"film{conversion.encoder.suffix}", local.video.frames
        cpu_s = settings.decoder_cpu_s + FRAME_CPU_S * frames
        with (
            Sandbox(settings.decoder_memory_bytes) as sandbox,
            sandbox.stream(converted_frames, *local, conversion, out, shape=(1,), slots=SLOTS, cpu_s=cpu_s) as reports,
        ):
            for (number, _), _ in reports:
                reports.release()
                job.done = min(0.99, number / frames)
                if job.abandoned:
                    raise NobodyWaits
        return out


def _most_bytes(video: Video) -> int:
    return SLACK_BYTES + int((video.duration_s + 1) * MOST_BITS_PER_S / 8)


@cache
def _encoder() -> Encoder:
    """Return the encoder of films for browsers. Raises NightjarError."""
    try:
        found = find_encoder()
    except RuntimeError as error:
        raise NightjarError(str(error)) from None
    if not found.plays:
        raise NightjarError(
            "PyAV here has no encoder of videos that browsers play. Install PyAV's own build ('pip install av')."
        )
    return for_browsers(found)


@contextmanager
def _alone(site: Site, job: Job) -> Iterator[None]:
    """Wait until no other video is converted on this machine with this home. Raises NobodyWaits."""
    folder = site.settings.media_cache
    make_folder(folder)
    held = os.open(folder / "converting.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while True:
            if job.abandoned:
                raise NobodyWaits
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_S)
        yield
    finally:
        os.close(held)


def _film_name(video: MediaVideo) -> str:
    return f"film {FILM_VERSION} {WIDTH} {video.sha256}"


@contextmanager
def _kept_film(films: FileCache, video: MediaVideo) -> Iterator[Path | None]:
    """Provide the converted film; None = there is none."""
    with ExitStack() as stack:
        for suffix in dict.fromkeys(encoder.suffix for encoder in ENCODERS):
            if path := stack.enter_context(films.kept(_film_name(video), suffix)):
                yield path
                return
        yield None


def _open_film(stack: ExitStack, films: FileCache, video: MediaVideo) -> ReadyFile:
    path = stack.enter_context(_kept_film(films, video))
    if path is None:
        raise NightjarError("The converted video was removed from the cache. Load the page again.")
    return ReadyFile(path, path.stat().st_size, TYPES[path.suffix], f"{video.sha256}-{FILM_VERSION}-{WIDTH}")
