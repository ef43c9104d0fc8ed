"""Tasks that find out what there is to do: list the archive, read what is new, plan its segments."""

import logging
from collections import UserDict, deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prefect import task

from models.inference.segments import plan_segments
from models.types import AttemptError, FrameIndex, TooSlowError, Video, VideoError
from storage.ledger import plan
from storage.objects.archive import Archive, Entry, Ignored
from storage.objects.places import ChangedError, DeniedObjectError, ObjectError, StoreError, UnansweredError
from storage.sandbox.parent import SandboxError
from storage.sql import catalogue
from storage.sql.catalogue import FormerVideo, IgnoredFile, KnownFile
from storage.video.containers import container_of, describe
from tasks.batch.night import Night, NightKey, open_night
from tasks.runs.policy import TASK
from tasks.segment.open_video import FileState, Probes, state_of
from tasks.text.wording import file_size
from tasks.waiting.attempts import pause

log = logging.getLogger(__name__)

LOG_EVERY_FILES = 200
TRIES = 5  # of a file whose reading fails for reasons that say nothing of it


class Entries(UserDict[int, Entry]):
    """video_id -> a file of the archive with these bytes. No dict: Prefect would go through one at every task."""


@dataclass
class ArchiveListing:
    """Content of the archive tonight.

    refused: files that are in the quarantine; denied: those of them that may not be read with these credentials
    unreachable: keys of files that are gone or changed since they were listed: the next run's listing has them
    unread: keys of files whose reading failed TRIES times, or took too long, for a reason that says nothing of them
    gone: files that the archive no longer lists
    growing: keys of recordings that are still being written: a later run takes them
    probes: of files that were read just now
    """

    entries: Entries = field(default_factory=Entries)
    listed: int = 0
    ignored: int = 0
    new: int = 0
    refused: int = 0
    denied: int = 0
    unreachable: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    gone: int = 0
    growing: list[str] = field(default_factory=list)
    probes: Probes = field(default_factory=Probes)


@task(name="read archive", **TASK)
def read_archive_task(key: NightKey, segment_s: float) -> ArchiveListing:
    """Read the archive of this batch. Raises as read_archive does."""
    with open_night(key) as night:
        return read_archive(night, segment_s)


def read_archive(night: Night, segment_s: float) -> ArchiveListing:
    """Put every video of the archive into the database, with its segments planned for this model version.

    A file is read once, as long as its size and its ETag or time stay the same. A file that cannot be processed is
    written down with its reason, and read again by each run where that reason may pass. Where database or store are
    away it is begun again when they are back, and what was read by then is not read again. Raises StoreError where the
    archive itself cannot be read.
    """
    new: set[str] = set()
    return night.patience(lambda: _read_archive(night, segment_s, new))


def _read_archive(night: Night, segment_s: float, new: set[str]) -> ArchiveListing:
    """Register new and changed files. new: their keys, including those of earlier attempts"""
    engine, files = night.site.engine, night.archive.list()
    known = catalogue.known_files(engine, night.location)
    planned = plan.planned_videos(engine, night.model_version_id)
    files = _with_unnamed(night, files, known)
    _refuse_nothing(night, files, known)
    listing = ArchiveListing(listed=len(files), ignored=len(night.archive.ignored))
    unchanged, unread = [], []
    for entry in files:
        before = known.get(entry.key)
        if before is None or (before.size_bytes, before.etag) != (entry.size_bytes, entry.etag):
            new.add(entry.key)
            unread.append(entry)
            continue
        unchanged.append(entry.key)
        if before.video_id in planned:
            listing.entries[before.video_id] = entry
        elif before.video_id is None and not before.retry:
            listing.refused += 1
        else:
            unread.append(entry)
    listing.new = len(new)
    unread = _leave_growing(night, unread, listing)
    _read_all(night, unread, segment_s, listing)
    if 1 < listing.denied == len(files):
        raise StoreError(
            f"none of the {len(files)} files of {night.location} may be read",
            "the right to read them",
            "check the credentials and the bucket's policy (s3:GetObject), or the files' owner and mode",
        )
    catalogue.mark_seen(engine, night.location, unchanged)
    listing.gone = _mark_gone(night, known, {entry.key for entry in files})
    return listing


def _refuse_nothing(night: Night, files: list[Entry], known: dict[str, KnownFile]) -> None:
    """Refuse an empty archive: a disk that is not mounted looks like one."""
    if not files:
        before = sum(not file.gone for file in known.values())
        raise StoreError(
            f"no videos in {night.location}" + (f", where there were {before:,}" if before else ""),
            "at least one",
            "mount its disk, or correct the archive's location",
        )


def _mark_gone(night: Night, known: dict[str, KnownFile], listed: set[str]) -> int:
    """Mark files that are no longer listed. Returns how many are newly gone."""
    absent = [key for key, file in known.items() if key not in listed and not file.gone]
    gone = [key for key in absent if night.archive.is_gone(key)]
    catalogue.mark_gone(night.site.engine, night.location, gone)
    if len(absent) > len(gone):
        hidden = len(absent) - len(gone)
        log.warning("%s known files lie in empty folders now. Check that their disks are mounted", hidden)
    return len(gone)


def _with_unnamed(night: Night, files: list[Entry], known: dict[str, KnownFile]) -> list[Entry]:
    """Add the files without a video's name that are videos. Records the ignored ones with the reason."""
    engine, archive = night.site.engine, night.archive
    before = catalogue.ignored_files_of(engine, night.location)
    found = {ignored.key: IgnoredFile(None, None, ignored.reason) for ignored in archive.ignored}
    videos = []
    for entry in archive.unnamed:
        ignored = before.get(entry.key)
        if ignored is None or (ignored.size_bytes, ignored.etag) != (entry.size_bytes, entry.etag):
            ignored = None if entry.key in known else _sniff(archive, entry)
        if ignored is None:
            videos.append(entry)
        else:
            found[entry.key] = ignored
            archive.ignored.append(Ignored(entry.key, ignored.reason))
    catalogue.record_ignored(engine, night.location, found)
    return sorted([*files, *videos], key=lambda entry: entry.key)


def _sniff(archive: Archive, entry: Entry) -> IgnoredFile | None:
    """Return why the file is ignored; None = it begins like a video. An unreadable one is looked at again later."""
    try:
        head = archive.head(entry)
    except ObjectError as error:
        return IgnoredFile(None, None, str(error))
    if head and container_of(head):
        return None
    return IgnoredFile(entry.size_bytes, entry.etag, describe(head) if head else "empty")


def _leave_growing(night: Night, entries: list[Entry], listing: ArchiveListing) -> list[Entry]:
    """Keep the files that have stopped growing."""
    growing = set(night.archive.growing(entries))
    for entry in growing:
        listing.growing.append(entry.key)
        log.warning("%s is still being written: it is left for the next run", entry.key)
    return [entry for entry in entries if entry not in growing]


def _read_all(night: Night, entries: list[Entry], segment_s: float, listing: ArchiveListing) -> None:
    """Read each file; those whose reading fails are tried again after all the others."""
    failed = _read_once(night, entries, segment_s, listing)
    for failures in range(1, TRIES):
        if failed:
            pause(failures)
            failed = _read_once(night, [entry for entry, _ in failed], segment_s, listing)
    for entry, reason in failed:
        listing.unread.append(entry.key)
        _postpone(night, entry, f"{TRIES} attempts failed, the last one: {reason}", listing)


def _read_once(
    night: Night, entries: list[Entry], segment_s: float, listing: ArchiveListing
) -> list[tuple[Entry, str]]:
    """Read each file. Returns those whose attempt failed, each with the reason."""
    failed = []
    with closing(_probe_ahead(night, entries)) as probing:
        for number, (entry, probed) in enumerate(probing, 1):
            try:
                _read(night, entry, probed, segment_s, listing)
            except AttemptError as error:
                log.warning("%s was not read: %s", entry.key, error)
                failed.append((entry, str(error)))
            if number % LOG_EVERY_FILES == 0:
                log.info("read %s of %s files, at %s", number, len(entries), entry.key)
    return failed


class Probed(NamedTuple):
    """A file as it was read. former: the video that this file was before, and that its film begins with

    state: of the file just before it was read
    """

    video: Video
    frame_index: FrameIndex
    former: int | None
    state: FileState | None


def _probe_ahead(night: Night, entries: list[Entry]) -> Generator[tuple[Entry, "Future[Probed]"]]:
    """Each file with what it is; the next one is fetched and looked at while the caller writes this one down."""

    def probe(entry: Entry) -> Probed:
        with night.archive.local(entry) as path:
            state = state_of(path)
            former = catalogue.former_video(night.site.engine, night.location, entry.key)
            video, index, continued = night.probe_again(path, former and former.coded)
            grown = former is not None and (continued or _begins_with(night, entry, path, former))
            return Probed(video, index, former.video_id if former and grown else None, state)

    with ThreadPoolExecutor(1, "nightjar-probe") as pool:
        waiting: deque[tuple[Entry, Future[Probed]]] = deque()
        for entry in entries:
            waiting.append((entry, pool.submit(probe, entry)))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting


def _begins_with(night: Night, entry: Entry, path: Path, former: FormerVideo) -> bool:
    """Return True if the file grew and begins with all bytes of the former one, whatever a demuxer makes of either."""
    return former.size_bytes < entry.size_bytes and night.starts_with(path, former.sha256, former.size_bytes)


def _read(night: Night, entry: Entry, probed: "Future[Probed]", segment_s: float, listing: ArchiveListing) -> None:
    """One file: into the database with its plan, or into the quarantine with its reason. Raises AttemptError."""
    engine = night.site.engine
    try:
        video, index, former, state = probed.result()
    except (VideoError, SandboxError) as error:
        listing.refused += 1
        _quarantine(night, entry, str(error), retry=False)
        return
    except TooSlowError as error:  # once per night: another try would hold it for as long
        listing.unread.append(entry.key)
        _postpone(night, entry, str(error), listing)
        return
    except UnansweredError as error:
        raise AttemptError(str(error)) from error
    except ChangedError as error:  # gone or changed since it was listed: tonight's listing no longer tells
        listing.unreachable.append(entry.key)
        log.warning("%s is left for the next run: %s", entry.key, error)
        return
    except ObjectError as error:
        listing.denied += isinstance(error, DeniedObjectError)
        if not _postpone(night, entry, str(error), listing):
            listing.unread.append(entry.key)
        return
    listing.probes.keep(entry, state, video, index)
    video_id = catalogue.register_video(engine, video)
    segments = plan_segments(video.sha256, index.keyframes, index.timestamps_s, video.frames, segment_s)
    plan.plan_video(engine, video_id, night.model_version_id, segments)
    catalogue.record_file(engine, night.location, entry.key, entry.size_bytes, entry.etag, video_id=video_id)
    if former is not None and catalogue.supersede(engine, former, video_id):
        log.info("%s has grown since it was read: the views show all of it from now on", entry.key)
    listing.entries[video_id] = entry
    if video.unused_bytes:
        _warn_of_unused(entry, video)


def _warn_of_unused(entry: Entry, video: Video) -> None:
    log.warning(
        "%s: %s of its %s lie behind the last frame and belong to no stream. The film is processed. Check what was "
        "appended to it",
        entry.key,
        file_size(video.unused_bytes),
        file_size(video.size_bytes),
    )


def _postpone(night: Night, entry: Entry, reason: str, listing: ArchiveListing) -> bool:
    """Quarantine a file until the next run. Returns False for a known video, which keeps its name instead."""
    known = catalogue.known_file(night.site.engine, night.location, entry.key)
    if known and known.video_id is not None and (known.size_bytes, known.etag) == (entry.size_bytes, entry.etag):
        log.warning("%s is left for the next run: %s", entry.key, reason)
        return False
    listing.refused += 1
    _quarantine(night, entry, reason, retry=True)
    return True


def _quarantine(night: Night, entry: Entry, reason: str, *, retry: bool) -> None:
    log.warning("%s is quarantined: %s", entry.key, reason)
    catalogue.record_file(
        night.site.engine, night.location, entry.key, entry.size_bytes, entry.etag, reason=reason, retry=retry
    )
