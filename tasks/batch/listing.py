"""Find the work of a batch: list the archive, read new files, plan their segments."""

import logging
from collections import UserDict, deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from models.inference.segments import plan_segments
from models.types import AttemptError, FrameIndex, TooSlowError, Video, VideoError
from storage.ledger import plan
from storage.objects.archive import Archive, Entry, Ignored
from storage.objects.places import ChangedError, DeniedObjectError, ObjectError, StoreError, UnansweredError
from storage.sandbox.parent import Sandbox, SandboxError
from storage.sql import catalogue
from storage.sql.analyses.places import store_creation_time
from storage.sql.catalogue import FormerVideo, IgnoredFile, KnownFile, RecordedFile
from storage.video.containers.signatures import container_of, describe
from tasks.analysis.places import headers_to_read, place_files
from tasks.analysis.recordings import arrange
from tasks.batch.night import ArchiveSource, Night
from tasks.segment.open_video import FileState, Probes, state_of
from tasks.site_file.load import read_for_night
from tasks.site_file.spec import SiteFile
from tasks.text.wording import count, file_size
from tasks.waiting.attempts import pause

log = logging.getLogger(__name__)

LOG_EVERY_FILES = 200
TRIES = 5  # per file, if reading fails for reasons other than its content
PROBES_AT_ONCE = 2  # more compete with the thread that records what they found
MANY_FILES = 50  # from here on, a second process that probes is worth the second that it takes to start


class Entries(UserDict[int, Entry]):
    """video_id -> a file of the archive with these bytes. Not a dict: Prefect would traverse one at every task."""


@dataclass
class ArchiveListing:
    """Content of the archive in this batch.

    refused: number of files in the quarantine
    denied: number of these that the credentials do not allow to read
    unreachable: keys of files that disappeared or changed since they were listed; left for the next run
    unread: keys of files whose reading failed TRIES times or took too long, for reasons other than their content
    gone: number of files that the archive no longer lists
    growing: keys of recordings that are still being written; left for a later run
    probes: properties of the files that were read in this batch
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


def read_archive(night: Night, segment_s: float) -> ArchiveListing:
    """Put every video of the archive into the database, with its segments planned for this model version.

    A file is read once, as long as its size and its ETag or time stay the same. A file that cannot be processed is
    recorded with the reason, and read again by the next run if the reason may be temporary. If database or store are
    unavailable, reading resumes when they are back. Raises StoreError if the archive itself cannot be read.
    """
    new: set[str] = set()
    return night.retry(lambda: _read_archive(night, segment_s, new))


def _read_archive(night: Night, segment_s: float, new: set[str]) -> ArchiveListing:
    """Register new and changed files. new: receives their keys, and keeps those of earlier attempts"""
    compared = compare_archive(night.source, night.model_version_id)
    listing = compared.listing
    new |= compared.new
    listing.new = len(new)
    _read_all(night, _without_growing(night.archive, compared.unread, listing), segment_s, listing)
    if 1 < listing.denied == listing.listed:
        raise StoreError(
            f"None of the {listing.listed} files of {night.location} may be read.",
            "Check the credentials and the bucket's policy (s3:GetObject), or the files' owner and mode.",
        )
    record_seen(night.source, compared)
    site_file = read_for_night(night.site.settings)
    if site_file is not None:
        _read_headers(night, site_file, listing)
        place_files(night.site.engine, site_file, night.location)
        arrange(night.site.engine, site_file.site.recording_gap_s)
    return listing


def _read_headers(night: Night, site_file: SiteFile, listing: ArchiveListing) -> None:
    """Read the creation times that the site file needs, of videos that an earlier version has read without them."""
    engine = night.site.engine
    due = headers_to_read(engine, site_file, night.location) & listing.entries.keys()
    if due:
        log.info("Reading the creation times of %s, which an earlier version did not read", count(len(due), "video"))
    for video_id in sorted(due):
        entry = listing.entries[video_id]
        try:
            with night.archive.local(entry) as path:
                created_s = night.read_created_s(path)
        except (VideoError, SandboxError) as error:
            log.warning("%s: its creation time cannot be read: %s", entry.key, error)
            created_s = None
        except (AttemptError, ObjectError) as error:
            log.warning("%s: its creation time is left for the next run: %s", entry.key, error)
            continue
        store_creation_time(engine, video_id, created_s)


@dataclass(frozen=True)
class ComparedArchive:
    """An archive compared with the database.

    listing: with everything that needs no reading
    unread: files to read: new, changed, not planned for this model version, or postponed by an earlier batch
    new: keys of new and changed files
    unchanged: keys of known files that are as they were
    """

    listing: ArchiveListing
    known: dict[str, KnownFile]
    keys: frozenset[str]
    unread: list[Entry] = field(default_factory=list)
    new: set[str] = field(default_factory=set)
    unchanged: list[str] = field(default_factory=list)


def compare_archive(source: ArchiveSource, model_version_id: int) -> ComparedArchive:
    """Compare the archive with the database. Only the files that are no videos are recorded.

    Raises StoreError if the archive cannot be listed, or is empty.
    """
    files = source.archive.list()
    known = catalogue.known_files(source.engine, source.location)
    planned = plan.planned_videos(source.engine, model_version_id)
    files = _with_unnamed_videos(source, files, known)
    _refuse_empty_archive(source, files, known)
    listing = ArchiveListing(listed=len(files), ignored=len(source.archive.ignored))
    compared = ComparedArchive(listing, known, frozenset(entry.key for entry in files))
    for entry in files:
        before = known.get(entry.key)
        if before is None or (before.size_bytes, before.etag) != (entry.size_bytes, entry.etag):
            compared.new.add(entry.key)
            compared.unread.append(entry)
            continue
        compared.unchanged.append(entry.key)
        if before.video_id in planned:
            listing.entries[before.video_id] = entry
        elif before.video_id is None and not before.retry:
            listing.refused += 1
        else:
            compared.unread.append(entry)
    return compared


def record_seen(source: ArchiveSource, compared: ComparedArchive) -> ArchiveListing:
    """Record the files that are as they were and those that are gone. Returns the whole listing."""
    catalogue.mark_seen(source.engine, source.location, compared.unchanged)
    compared.listing.gone = _mark_gone(source, compared.known, compared.keys)
    return compared.listing


def _refuse_empty_archive(source: ArchiveSource, files: list[Entry], known: dict[str, KnownFile]) -> None:
    """Refuse an empty archive: an unmounted disk looks like one."""
    if not files:
        before = sum(not file.gone for file in known.values())
        raise StoreError(
            f"There are no videos in {source.location}" + (f", where there were {before:,}." if before else "."),
            "Mount its disk, or correct the archive's location.",
        )


def _mark_gone(source: ArchiveSource, known: dict[str, KnownFile], listed: frozenset[str]) -> int:
    """Mark files that are no longer listed. Returns the number of newly marked files."""
    absent = [key for key, file in known.items() if key not in listed and not file.gone]
    gone = [key for key in absent if source.archive.is_gone(key)]
    catalogue.mark_gone(source.engine, source.location, gone)
    if len(absent) > len(gone):
        hidden = len(absent) - len(gone)
        log.warning("The folders of %s known files are empty now. Check that their disks are mounted.", hidden)
    return len(gone)


def _with_unnamed_videos(source: ArchiveSource, files: list[Entry], known: dict[str, KnownFile]) -> list[Entry]:
    """Add videos whose names do not show that they are videos. Records the ignored files with the reason."""
    archive = source.archive
    before = catalogue.ignored_files_of(source.engine, source.location)
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
    catalogue.record_ignored(source.engine, source.location, found)
    return sorted([*files, *videos], key=lambda entry: entry.key)


def _sniff(archive: Archive, entry: Entry) -> IgnoredFile | None:
    """Return the reason to ignore a file; None = it starts like a video. An unreadable file is checked again later."""
    try:
        head = archive.head(entry)
    except ObjectError as error:
        return IgnoredFile(None, None, str(error))
    if head and container_of(head):
        return None
    return IgnoredFile(entry.size_bytes, entry.etag, describe(head) if head else "empty")


def _without_growing(archive: Archive, entries: list[Entry], listing: ArchiveListing) -> list[Entry]:
    """Return the files that have stopped growing."""
    growing = set(archive.growing(entries))
    for entry in growing:
        listing.growing.append(entry.key)
        log.warning("%s is still being written. It is left for the next run.", entry.key)
    return [entry for entry in entries if entry not in growing]


def _read_all(night: Night, entries: list[Entry], segment_s: float, listing: ArchiveListing) -> None:
    """Read each file. Failed files are retried after all others."""
    failed = _read_once(night, entries, segment_s, listing)
    for failures in range(1, TRIES):
        if failed:
            pause(failures)
            failed = _read_once(night, [entry for entry, _ in failed], segment_s, listing)
    for entry, reason in failed:
        listing.unread.append(entry.key)
        _postpone(night, entry, f"{TRIES} attempts failed. The last error: {reason}", listing)


def _read_once(
    night: Night, entries: list[Entry], segment_s: float, listing: ArchiveListing
) -> list[tuple[Entry, str]]:
    """Read each file. Returns the files that failed, each with the reason."""
    failed = []
    with closing(_probe_ahead(night, entries)) as probing:
        for number, (entry, probed) in enumerate(probing, 1):
            try:
                _read(night, entry, probed, segment_s, listing)
            except AttemptError as error:
                log.warning("%s could not be read: %s", entry.key, error)
                failed.append((entry, str(error)))
            if number % LOG_EVERY_FILES == 0:
                log.info("Read %s of %s files, last %s", number, len(entries), entry.key)
    return failed


class Probed(NamedTuple):
    """Result of reading a file.

    former: id of the video that this file contained before and that its new content continues; None = no such video
    state: size and times of the file just before it was read
    """

    video: Video
    frame_index: FrameIndex
    former: int | None
    state: FileState | None


def _probe_ahead(night: Night, entries: list[Entry]) -> Generator[tuple[Entry, "Future[Probed]"]]:
    """Yield each file, in order, with its probe. The next files are probed while the caller records this one."""

    def probe(entry: Entry) -> Probed:
        reader = readers.get()
        try:
            return _probe(reader, entry)
        finally:
            readers.put(reader)

    at_once = PROBES_AT_ONCE if len(entries) >= MANY_FILES else 1
    memory_bytes = night.site.settings.decoder_memory_bytes
    readers: SimpleQueue[Night] = SimpleQueue()
    readers.put(night)
    with ExitStack() as stack:
        for _ in range(at_once - 1):
            readers.put(replace(night, sandbox=stack.enter_context(Sandbox(memory_bytes))))
        pool = stack.enter_context(ThreadPoolExecutor(at_once, "nightjar-probe"))
        waiting: deque[tuple[Entry, Future[Probed]]] = deque()
        for entry in entries:
            waiting.append((entry, pool.submit(probe, entry)))
            if len(waiting) > at_once:
                yield waiting.popleft()
        yield from waiting


def _probe(night: Night, entry: Entry) -> Probed:
    with night.archive.local(entry) as path:
        state = state_of(path)
        former = catalogue.former_video(night.site.engine, night.location, entry.key)
        video, index, continued = night.probe_again(path, former and former.coded)
        grown = former is not None and (continued or _begins_with(night, entry, path, former))
        return Probed(video, index, former.video_id if former and grown else None, state)


def _begins_with(night: Night, entry: Entry, path: Path, former: FormerVideo) -> bool:
    """Return True if the file grew and starts with all bytes of the former one, regardless of its container."""
    return former.size_bytes < entry.size_bytes and night.starts_with(path, former.sha256, former.size_bytes)


def _read(night: Night, entry: Entry, probed: "Future[Probed]", segment_s: float, listing: ArchiveListing) -> None:
    """Register one file with its plan, or quarantine it with the reason. Raises AttemptError."""
    engine = night.site.engine
    try:
        video, index, former, state = probed.result()
    except (VideoError, SandboxError) as error:
        listing.refused += 1
        _quarantine(night, entry, str(error), retry=False)
        return
    except TooSlowError as error:  # once per batch: another attempt would take as long
        listing.unread.append(entry.key)
        _postpone(night, entry, str(error), listing)
        return
    except UnansweredError as error:
        raise AttemptError(str(error)) from error
    except ChangedError as error:  # disappeared or changed since it was listed
        listing.unreachable.append(entry.key)
        log.warning("%s is left for the next run: %s", entry.key, error)
        return
    except ObjectError as error:
        listing.denied += isinstance(error, DeniedObjectError)
        if not _postpone(night, entry, str(error), listing):
            listing.unread.append(entry.key)
        return
    listing.probes.keep(entry, state, video, index)
    segments = plan_segments(video.sha256, index.keyframes, index.timestamps_s, video.frames, segment_s)
    file = RecordedFile(night.location, entry.key, entry.size_bytes, entry.etag)
    video_id = plan.enter_video(engine, file, video, night.model_version_id, segments)
    if former is not None and catalogue.supersede(engine, former, video_id):
        log.info("%s has grown since it was last read. The views show the longer version from now on.", entry.key)
    listing.entries[video_id] = entry
    if video.unused_bytes:
        _warn_about_unused_bytes(entry, video)


def _warn_about_unused_bytes(entry: Entry, video: Video) -> None:
    log.warning(
        "%s: %s of its %s are after the last frame and belong to no stream. The video is processed. Check what was "
        "appended to it.",
        entry.key,
        file_size(video.unused_bytes),
        file_size(video.size_bytes),
    )


def _postpone(night: Night, entry: Entry, reason: str, listing: ArchiveListing) -> bool:
    """Quarantine a file until the next run. Returns False for a known video, which is left as it is."""
    known = catalogue.known_file(night.site.engine, night.location, entry.key)
    if known and known.video_id is not None and (known.size_bytes, known.etag) == (entry.size_bytes, entry.etag):
        log.warning("%s is left for the next run: %s", entry.key, reason)
        return False
    listing.refused += 1
    _quarantine(night, entry, reason, retry=True)
    return True


def _quarantine(night: Night, entry: Entry, reason: str, *, retry: bool) -> None:
    log.warning("%s is quarantined: %s", entry.key, reason)
    file = catalogue.RecordedFile(night.location, entry.key, entry.size_bytes, entry.etag)
    catalogue.record_unreadable(night.site.engine, file, reason, retry=retry)
