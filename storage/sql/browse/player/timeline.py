"""Intervals of a timeline: tracks, events, labels, and what was not looked at. Read only."""

from typing import Any, NamedTuple

from sqlalchemy import Engine, TextClause, text

from storage.sql.browse.player.scope import Scope, Versions, scoped
from storage.sql.database import reading

MOST_INTERVALS = 2000  # of a timeline: more than its pixels
MOST_REASONS = 3  # of the quarantined parts of a video


class LaneInterval(NamedTuple):
    """A part of a timeline.

    kind: `track`, `event`, `label`, `undecodable`, `quarantined` or `not_done`
    from_s, to_s: seconds from the begin of the scope, within it
    video_id: of the beginning; None for a track
    name: of the rule or label, or the reason of a quarantine
    frame: of a track's first sighting in a single video, or of an event's peak
    peak_video_id, severity, event_key: of an event
    """

    kind: str
    from_s: float
    to_s: float
    video_id: int | None = None
    name: str | None = None
    track: int | None = None
    frame: int | None = None
    peak_video_id: int | None = None
    severity: str | None = None
    event_key: str | None = None


class FoundIntervals(NamedTuple):
    """Intervals, the longest ones if there are more than MOST_INTERVALS. total: number of all"""

    intervals: list[LaneInterval]
    total: int


NONE = FoundIntervals([], 0)

# The longest intervals of a query `i` on the recording's clock, and the number of all that lie in the scope.
_LONGEST = """
SELECT i.*, count(*) OVER () AS total
FROM ({query}) AS i
WHERE i.to_s >= :start_s AND i.from_s <= :stop_s
ORDER BY i.to_s - i.from_s DESC, i.from_s
LIMIT :most
"""
_ON_CLOCK = "coalesce(r.start_s, 0)"  # of recording_videos AS r
_PLACE = "LEFT JOIN recording_videos AS r ON r.video_id = v.video_id AND r.recording_id = CAST(:recording AS integer)"

_TRACKS = """
SELECT 'track' AS kind, min(r.start_s + t.first_s) AS from_s, max(r.start_s + t.last_s) AS to_s, t.track,
       min(t.first_frame) AS frame
FROM analyses AS a
JOIN recording_videos AS r ON r.recording_id = a.recording_id AND r.video_id = a.video_id
JOIN tracks AS t ON t.analysis_id = a.analysis_id
WHERE a.recording_id = :recording AND a.model_version_id = :model AND a.analysis_version_id = :analysis
  AND a.status = 'done' AND a.video_id {videos}
GROUP BY t.track
"""
_EVENTS = """
SELECT 'event' AS kind, v.from_s + r.start_s AS from_s, v.to_s + r.start_s AS to_s, v.video_id, v.rule AS name, v.track,
       v.peak_frame AS frame, v.peak_video_id, v.severity, v.event_key
FROM {view} AS v
JOIN recording_videos AS r ON r.video_id = v.video_id AND r.recording_id = v.recording_id
WHERE v.recording_id = :recording
"""
_LABELS = f"""
SELECT 'label' AS kind, v.from_s + {_ON_CLOCK} AS from_s, v.to_s + {_ON_CLOCK} AS to_s, v.video_id, v.label AS name
FROM {{view}} AS v
{_PLACE}
"""  # noqa: S608 # our names
_NOT_SEEN = f"""
SELECT v.state AS kind, v.from_s + {_ON_CLOCK} AS from_s, v.to_s + {_ON_CLOCK} AS to_s, v.video_id
FROM {{view}} AS v
{_PLACE}
WHERE v.state NOT IN ('people', 'nobody')
"""  # noqa: S608 # our names
_REASONS = """
SELECT DISTINCT s.video_id, s.reason
FROM segments AS s
WHERE s.video_id {videos} AND s.model_version_id = :model AND s.status = 'quarantined'
ORDER BY s.video_id, s.reason
"""


def tracks_of_scope(engine: Engine, scope: Scope, versions: Versions) -> FoundIntervals:
    """Return when each track was in view; in a recording through all of its files."""
    if scope.recording_id is None or versions.analysis_version_id is None:
        return NONE
    found = _longest(engine, _TRACKS.replace("{videos}", scope.videos), scope, versions)
    if scope.video_id is not None:
        return found
    return FoundIntervals([interval._replace(frame=None) for interval in found.intervals], found.total)


def events_of_scope(engine: Engine, scope: Scope, versions: Versions) -> FoundIntervals:
    """Return the events that the view shows of the recording's camera, if they were made from this analysis."""
    if scope.recording_id is None or versions.analysis_version_id is None:
        return NONE
    view = scoped("events", engine.dialect.name, scope)
    return _longest(engine, _EVENTS.replace("{view}", view), scope, versions)


def labels_of_scope(engine: Engine, scope: Scope, versions: Versions) -> FoundIntervals:
    """Return the intervals of a classifier's labels."""
    view = scoped("label_intervals", engine.dialect.name, scope)
    return _longest(engine, _LABELS.replace("{view}", view), scope, versions)


def not_seen_in_scope(engine: Engine, scope: Scope, versions: Versions) -> FoundIntervals:
    """Return what the model version has no results of, with the reasons of a quarantine."""
    as_poses = Versions("pose", versions.model_version_id)  # the view knows poses only; a classifier has no rows there
    view = scoped("presence_intervals", engine.dialect.name, scope)
    found = _longest(engine, _NOT_SEEN.replace("{view}", view), scope, as_poses)
    if not any(interval.kind == "quarantined" for interval in found.intervals):
        return found
    reasons = _reasons(engine, scope, versions)
    return FoundIntervals([_with_reason(interval, reasons) for interval in found.intervals], found.total)


def _with_reason(interval: LaneInterval, reasons: dict[int | None, list[str]]) -> LaneInterval:
    if interval.kind != "quarantined":
        return interval
    return interval._replace(name="; ".join(reasons.get(interval.video_id, [])[:MOST_REASONS]) or None)


def _reasons(engine: Engine, scope: Scope, versions: Versions) -> dict[int | None, list[str]]:
    statement = text(_REASONS.replace("{videos}", scope.videos))
    found: dict[int | None, list[str]] = {}
    with reading(engine) as connection:
        for video_id, reason in connection.execute(statement, _used(statement, scope, versions)):
            found.setdefault(video_id, []).append(reason)
    return found


def _longest(engine: Engine, query: str, scope: Scope, versions: Versions) -> FoundIntervals:
    """Return the longest intervals of a query, moved to the begin of the scope and cut at its ends."""
    statement = text(_LONGEST.replace("{query}", query))
    with reading(engine) as connection:
        rows = [row._mapping for row in connection.execute(statement, _used(statement, scope, versions))]
    length_s = scope.stop_s - scope.start_s
    intervals = []
    for row in rows:
        values = {name: row[name] for name in LaneInterval._fields if name in row}
        values["from_s"] = min(max(0.0, row["from_s"] - scope.start_s), length_s)
        values["to_s"] = min(max(0.0, row["to_s"] - scope.start_s), length_s)
        intervals.append(LaneInterval(**values))
    return FoundIntervals(intervals, rows[0]["total"] if rows else 0)


def _used(statement: TextClause, scope: Scope, versions: Versions) -> dict[str, Any]:
    """Return the values of the statement's placeholders, without those that it has not."""
    limits = {"start_s": scope.start_s, "stop_s": scope.stop_s, "most": MOST_INTERVALS}
    every = scope.values | versions.values | limits
    return {name: every[name] for name in statement.compile().params}
