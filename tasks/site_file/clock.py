"""The camera and the first frame's time of a file, as the site file says. Pure: no disk, no database."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tasks.site_file.cameras import CameraEntry, Source, Start
from tasks.site_file.globs import normal
from tasks.site_file.layouts import LOCAL
from tasks.site_file.sidecar import find_row, read_time
from tasks.site_file.spec import SiteFile
from tasks.site_file.times import MismatchError, NoTimeError, Reading

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)  # before: a clock that was never set counts from 1970, 1904 or 1601
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
NOT_READ = "its container's creation time has not been read yet; the next run of its archive reads it"
NO_CAMERAS = "the site file has no [[cameras]]"
NO_MATCH = "no glob of the site file's [[cameras]] matches its key"
CLOSE_S = 120.0  # between a file's time and the creation time that its container has besides
OVERLAP_S = 1.0  # of two files that follow each other: times in names are whole seconds


@dataclass(frozen=True)
class ArchivedFile:
    """A file of an archive. None = not known; content: the same for copies of the same bytes

    creation_time_read: False = read by a version that did not look for it
    """

    key: str
    archive: str = ""
    duration_s: float | None = None
    creation_time: datetime | None = None
    creation_time_read: bool = True
    content: Hashable = None


class Place(NamedTuple):
    """Camera and first frame's time of a file, as in the table archive_files.

    start_at: UTC; clock: source of start_at; no_clock: reason without a full stop where it is None
    or_start_at: the other possible time, of a file in the hour that occurs twice
    """

    camera: str | None
    start_at: datetime | None
    time_zone: str | None
    clock: Source | None
    no_clock: str | None
    or_start_at: datetime | None = None


def resolve(site_file: SiteFile, file: ArchivedFile) -> Place:
    """Resolve one file by the first entry of [[cameras]] that matches. `resolve_all` also looks at its neighbours."""
    for camera in site_file.cameras:
        parts = camera.match(file.archive, file.key)
        if parts is not None:
            return _place(site_file, camera, file, parts)
    return Place(None, None, None, None, NO_MATCH if site_file.cameras else NO_CAMERAS)


def resolve_all(site_file: SiteFile, files: Sequence[ArchivedFile]) -> list[Place]:
    """Resolve files, in their order. Neighbours decide between the two times in the hour that occurs twice."""
    places = [resolve(site_file, file) for file in files]
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for number, (file, place) in enumerate(zip(files, places, strict=True)):
        if place.start_at is not None:
            groups[file.archive, place.camera].append(number)
    for numbers in groups.values():
        if any(places[number].or_start_at for number in numbers):
            _decide(files, places, numbers)
    return [place._replace(or_start_at=None) for place in places]


def _place(site_file: SiteFile, camera: CameraEntry, file: ArchivedFile, parts: dict[str, str]) -> Place:
    zone = camera.time_zone or site_file.site.time_zone or "UTC"
    errors: list[NoTimeError] = []
    for start in camera.starts:
        try:
            reading = _reading(site_file, start, file)
            first, second = _instants(reading, start, zone, file)
        except NoTimeError as error:
            errors.append(error)
            if str(error) == NOT_READ:  # another source would count until it is read
                return Place(camera.name_of(parts), None, zone, None, NOT_READ)
            continue
        return Place(camera.name_of(parts | reading.names), first, zone, start.source, None, second)
    return Place(camera.name_of(parts), None, zone, None, _reason(errors))


def _reason(errors: Sequence[NoTimeError]) -> str:
    """Return why no source gives a time: patterns that do not match are mentioned only where that is all."""
    told = [error for error in errors if not isinstance(error, MismatchError)] or errors
    return "; ".join(dict.fromkeys(map(str, told))) or "its entry in [[cameras]] has neither start nor layout"


def _reading(site_file: SiteFile, start: Start, file: ArchivedFile) -> Reading:
    """Read a file's time from one source. Raises NoTimeError."""
    if start.source == "creation_time":
        return _creation_time(start, file)
    if start.source == "sidecar":
        row = find_row(site_file.sidecars.get(start.file or "", {}), file.key)
        if row is None:
            raise NoTimeError(f"it is not in the sidecar {start.file}")
        reading = read_time(row, start.time)
        return reading._replace(names=reading.names | ({"camera": row.camera} if row.camera else {}))
    text = file.key if start.source == "path" else file.key.rpartition("/")[2]
    assert start.time is not None  # the model requires a pattern
    try:
        return start.time.read(text, last=start.is_ == "end")
    except NoTimeError as error:
        raise type(error)(f"its {start.source} {error}") from None


def _creation_time(start: Start, file: ArchivedFile) -> Reading:
    """Return the container's creation time, as UTC or as a wall clock that is marked as UTC."""
    if not file.creation_time_read:
        raise NoTimeError(NOT_READ)
    if file.creation_time is None:
        raise NoTimeError("its container has no creation time")
    said = file.creation_time.astimezone(UTC).replace(tzinfo=None)
    return Reading(said.isoformat(), said, None, "", {})


def _instants(reading: Reading, start: Start, zone: str, file: ArchivedFile) -> tuple[datetime, datetime | None]:
    """Return the first frame's time, and the other possible one of the hour that occurs twice. Raises NoTimeError."""
    name = zone if start.written_in == LOCAL else start.written_in
    try:
        times = [reading.instant] if reading.instant else _local_times(reading, ZoneInfo(name))
        back = timedelta(seconds=_seconds_back(start, file))
        times = [_milliseconds(time.astimezone(UTC) - back) for time in times]
    except OverflowError:
        times = []
    if not times or not all(EARLIEST <= time < LATEST for time in times):
        raise NoTimeError(f"its clock was not set: {reading.text!r} is before 1971 or after 2199")
    return times[0], times[1] if len(times) > 1 else None


def _seconds_back(start: Start, file: ArchivedFile) -> float:
    if start.is_ == "start":
        return 0.0
    if file.duration_s is None:
        raise NoTimeError("its duration is not known, which is subtracted from the end")
    return file.duration_s


def _milliseconds(time: datetime) -> datetime:
    """Round down to milliseconds, which both databases store."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _local_times(reading: Reading, zone: ZoneInfo) -> list[datetime]:
    """Return the instants at which clocks in this zone show a time: two in the hour that occurs twice.

    In the hour that is skipped, a clock shows a time if it has not been put forward yet: it counts as such.
    """
    assert reading.local is not None
    earlier, later = (reading.local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if earlier.astimezone(UTC) >= later.astimezone(UTC):
        return [earlier]
    named = [time for time in (earlier, later) if reading.zone_name in _zone_names(time)]
    return named if len(named) == 1 else [earlier, later]


def _zone_names(time: datetime) -> tuple[str, str]:
    return (time.tzname() or "").upper(), "DST" if time.dst() else "ST"


@dataclass(frozen=True)
class _Span:
    """A file on the time line. number: of the file; start_s, or_start_s: since 1970"""

    number: int
    start_s: float
    or_start_s: float | None
    duration_s: float

    def at(self, start_s: float) -> "_Span":
        return replace(self, start_s=start_s, or_start_s=None)


def _decide(files: Sequence[ArchivedFile], places: list[Place], numbers: list[int]) -> None:
    """Decide between the two times of each file of a camera, in the order of their evidence.

    The container's creation time; the order of the names, if it is otherwise that of the times; an overlap with
    another file of the camera, which cannot record two at once. Without any, the first time counts. Copies of the same
    bytes have the same time.
    """
    spans = {number: _span(number, files[number], places[number]) for number in numbers}
    decided: dict[Hashable, bool] = {}
    for find in (_by_creation_time, _by_names, _by_overlap):
        for number, later in find(files, list(spans.values())):
            later = decided.setdefault(files[number].content or ("file", number), later)
            place, other = places[number], spans[number].or_start_s
            if other is not None:
                places[number] = place._replace(start_at=place.or_start_at if later else place.start_at)
                spans[number] = spans[number].at(other if later else spans[number].start_s)


def _span(number: int, file: ArchivedFile, place: Place) -> _Span:
    assert place.start_at is not None
    other = place.or_start_at.timestamp() if place.or_start_at else None
    return _Span(number, place.start_at.timestamp(), other, file.duration_s or 0.0)


def _by_creation_time(files: Sequence[ArchivedFile], spans: list[_Span]) -> Iterator[tuple[int, bool]]:
    """Yield (file, later time?) where the creation time is close to the start or end by one of the times only."""
    for span in spans:
        created = files[span.number].creation_time
        if span.or_start_s is None or created is None:
            continue
        said = created.timestamp()
        close = [
            min(abs(said - start_s), abs(said - start_s - span.duration_s)) <= CLOSE_S
            for start_s in (span.start_s, span.or_start_s)
        ]
        if close[0] != close[1]:
            yield span.number, close[1]


def _by_names(files: Sequence[ArchivedFile], spans: list[_Span]) -> Iterator[tuple[int, bool]]:
    """Yield (file, later time?) in folders whose names count up with the time, as with running numbers."""
    folders: dict[str, list[_Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: normal(files[span.number].key)):
        folders[files[span.number].key.rpartition("/")[0]].append(span)
    for folder in folders.values():
        certain = [span.start_s for span in folder if span.or_start_s is None]
        if len(certain) > 1 and certain == sorted(certain):
            yield from _turned_back(folder)


def _turned_back(folder: list[_Span]) -> Iterator[tuple[int, bool]]:
    """Yield the files before which the clock was turned back: their first time is before their predecessor's."""
    previous = float("-inf")
    for span in folder:
        if span.or_start_s is not None and span.start_s < previous <= span.or_start_s:
            yield span.number, True
            previous = span.or_start_s
        else:
            previous = max(previous, span.start_s)


def _by_overlap(files: Sequence[ArchivedFile], spans: list[_Span]) -> Iterator[tuple[int, bool]]:
    """Yield (file, later time?) for all that are left: the later time where only the first one overlaps a file."""
    taken = [span for span in spans if span.or_start_s is None]
    open_ones = [span for span in spans if span.or_start_s is not None]
    low = min((span.start_s for span in open_ones), default=0.0) - 86_400
    high = max((span.or_start_s or 0.0 for span in open_ones), default=0.0) + 86_400
    taken = [span for span in taken if low < span.start_s < high]
    several = _overlap_often(taken)
    for span in sorted(open_ones, key=lambda span: (span.start_s, len(files[span.number].key), files[span.number].key)):
        assert span.or_start_s is not None
        first, second = (_overlap_s(span.at(start_s), taken) for start_s in (span.start_s, span.or_start_s))
        later = first > OVERLAP_S and second < first and not several
        taken.append(span.at(span.or_start_s if later else span.start_s))
        yield span.number, later


def _overlap_often(spans: list[_Span]) -> bool:
    """Return whether the files of a camera overlap anyway, as those of a car's front and rear under one name do."""
    ordered = sorted(spans, key=lambda span: span.start_s)
    pairs = list(pairwise(ordered))
    return sum(_overlap_s(second, [first]) > OVERLAP_S for first, second in pairs) * 4 > len(pairs)


def _overlap_s(span: _Span, others: Iterable[_Span]) -> float:
    """Return the longest overlap with another file, seconds. A file of unknown length has one at its own start."""
    found = 0.0
    for other in others:
        if abs(other.start_s - span.start_s) < 1e-3:
            return float("inf")
        end_s = min(other.start_s + other.duration_s, span.start_s + span.duration_s)
        found = max(found, end_s - max(other.start_s, span.start_s))
    return found
