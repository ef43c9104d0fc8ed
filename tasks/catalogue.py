"""Tasks that find out what there is to do: list the archive, read what is new, plan its segments."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from prefect import get_run_logger, task

from models.segments import plan_segments
from models.types import FrameIndex, Video
from storage import catalogue, ledger
from storage.archive import Entry
from storage.containers import VideoError
from storage.places import ObjectError
from storage.sandbox import SandboxError
from tasks.night import Night
from tasks.policy import TASK

LOG_EVERY_FILES = 200


@dataclass
class Listing:
    """What the archive holds tonight. entries: video_id -> a file with these bytes

    refused: files that are in the quarantine; unreachable: keys of files that could not be had just now
    """

    entries: dict[int, Entry] = field(default_factory=dict)
    listed: int = 0
    ignored: int = 0
    new: int = 0
    refused: int = 0
    unreachable: list[str] = field(default_factory=list)


@task(name="read archive", **TASK)
def read_archive(night: Night, segment_s: float) -> Listing:
    """Every video of the archive in the database, with its segments planned for this model version.

    A file is read once, as long as its size and its ETag or time stay the same. What cannot be processed is written
    down with its reason. Raises StoreError where the archive itself cannot be read.
    """
    engine, files = night.site.engine, night.archive.list()
    known = catalogue.known_files(engine, night.location)
    planned = ledger.planned_videos(engine, night.model_version_id)
    listing = Listing(listed=len(files), ignored=night.archive.ignored)
    unchanged, unread = [], []
    for entry in files:
        before = known.get(entry.key)
        if before is None or (before.size_bytes, before.etag) != (entry.size_bytes, entry.etag):
            listing.new += 1
            unread.append(entry)
            continue
        unchanged.append(entry.key)
        if before.video_id is None:
            listing.refused += 1
        elif before.video_id in planned:
            listing.entries[before.video_id] = entry
        else:
            unread.append(entry)
    with closing(_probe_ahead(night, unread)) as probing:
        for number, (entry, probed) in enumerate(probing, 1):
            _read(night, entry, probed, segment_s, listing)
            if number % LOG_EVERY_FILES == 0:
                get_run_logger().info("read %s of %s files, at %s", number, len(unread), entry.key)
    catalogue.mark_seen(engine, night.location, unchanged)
    return listing


Probed = tuple[Video, FrameIndex]


def _probe_ahead(night: Night, entries: list[Entry]) -> Generator[tuple[Entry, "Future[Probed]"]]:
    """Each file with what it is; the next one is fetched and looked at while the caller writes this one down."""

    def probe(entry: Entry) -> Probed:
        with night.archive.local(entry) as path:
            return night.probe(path)

    with ThreadPoolExecutor(1, "nightjar-probe") as pool:
        waiting: deque[tuple[Entry, Future[Probed]]] = deque()
        for entry in entries:
            waiting.append((entry, pool.submit(probe, entry)))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting


def _read(night: Night, entry: Entry, probed: "Future[Probed]", segment_s: float, listing: Listing) -> None:
    """One file: into the database with its plan, or into the quarantine with its reason."""
    log, engine = get_run_logger(), night.site.engine
    seen = (night.location, entry.key, entry.size_bytes, entry.etag)
    try:
        video, index = probed.result()
    except (VideoError, SandboxError) as error:
        listing.refused += 1
        log.warning("%s is quarantined: %s", entry.key, error)
        catalogue.record_file(engine, *seen, reason=str(error))
        return
    except ObjectError as error:  # gone or changed since it was listed: tonight's listing no longer tells
        listing.unreachable.append(entry.key)
        log.warning("%s is left for the next run: %s", entry.key, error)
        return
    night.probes.keep(entry, video, index)
    video_id = catalogue.register_video(engine, video)
    plan = plan_segments(video.sha256, index.keyframes, index.timestamps_s, video.frames, segment_s)
    ledger.plan_video(engine, video_id, night.model_version_id, plan)
    catalogue.record_file(engine, *seen, video_id=video_id)
    listing.entries[video_id] = entry
