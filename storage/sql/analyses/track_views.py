"""Views of people, tracks and motion: of the shown analysis only. No tables."""

from storage.rows import KEYPOINT_COLUMNS
from storage.sql.analyses.local_time import TIME_PARTS_POSTGRESQL, TIME_PARTS_SQLITE, with_local_times
from storage.track_rows import MOTION_VALUES, SMOOTHED_COLUMNS

# The track of pose `p`. On PostgreSQL, {track_join} follows the other joins: each of its rows is unique, so that the
# planner leaves it out where no query asks for {track}. SQLite evaluates a subquery only if its column is selected.
SHOWN_ANALYSIS = "(SELECT s.analysis_version_id FROM shown_analysis AS s WHERE s.shown_analysis_id = 1)"
TRACK_PARTS_POSTGRESQL = {
    "track": "t.track",
    "track_join": f"""\
LEFT JOIN analyses AS a ON a.recording_id = r.recording_id AND a.video_id = p.video_id
    AND a.model_version_id = p.model_version_id AND a.analysis_version_id = {SHOWN_ANALYSIS} AND a.status = 'done'
LEFT JOIN pose_tracks AS t ON t.analysis_id = a.analysis_id AND t.frame = p.frame AND t.person = p.person""",
}
TRACK_PARTS_SQLITE = {
    "track": """\
(SELECT t.track FROM shown_analysis AS s
        CROSS JOIN analyses AS a ON a.recording_id = r.recording_id AND a.video_id = p.video_id
            AND a.model_version_id = p.model_version_id AND a.analysis_version_id = s.analysis_version_id
            AND a.status = 'done'
        CROSS JOIN pose_tracks AS t ON t.analysis_id = a.analysis_id AND t.frame = p.frame AND t.person = p.person)""",
    "track_join": "",
}

# The recordings `c` of video `v`, and its places `r` in them. A video under two cameras has its rows in each.
PLACES = """\
LEFT JOIN recording_videos AS r ON r.video_id = v.video_id
LEFT JOIN recordings AS c ON c.recording_id = r.recording_id"""
PLACE_COLUMNS = "c.camera, {at} AS at, {local_at} AS local_at, r.recording_id"

PEOPLE_COLUMNS = f"""\
SELECT {{video}} AS video, p.frame, p.t_s, p.person, {{track}} AS track, p.score,
       {", ".join(f"p.{name}" for name in KEYPOINT_COLUMNS)},
       {PLACE_COLUMNS}, p.video_id, p.model_version_id"""
_PEOPLE_POSTGRESQL = f"""
{PEOPLE_COLUMNS}
FROM shown_models AS shown
JOIN poses AS p ON p.model_version_id = shown.model_version_id
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = p.video_id
{PLACES}
{{track_join}}
{{names}}
WHERE shown.task = 'pose'
"""  # our names
_PEOPLE_SQLITE = f"""
{PEOPLE_COLUMNS}
FROM shown_models AS shown
CROSS JOIN videos AS v
{PLACES}
CROSS JOIN poses AS p ON p.video_id = v.video_id AND p.model_version_id = shown.model_version_id
WHERE shown.task = 'pose' AND v.superseded_by IS NULL
"""
PEOPLE_POSTGRESQL = with_local_times(_PEOPLE_POSTGRESQL, "p.t_s", TIME_PARTS_POSTGRESQL)
PEOPLE_SQLITE = with_local_times(_PEOPLE_SQLITE, "p.t_s", TIME_PARTS_SQLITE)

# The analyses `a` that are shown, of the shown pose model and of videos `v` that are not superseded.
SHOWN_ANALYSES = """\
FROM shown_models AS shown
JOIN analyses AS a ON a.model_version_id = shown.model_version_id AND a.status = 'done'
    AND a.analysis_version_id = {shown_analysis}
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = a.video_id
LEFT JOIN recording_videos AS r ON r.recording_id = a.recording_id AND r.video_id = a.video_id
LEFT JOIN recordings AS c ON c.recording_id = r.recording_id""".replace("{shown_analysis}", SHOWN_ANALYSIS)

# The rows `o` of a track `t` in all videos of its recording, with their places `q`.
_PARTS = """\
FROM tracks AS o
    CROSS JOIN analyses AS b
    CROSS JOIN recording_videos AS q{joined}
    WHERE o.recording_id = a.recording_id AND o.track = t.track AND b.analysis_id = o.analysis_id
      AND b.status = 'done' AND b.model_version_id = a.model_version_id
      AND b.analysis_version_id = a.analysis_version_id
      AND b.recording_id = a.recording_id AND q.recording_id = a.recording_id AND q.video_id = b.video_id"""
_LAST = "ORDER BY q.position DESC LIMIT 1"


def _parts(columns: str, more: str = "", joined: str = "") -> str:
    return f"(SELECT {columns} {_PARTS.replace('{joined}', joined)} {more})"


_MEANS = ("mean_score", "box_left", "box_top", "box_width", "box_height")


def _mean(column: str) -> str:
    """Mean over parts `o` of a track, each by its number of sightings: exactly the value of a track in one video."""
    known = f"sum(CASE WHEN o.{column} IS NOT NULL THEN o.frames END)"
    return (
        f"CASE WHEN min(o.analysis_id) = max(o.analysis_id) THEN min(o.{column})"
        f" ELSE sum(o.{column} * o.frames) / {known} END"
    )


def _track_summary(times: dict[str, str], parts: dict[str, str]) -> str:
    """Return the SELECT. parts: columns of a track's whole, with the joins that they need

    OR keeps PostgreSQL from joining all tracks with all others: the tracks of a recording's first file need no look.
    """
    first_at = {name: sql.replace("{t_s}", "t.first_s") for name, sql in times.items()}
    means = ", ".join(f"{parts[name]} AS {name}" for name in _MEANS)
    return f"""
SELECT {{video}} AS video, t.track, t.first_s, {parts["last_s"]} AS last_s,
       {parts["last_second"]} - (r.start_s + t.first_s) AS duration_s,
       t.first_frame, {parts["last_frame"]} AS last_frame, {parts["frames"]} AS frames, {means},
       {parts["last_video"]} AS last_video, c.camera, {first_at["at"]} AS from_at, {parts["at"]} AS to_at,
       {first_at["local_at"]} AS local_from_at, {parts["local_at"]} AS local_to_at,
       r.recording_id, a.video_id, a.model_version_id
{SHOWN_ANALYSES}
JOIN tracks AS t ON t.analysis_id = a.analysis_id
{parts["joins"]}{{names}}
WHERE shown.task = 'pose' AND (coalesce(r.position, 0) = 0 OR NOT EXISTS {_parts("1", "AND q.position < r.position")})
"""


def _subqueries() -> dict[str, str]:
    """Return SQLite's parts: it has no LATERAL, and a subquery costs it one lookup."""
    last_at = {
        name: _parts(sql.replace("{t_s}", "o.last_s").replace("r.", "q."), _LAST)
        for name, sql in TIME_PARTS_SQLITE.items()
    }
    last_video = _parts("{video}", f"AND v.video_id = b.video_id {_LAST}", " CROSS JOIN videos AS v {names}")
    return {
        "last_s": _parts("o.last_s", _LAST),
        "last_second": _parts("q.start_s + o.last_s", _LAST),
        "last_frame": _parts("o.last_frame", _LAST),
        "frames": _parts("sum(o.frames)"),
        **{name: _parts(_mean(name)) for name in _MEANS},
        "last_video": last_video,
        **last_at,
        "joins": "",
    }


def _lateral_joins() -> dict[str, str]:
    """Return PostgreSQL's parts: most tracks have one part, for which the joins look nothing up.

    A track goes on in another video only if another analysis has continued this one. `w` is the whole of such a track,
    `l` its last part.
    """
    goes_on = "AND a.continued_by IS NOT NULL"
    whole = _parts(", ".join(("sum(o.frames) AS frames", *(f"{_mean(name)} AS {name}" for name in _MEANS))), goes_on)
    last = _parts("o.last_s, o.last_frame, q.*", f"{goes_on} {_LAST}")
    last_at = {
        name: f"CASE WHEN l.video_id IS NULL THEN {sql.replace('{t_s}', 't.last_s')}"
        f" ELSE {sql.replace('{t_s}', 'l.last_s').replace('r.', 'l.')} END"
        for name, sql in TIME_PARTS_POSTGRESQL.items()
    }
    return {
        "last_s": "coalesce(l.last_s, t.last_s)",
        "last_second": "coalesce(l.start_s + l.last_s, r.start_s + t.last_s)",
        "last_frame": "coalesce(l.last_frame, t.last_frame)",
        "frames": "coalesce(w.frames, t.frames)",
        **{name: f"CASE WHEN w.frames IS NULL THEN t.{name} ELSE w.{name} END" for name in _MEANS},
        "last_video": "CASE WHEN coalesce(l.video_id, a.video_id) = a.video_id THEN {video}"
        " ELSE (SELECT {video} FROM videos AS v {names} WHERE v.video_id = l.video_id) END",
        **last_at,
        "joins": f"LEFT JOIN LATERAL {whole} AS w ON true\nLEFT JOIN LATERAL {last} AS l ON true\n",
    }


TRACK_SUMMARY_POSTGRESQL = _track_summary(TIME_PARTS_POSTGRESQL, _lateral_joins())
TRACK_SUMMARY_SQLITE = _track_summary(TIME_PARTS_SQLITE, _subqueries())

_TRACK_MOTION = f"""
SELECT {{video}} AS video, m.frame, m.t_s, m.track, m.filled,
       {", ".join(f"m.{name}" for name in (*MOTION_VALUES, *SMOOTHED_COLUMNS))},
       {PLACE_COLUMNS}, a.video_id, a.model_version_id
{SHOWN_ANALYSES}
JOIN motion AS m ON m.analysis_id = a.analysis_id
{{names}}
WHERE shown.task = 'pose'
"""
TRACK_MOTION_POSTGRESQL = with_local_times(_TRACK_MOTION, "m.t_s", TIME_PARTS_POSTGRESQL)
TRACK_MOTION_SQLITE = with_local_times(_TRACK_MOTION, "m.t_s", TIME_PARTS_SQLITE)

_RECORDING_SUMMARY = f"""
SELECT c.recording_id, c.camera, c.start_at AS from_at, {{at}} AS to_at, {{local_at}} AS local_to_at, s.duration_s,
       s.files, s.frames,
       (SELECT count(DISTINCT t.track) FROM shown_models AS shown
        JOIN analyses AS a ON a.model_version_id = shown.model_version_id AND a.status = 'done'
            AND a.analysis_version_id = {SHOWN_ANALYSIS}
        JOIN tracks AS t ON t.analysis_id = a.analysis_id
        WHERE shown.task = 'pose' AND a.recording_id = c.recording_id AND t.recording_id = c.recording_id) AS tracks
FROM recordings AS c
JOIN (SELECT m.recording_id, count(*) AS files, sum(v.frames) AS frames, max(m.start_s + v.duration_s) AS duration_s,
             max(m.position) AS last_position
      FROM recording_videos AS m JOIN videos AS v ON v.video_id = m.video_id
      GROUP BY m.recording_id) AS s ON s.recording_id = c.recording_id
JOIN recording_videos AS r ON r.recording_id = c.recording_id AND r.position = s.last_position
JOIN videos AS v ON v.video_id = r.video_id
"""  # noqa: S608
RECORDING_SUMMARY_POSTGRESQL = with_local_times(_RECORDING_SUMMARY, "v.duration_s", TIME_PARTS_POSTGRESQL)
RECORDING_SUMMARY_SQLITE = with_local_times(_RECORDING_SUMMARY, "v.duration_s", TIME_PARTS_SQLITE)
