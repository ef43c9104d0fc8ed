"""Timelines of a video and of a recording: lanes of intervals, as plain values."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from storage.sql.browse.player.scope import Scope, Versions
from storage.sql.browse.player.timeline import (
    MOST_INTERVALS,
    NONE,
    FoundIntervals,
    LaneInterval,
    events_of_scope,
    labels_of_scope,
    not_seen_in_scope,
    tracks_of_scope,
)
from storage.sql.browse.recordings import RecordingFile, StoredRecording
from storage.sql.database import Database
from tasks.browse.links import events_path, video_path


class Shown(NamedTuple):
    """Versions whose intervals are shown. main: those of the chosen model; None = the video has none of this kind"""

    main: Versions | None
    poses: Versions | None
    labels: Versions | None


class Lanes(NamedTuple):
    """Intervals in the order of time, the longest ones if there are too many. cut: number of the others"""

    intervals: list[LaneInterval]
    cut: int


def lanes_of(engine: Database, scope: Scope, shown: Shown) -> Lanes:
    """Return the intervals of a scope, at most MOST_INTERVALS."""
    found = [
        _found(engine, scope, shown.poses, tracks_of_scope),
        _found(engine, scope, shown.poses, events_of_scope),
        _found(engine, scope, shown.labels, labels_of_scope),
        _found(engine, scope, shown.main, not_seen_in_scope),
    ]
    every = sorted((interval for each in found for interval in each.intervals), key=_length_s, reverse=True)
    kept = sorted(every[:MOST_INTERVALS], key=lambda interval: (interval.from_s, interval.to_s))
    return Lanes(kept, sum(each.total for each in found) - len(kept))


def _found(
    engine: Database,
    scope: Scope,
    versions: Versions | None,
    read: Callable[[Database, Scope, Versions], FoundIntervals],
) -> FoundIntervals:
    return NONE if versions is None else read(engine, scope, versions)


def _length_s(interval: LaneInterval) -> float:
    return interval.to_s - interval.from_s


def as_lane(interval: LaneInterval, url: str) -> dict[str, Any]:
    """Return an interval for JSON. url: of the place that a click opens"""
    return {
        "kind": interval.kind,
        "name": interval.name,
        "track": interval.track,
        "from_s": interval.from_s,
        "to_s": interval.to_s,
        "frame": interval.frame,
        "severity": interval.severity,
        "url": url,
    }


def video_lanes(lanes: Lanes, video_id: int, sha256: str, recording_id: int | None) -> list[dict[str, Any]]:
    """Return the lanes of one video. An event's frame is that of its peak, None if it lies in another file."""
    found = []
    for interval in lanes.intervals:
        if interval.peak_video_id not in (None, video_id):
            interval = interval._replace(frame=None)
        url = video_path(sha256, t=interval.from_s, track=interval.track, recording=recording_id)
        if interval.event_key is not None:
            url = events_path(event=interval.event_key)
        found.append(as_lane(interval, url))
    return found


def recording_lanes(
    lanes: Lanes, recording: StoredRecording, files: Sequence[RecordingFile], begin_s: float
) -> list[dict[str, Any]]:
    """Return the lanes of a recording, on its clock. begin_s: of the lanes' scope on this clock"""
    starts = [file.start_s for file in files]
    found = []
    for interval in lanes.intervals:
        from_s, to_s = interval.from_s + begin_s, interval.to_s + begin_s
        file = files[max(0, bisect_right(starts, from_s) - 1)]
        t_s = max(0.0, from_s - file.start_s)
        url = video_path(file.sha256, t=t_s, track=interval.track, recording=recording.recording_id)
        found.append(as_lane(interval._replace(from_s=from_s, to_s=to_s, frame=None), url))
    return found


def recording_scope(recording_id: int, files: Sequence[RecordingFile]) -> Scope:
    """Return the scope of consecutive files of a recording."""
    first, last = files[0], files[-1]
    stop_s = max(file.start_s + file.duration_s for file in files)
    return Scope(None, recording_id, first.start_s, stop_s, first.position, last.position)
