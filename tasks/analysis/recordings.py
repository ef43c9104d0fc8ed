"""Recordings: files of one camera that follow each other, from the clocks of the files. Their plan, and its storage.

The plan depends on the files only, never on the order in which they arrived. What is stored is compared with it, and
only what differs is changed, so that only videos whose place has changed are analysed again.
"""

import logging
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from storage.ledger.recordings import (
    ArrangementChangedError,
    Change,
    FilmedVideo,
    Rearrangement,
    RecordedVideo,
    Recording,
    delete_empty_recordings,
    read_filmed,
    read_recordings,
    store,
)
from storage.sql.database import Database
from tasks.text.wording import count

log = logging.getLogger(__name__)

VIDEOS_AT_ONCE = 5000  # in one transaction, about
MOST_TRIES = 10
USABLE_YEARS = range(1900, 9000)  # other clocks are damaged, and cannot be calculated with
LONGEST_S = 1e9


class Arranged(NamedTuple):
    """Outcome of an arrangement. recordings: number of all; changed: of these, new or with other videos or clocks"""

    recordings: int
    changed: int


def arrange(engine: Database, gap_s: float) -> Arranged:
    """Bring the stored recordings up to date with the clocks of the files. Raises DatabaseError.

    gap_s: files of a camera that are closer than this are one recording, seconds
    The analyses of videos whose predecessors have changed are dropped, and these videos are due again.
    """
    for _ in range(MOST_TRIES):
        planned, stored = plan_recordings(read_filmed(engine), gap_s), read_recordings(engine)
        differing = rearrangements(planned, stored)
        try:
            for some in _transactions(differing):
                store(engine, some)
        except ArrangementChangedError:
            log.info("Another process arranged recordings at the same time. Comparing again")
            continue
        break
    delete_empty_recordings(engine)
    changed = sum(len(each.changes) for each in differing)
    if changed:
        log.info("%s, %d of them new or changed", count(len(planned), "recording"), changed)
    return Arranged(len(planned), changed)


def _transactions(differing: Sequence[Rearrangement]) -> Iterator[list[Rearrangement]]:
    """Divide changes into transactions of bounded size."""
    some: list[Rearrangement] = []
    size = 0
    for each in differing:
        some.append(each)
        size += len(each.video_ids)
        if size >= VIDEOS_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


# The plan


def plan_recordings(videos: Iterable[FilmedVideo], gap_s: float) -> list[Recording]:
    """Return the recordings of these videos, ordered by camera and time. The order of `videos` changes nothing.

    A recording goes on with a file of the same camera and displayed size that begins within gap_s of its end, before or
    after it; if several do, with the first of those that begin nearest. A camera may record in two sizes at the same
    time. A file without a camera or a clock is a recording of its own.
    """
    filmed = sorted(_places(videos), key=_order)
    planned: list[Recording] = []
    for _, of_camera in groupby(filmed, attrgetter("camera")):
        planned += map(_recording, _chains(list(filter(_has_clock, of_camera)), gap_s))
    planned += (_recording([video]) for video in filmed if not _has_clock(video))
    return planned


def _order(video: FilmedVideo) -> tuple[bool, str, datetime, str]:
    return video.camera is None, video.camera or "", video.start_at or datetime.min.replace(tzinfo=UTC), video.sha256


def _places(videos: Iterable[FilmedVideo]) -> Iterator[FilmedVideo]:
    """Yield each video once per camera that it lies under."""
    of_video: dict[int, list[FilmedVideo]] = defaultdict(list)
    for video in videos:
        of_video[video.video_id].append(video)
    for files in of_video.values():
        yield from places_of(files)


def places_of(files: Sequence[FilmedVideo]) -> list[FilmedVideo]:
    """Choose from the files of one video one for each camera.

    Files that an archive lists decide, else those that were removed last. A copy without a camera says nothing where
    another has one. Of several times, the earliest counts.
    """
    last = max((each.gone_at for each in files if each.gone_at is not None), default=None)
    listed = [each for each in files if each.gone_at is None] or [each for each in files if each.gone_at == last]
    with_camera = [each for each in listed if each.camera is not None] or listed
    best: dict[str | None, FilmedVideo] = {}
    for each in sorted(with_camera, key=lambda one: (one.start_at is None, *_order(one)[2:3], one.time_zone or "")):
        best.setdefault(each.camera, each)
    return list(best.values())


@dataclass
class _Ends:
    """Ends of the chains that may go on, ascending: (end, number of the chain)."""

    ends: list[tuple[datetime, int]] = field(default_factory=list)

    def take_nearest(self, start: datetime, gap: timedelta) -> int | None:
        """Remove and return the chain that ends nearest to `start`, within `gap`."""
        at = bisect_left(self.ends, (start - gap, -1))
        del self.ends[:at]  # files come in the order of their starts: nothing goes on from there
        at = bisect_left(self.ends, (start, -1))
        near = [self.ends[index] for index in (at, at - 1) if 0 <= index < len(self.ends)]
        near = [end for end in near if abs(end[0] - start) <= gap]
        if not near:
            return None
        chosen = min(near, key=lambda end: (abs(end[0] - start), end))
        self.ends.remove(chosen)
        return chosen[1]


def _chains(videos: Sequence[FilmedVideo], gap_s: float) -> list[list[FilmedVideo]]:
    """Join the videos of one camera, ascending by time, where one begins within gap_s of another's end."""
    chains: list[list[FilmedVideo]] = []
    open_ends: dict[tuple[int, int], _Ends] = defaultdict(_Ends)
    for video in videos:
        start, ends = _start_of(video), open_ends[video.size]
        number = ends.take_nearest(start, timedelta(seconds=gap_s))
        if number is None:
            number = len(chains)
            chains.append([])
        chains[number].append(video)
        insort(ends.ends, (start + timedelta(seconds=min(video.duration_s, LONGEST_S)), number))
    return chains


def _start_of(video: FilmedVideo) -> datetime:
    if video.start_at is None:
        raise ValueError(f"Video {video.video_id} has no clock.")
    return video.start_at


def _has_clock(video: FilmedVideo) -> bool:
    return video.camera is not None and video.start_at is not None and video.start_at.year in USABLE_YEARS


def _recording(videos: Sequence[FilmedVideo]) -> Recording:
    """Place videos on the clock of one recording, which never goes back where files overlap."""
    placed, frame, end_s, first_at = [], 0, 0.0, videos[0].start_at
    for video in videos:
        start_s = end_s
        if video.start_at is not None and first_at is not None:
            start_s = max(end_s, (video.start_at - first_at).total_seconds())
        offsets = utc_offsets(video.time_zone, video.start_at, video.duration_s)
        placed.append(RecordedVideo(video.video_id, frame, start_s, video.start_at, *offsets))
        frame, end_s = frame + video.frames, start_s + video.duration_s
    return Recording(videos[0].camera, videos[0].time_zone, tuple(placed))


class UtcOffsets(NamedTuple):
    """Offset of local time during a video, seconds east of UTC, as in RecordedVideo."""

    utc_offset_s: int | None = None
    offset_changes_s: float | None = None
    later_utc_offset_s: int | None = None


def utc_offsets(time_zone: str | None, start_at: datetime | None, duration_s: float) -> UtcOffsets:
    """Return the offset of a time zone during a video, with one change at most, as in the nights of daylight saving."""
    zone = _zone(time_zone)
    if zone is None or start_at is None or start_at.year not in USABLE_YEARS:
        return UtcOffsets()
    duration_s = min(duration_s, LONGEST_S)
    first, last = _offset(zone, start_at), _offset(zone, start_at + timedelta(seconds=duration_s))
    if first == last:
        return UtcOffsets(first)
    whole = start_at.replace(microsecond=0)
    before, after = 0, int(duration_s) + 2  # offsets change at a full second
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(zone, whole + timedelta(seconds=middle)) == first:
            before = middle
        else:
            after = middle
    return UtcOffsets(first, (whole - start_at).total_seconds() + after, last)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # this machine does not know it
        return None


def _offset(zone: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


# Differences between the plan and what is stored


def rearrangements(planned: Sequence[Recording], stored: dict[int, Recording]) -> list[Rearrangement]:
    """Return what has to change, so that `stored` becomes `planned`. A recording keeps its id as far as possible."""
    of_video: dict[int, set[int]] = defaultdict(set)
    for recording_id, recording in stored.items():
        for video in recording.videos:
            of_video[video.video_id].add(recording_id)
    ids = _matched(planned, stored, of_video)
    differences = [
        _difference(recording, ids.get(number), stored)
        for number, recording in enumerate(planned)
        if number not in ids or stored[ids[number]] != recording
    ]
    differences += [_Difference(None, each, _ids_of(stored[each])) for each in sorted(stored.keys() - ids.values())]
    return [_rearrangement(group, stored, of_video) for group in _groups(differences)]


class _Difference(NamedTuple):
    """One recording that changes, or that is removed. video_ids: before and after"""

    change: Change | None
    removed: int | None
    video_ids: frozenset[int]


def _ids_of(recording: Recording) -> frozenset[int]:
    return frozenset(video.video_id for video in recording.videos)


def _difference(recording: Recording, recording_id: int | None, stored: dict[int, Recording]) -> _Difference:
    if recording_id is None:
        return _Difference(Change(None, recording, 0), None, _ids_of(recording))
    former = stored[recording_id]
    change = Change(recording_id, recording, first_difference(former, recording))
    return _Difference(change, None, _ids_of(recording) | _ids_of(former))


def _groups(differences: Iterable[_Difference]) -> list[list[_Difference]]:
    """Group those that have a video in common, directly or over others."""
    group_of: dict[int, list[_Difference]] = {}
    for each in differences:
        met = {id(group): group for video_id in each.video_ids if (group := group_of.get(video_id))}
        joined, *others = sorted(met.values(), key=len, reverse=True) or [[]]
        joined.append(each)
        for group in others:
            joined += group
        for video_id in (one for member in ([each], *others) for diff in member for one in diff.video_ids):
            group_of[video_id] = joined
    return list({id(group): group for group in group_of.values()}.values())


def _rearrangement(
    group: Sequence[_Difference], stored: dict[int, Recording], of_video: dict[int, set[int]]
) -> Rearrangement:
    video_ids = frozenset().union(*(each.video_ids for each in group))
    former = {recording_id: stored[recording_id] for one in video_ids for recording_id in of_video.get(one, ())}
    changes = tuple(each.change for each in group if each.change is not None)
    removed = tuple(each.removed for each in group if each.removed is not None)
    return Rearrangement(changes, removed, video_ids, former)


def _matched(
    planned: Sequence[Recording], stored: dict[int, Recording], of_video: dict[int, set[int]]
) -> dict[int, int]:
    """Map numbers of planned recordings to ids of stored ones: the same camera first, then the longest same start."""
    ids: dict[int, int] = {}
    taken: set[int] = set()
    pairs: list[tuple[bool, int, int, int, int]] = []
    for number, recording in enumerate(planned):
        same = [each for each in of_video[recording.videos[0].video_id] - taken if stored[each] == recording]
        if same:
            ids[number] = min(same)
            taken.add(ids[number])
            continue
        shared = Counter(each for video in recording.videos for each in of_video[video.video_id])
        for recording_id, videos in shared.items():
            former = stored[recording_id]
            likeness = (former.camera != recording.camera, -first_difference(former, recording), -videos)
            pairs.append((*likeness, recording_id, number))
    for *_, recording_id, number in sorted(pairs):
        if number not in ids and recording_id not in taken:
            ids[number] = recording_id
            taken.add(recording_id)
    return ids


def first_difference(former: Recording, recording: Recording) -> int:
    """Return the position of the first video that another analysis would follow from."""
    places = zip(former.videos, recording.videos, strict=False)
    same = (position for position, (one, other) in enumerate(places) if one.place != other.place)
    return next(same, min(len(former.videos), len(recording.videos)))
