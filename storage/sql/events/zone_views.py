"""Views of visits, crossings and numbers of people: of the shown version of each camera only. No tables."""

import re

from storage.sql.analyses.local_time import TIME_PARTS_POSTGRESQL, TIME_PARTS_SQLITE
from storage.sql.events.shown_runs import IS_LATEST, SHOWN_RUNS


def zone_view_queries(postgresql: bool) -> dict[str, str]:
    """Map the name of each view to its SELECT, with the placeholders of storage.sql.views in it."""
    queries = {"zone_visits": ZONE_VISITS, "zone_crossings": ZONE_CROSSINGS, "people_per_hour": PEOPLE_PER_HOUR}
    return {name: with_times(query, postgresql) for name, query in queries.items()}


def with_times(query: str, postgresql: bool) -> str:
    """Replace the placeholders of times, such as `{at:START:SECONDS}`."""
    for name, sql in (TIMES_POSTGRESQL if postgresql else TIMES_SQLITE).items():
        query = re.sub(rf"\{{{name}:([^:}}]+)(?::([^}}]+))?\}}", sql, query)
    return query


def _of_video(sql: str) -> str:
    """Return SQL for recording_videos AS r and {t_s} as a replacement with the alias and the second as its groups."""
    return sql.replace("r.", r"\1.").replace("{t_s}", r"\2")


def _since(sql: str) -> str:
    """Return SQL for r.start_at and {t_s} as a replacement with the start and the seconds as its groups."""
    return sql.replace("r.start_at", r"\1").replace("{t_s}", r"\2")


_AT_POSTGRESQL, _AT_SQLITE = _since(TIME_PARTS_POSTGRESQL["at"]), _since(TIME_PARTS_SQLITE["at"])

# {at:START:SECONDS}: some seconds after a time; {hour:START:SECONDS}: its number of full hours since 1970;
# {epoch:START}: its number of seconds; {of_hour:N}: the time of such a number of hours; {local_of_hour:N:OFFSET}: its
# local time. {local:B:SECONDS}: the local time of a second of the video of recording_videos AS B.
TIMES_POSTGRESQL = {
    "at": _AT_POSTGRESQL,
    "hour": f"CAST(floor(extract(epoch FROM {_AT_POSTGRESQL}) / 3600) AS bigint)",
    "epoch": r"extract(epoch FROM \1)",
    "of_hour": r"to_timestamp(\1 * 3600)",
    "local_of_hour": r"to_timestamp(\1 * 3600 + \2) AT TIME ZONE 'UTC'",
    "local": _of_video(TIME_PARTS_POSTGRESQL["local_at"]),
}
TIMES_SQLITE = {
    "at": _AT_SQLITE,
    "hour": f"CAST(strftime('%s', {_AT_SQLITE}) AS integer) / 3600",
    "epoch": r"CAST(strftime('%s', \1) AS integer)",
    "of_hour": r"strftime('%Y-%m-%dT%H:%M:%fZ', \1 * 3600, 'unixepoch')",
    "local_of_hour": r"strftime('%Y-%m-%dT%H:%M:%f', \1 * 3600 + \2, 'unixepoch')",
    "local": _of_video(TIME_PARTS_SQLITE["local_at"]),
}

_BEGINS_IN = """\
JOIN zones AS z ON z.zone_id = n.zone_id
JOIN recording_videos AS b ON b.recording_id = a.recording_id AND b.video_id = n.video_id
JOIN videos AS v ON v.video_id = n.video_id
{names}"""

ZONE_VISITS = f"""
SELECT r.camera, {{video}} AS video, z.zone, z.kind, n.track,
       n.entered_s - b.start_s AS entered_s, n.left_s - b.start_s AS left_s, n.left_s - n.entered_s AS dwell_s,
       {{at:b.start_at:n.entered_s - b.start_s}} AS entered_at, {{at:b.start_at:n.left_s - b.start_s}} AS left_at,
       {{local:b:n.entered_s - b.start_s}} AS entered_local_at, {{local:b:n.left_s - b.start_s}} AS left_local_at,
       a.recording_id, n.video_id, a.model_version_id
{SHOWN_RUNS}
JOIN visits AS n ON n.event_run_id = e.event_run_id
{_BEGINS_IN}
WHERE shown.task = 'pose' AND {IS_LATEST}
"""

ZONE_CROSSINGS = f"""
SELECT r.camera, {{video}} AS video, z.zone, z.kind, n.track, n.at_s - b.start_s AS at_s,
       {{at:b.start_at:n.at_s - b.start_s}} AS at, {{local:b:n.at_s - b.start_s}} AS local_at,
       n.direction, a.recording_id, n.video_id, a.model_version_id
{SHOWN_RUNS}
JOIN crossings AS n ON n.event_run_id = e.event_run_id
{_BEGINS_IN}
WHERE shown.task = 'pose' AND {IS_LATEST}
"""

# A track counts in every hour from its first sighting to its last one in a video. `hour` is a number of hours.
PEOPLE_PER_HOUR = f"""
WITH RECURSIVE spans(camera, recording_id, video_id, track, hour, last_hour) AS (
    SELECT r.camera, r.recording_id, b.video_id, t.track, {{hour:b.start_at:t.first_s}}, {{hour:b.start_at:t.last_s}}
    FROM shown_models AS shown
    JOIN analyses AS a ON a.model_version_id = shown.model_version_id AND a.status = 'done'
        AND a.analysis_version_id = (SELECT s.analysis_version_id FROM shown_analysis AS s
                                     WHERE s.shown_analysis_id = 1)
    JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = a.video_id
    JOIN recordings AS r ON r.recording_id = a.recording_id
    JOIN recording_videos AS b ON b.recording_id = a.recording_id AND b.video_id = a.video_id
    JOIN tracks AS t ON t.analysis_id = a.analysis_id
    WHERE shown.task = 'pose' AND b.start_at IS NOT NULL
    UNION
    SELECT camera, recording_id, video_id, track, hour + 1, last_hour FROM spans WHERE hour < last_hour
),
seen AS (
    SELECT s.camera, s.recording_id, s.track, s.hour,
           max(CASE WHEN s.hour * 3600 - {{epoch:b.start_at}} >= b.offset_changes_s THEN b.later_utc_offset_s
                    ELSE b.utc_offset_s END) AS utc_offset_s
    FROM spans AS s
    JOIN recording_videos AS b ON b.recording_id = s.recording_id AND b.video_id = s.video_id
    GROUP BY s.camera, s.recording_id, s.track, s.hour
),
people AS (
    SELECT camera, hour, count(*) AS people, max(utc_offset_s) AS utc_offset_s
    FROM seen
    GROUP BY camera, hour
),
entered AS (
    SELECT camera, hour, count(*) AS visits
    FROM (SELECT r.camera, {{hour:b.start_at:n.entered_s - b.start_s}} AS hour
          {SHOWN_RUNS}
          JOIN visits AS n ON n.event_run_id = e.event_run_id
          JOIN recording_videos AS b ON b.recording_id = a.recording_id AND b.video_id = n.video_id
          WHERE shown.task = 'pose' AND b.start_at IS NOT NULL AND {IS_LATEST}) AS begun
    GROUP BY camera, hour
)
SELECT p.camera, {{of_hour:p.hour}} AS hour, {{local_of_hour:p.hour:p.utc_offset_s}} AS local_hour,
       p.people, coalesce(e.visits, 0) AS visits
FROM people AS p
LEFT JOIN entered AS e ON e.hour = p.hour AND (e.camera = p.camera OR (e.camera IS NULL AND p.camera IS NULL))
"""  # noqa: S608 # our names
