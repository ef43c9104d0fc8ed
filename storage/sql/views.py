"""The views: SQL that users query instead of the tables. Each is written here once, for both databases.

A migration drops all views before it changes the tables, and creates them again from this module. So no migration
contains a view's SQL. A changed view needs a migration too, if only an empty one, so that existing databases get it.
docs/schema.md explains the columns.
"""

from sqlalchemy import Connection, inspect

from models.types import KEYPOINT_NAMES
from storage.sql.analyses.local_time import TIME_PARTS_POSTGRESQL, TIME_PARTS_SQLITE, with_local_times
from storage.sql.analyses.track_views import (
    PEOPLE_POSTGRESQL,
    PEOPLE_SQLITE,
    PLACE_COLUMNS,
    PLACES,
    RECORDING_SUMMARY_POSTGRESQL,
    RECORDING_SUMMARY_SQLITE,
    TRACK_MOTION_POSTGRESQL,
    TRACK_MOTION_SQLITE,
    TRACK_PARTS_POSTGRESQL,
    TRACK_PARTS_SQLITE,
    TRACK_SUMMARY_POSTGRESQL,
    TRACK_SUMMARY_SQLITE,
)
from storage.sql.events.event_views import EVENTS, RULE_PRECISION
from storage.sql.events.presence_views import presence_view_queries
from storage.sql.events.zone_views import with_times, zone_view_queries


def drop_views(connection: Connection) -> None:
    """Drop the views that exist. A former version may have had a table with the name of a view."""
    existing = set(inspect(connection).get_view_names())
    for name in reversed(view_queries(connection.dialect.name)):
        if name in existing:
            connection.exec_driver_sql(f"DROP VIEW {name}")


def create_views(connection: Connection) -> None:
    """Create all views. The tables must have the schema of tables.py, and the views must not exist."""
    for name, query in view_queries(connection.dialect.name).items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS\n{query}")


def view_queries(dialect: str) -> dict[str, str]:
    """Map the name of each view to its SELECT, in an order in which they can be created.

    dialect: `sqlite` or `postgresql`
    """
    postgresql = dialect == "postgresql"
    queries = {
        "video_names": VIDEO_NAMES_POSTGRESQL if postgresql else VIDEO_NAMES_SQLITE,
        "current_videos": CURRENT_VIDEOS,
        "keypoints": KEYPOINTS_POSTGRESQL if postgresql else KEYPOINTS_SQLITE,
        "people": PEOPLE_POSTGRESQL if postgresql else PEOPLE_SQLITE,
        "track_summary": TRACK_SUMMARY_POSTGRESQL if postgresql else TRACK_SUMMARY_SQLITE,
        "track_motion": TRACK_MOTION_POSTGRESQL if postgresql else TRACK_MOTION_SQLITE,
        "recording_summary": RECORDING_SUMMARY_POSTGRESQL if postgresql else RECORDING_SUMMARY_SQLITE,
        "presence_intervals": PRESENCE_INTERVALS,
        **presence_view_queries(postgresql),
        **zone_view_queries(postgresql),
        "events": with_times(EVENTS, postgresql),
        "rule_precision": RULE_PRECISION,
        "label_intervals": LABEL_INTERVALS,
        "video_summary": VIDEO_SUMMARY_POSTGRESQL if postgresql else VIDEO_SUMMARY_SQLITE,
        "batch_summary": BATCH_SUMMARY,
        "device_summary": DEVICE_SUMMARY,
        "quarantine": QUARANTINE,
        "training_failures": TRAINING_FAILURES,
    }
    return {name: _filled(query, POSTGRESQL if postgresql else SQLITE) for name, query in queries.items()}


def _filled(query: str, parts: dict[str, str]) -> str:
    for placeholder, sql in parts.items():
        query = query.replace(f"{{{placeholder}}}", sql)
    return query.strip()


# The file that gives video `v` its name: an existing file before a removed one, then the one removed last, then the
# first by the bytes of its key. This is the order of the index ix_archive_files_name, so that one row of it is read,
# however many copies a video has.
NAMING_FILE = """\
FROM archive_files AS f WHERE f.video_id = v.video_id
       ORDER BY f.gone_at DESC NULLS FIRST, {bytes_of_key}, f.archive LIMIT 1"""

# Placeholder -> SQL, replaced in this order. {video}, {key}, {archive} and {gone_at} are of video `v`; a query that
# uses them ends its FROM clause with {names}.
POSTGRESQL = {
    "place_columns": with_local_times(PLACE_COLUMNS, "p.t_s", TIME_PARTS_POSTGRESQL),
    "places": PLACES,
    **TRACK_PARTS_POSTGRESQL,
    "video": "coalesce({key}, v.sha256)",
    "names": f"LEFT JOIN LATERAL (SELECT f.key, f.archive, f.gone_at {NAMING_FILE}) AS names ON true",
    "key": "names.key",
    "archive": "names.archive",
    "gone_at": "names.gone_at",
    "bytes_of_key": 'f.key COLLATE "C"',
    "batch_seconds": "CAST(extract(epoch FROM b.finished_at - b.started_at) AS double precision)",
    "undecodable_frames": "jsonb_array_elements_text(CAST(s.undecodable AS jsonb)) AS u(value)",
}
# SQLite has no LATERAL, and evaluates a subquery only if its column is selected.
SQLITE = {
    "place_columns": with_local_times(PLACE_COLUMNS, "p.t_s", TIME_PARTS_SQLITE),
    "places": PLACES,
    **TRACK_PARTS_SQLITE,
    "video": "coalesce({key}, v.sha256)",
    "names": "",
    "key": f"(SELECT f.key {NAMING_FILE})",
    "archive": f"(SELECT f.archive {NAMING_FILE})",
    "gone_at": f"(SELECT f.gone_at {NAMING_FILE})",
    "bytes_of_key": "f.key",
    "batch_seconds": "round((julianday(b.finished_at) - julianday(b.started_at)) * 86400, 3)",
    "undecodable_frames": "json_each(s.undecodable) AS u",
}

VIDEO_NAMES_POSTGRESQL = """
SELECT v.video_id, names.key, names.archive, names.gone_at
FROM videos AS v
{names}
WHERE names.key IS NOT NULL
"""
VIDEO_NAMES_SQLITE = """
SELECT v.video_id, {key} AS key, {archive} AS archive, {gone_at} AS gone_at
FROM videos AS v
WHERE EXISTS (SELECT 1 FROM archive_files AS f WHERE f.video_id = v.video_id)
"""

CURRENT_VIDEOS = """
SELECT video_id, sha256, size_bytes, container, codec, width, height, frames, fps, duration_s
FROM videos
WHERE superseded_by IS NULL
"""

# PostgreSQL scans `poses` once for any query; a condition on `keypoint` removes the other arms of the UNION.
KEYPOINTS_POSTGRESQL = """
SELECT {video} AS video, p.frame, p.t_s, p.person, {track} AS track, k.keypoint, k.x, k.y, k.score,
       {place_columns}, p.video_id, p.model_version_id
FROM shown_models AS shown
JOIN poses AS p ON p.model_version_id = shown.model_version_id
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = p.video_id
{places}
{track_join}
{names}
CROSS JOIN LATERAL ({arms}) AS k
WHERE shown.task = 'pose' AND k.x IS NOT NULL
""".replace(
    "{arms}",
    "\nUNION ALL ".join(
        f"SELECT '{name}' AS keypoint, p.{name}_x AS x, p.{name}_y AS y, p.{name}_score AS score"
        for name in KEYPOINT_NAMES
    ),
)
# SQLite tests a condition on `keypoint` once before each arm, so that one arm is scanned. CROSS JOIN keeps the order:
# from a name to its video and on to the video's poses by their key, instead of through all poses.
#
# SQLite computes all columns of a UNION, also those that no query asks for. So the arms only pass on the clock.
_CLOCK = ("start_at", "utc_offset_s", "offset_changes_s", "later_utc_offset_s")
_KEYPOINT_ARM = f"""\
SELECT {{video}} AS video, p.frame, p.t_s, p.person, {{track}} AS track, '{{name}}' AS keypoint,
       p.{{name}}_x AS x, p.{{name}}_y AS y, p.{{name}}_score AS score,
       c.camera, {", ".join(f"r.{name}" for name in _CLOCK)}, r.recording_id, p.video_id, p.model_version_id
FROM shown_models AS shown
CROSS JOIN videos AS v
{{places}}
CROSS JOIN poses AS p ON p.video_id = v.video_id AND p.model_version_id = shown.model_version_id
WHERE shown.task = 'pose' AND v.superseded_by IS NULL AND p.{{name}}_x IS NOT NULL"""  # noqa: S608 # our names
KEYPOINTS_SQLITE = """
SELECT r.video, r.frame, r.t_s, r.person, r.track, r.keypoint, r.x, r.y, r.score,
       r.camera, {at} AS at, {local_at} AS local_at, r.recording_id, r.video_id, r.model_version_id
FROM ({arms}) AS r
""".replace("{arms}", "\nUNION ALL\n".join(_KEYPOINT_ARM.replace("{name}", name) for name in KEYPOINT_NAMES))
KEYPOINTS_SQLITE = with_local_times(KEYPOINTS_SQLITE, "r.t_s", TIME_PARTS_SQLITE)

# pose_seconds has one row per second with people in it. Frames that were not processed split such a row (splits).
# Frames without a person have no row, hence no time of their own. A stretch that was not processed is placed between
# the nearest rows before and after it, or the video's ends, in proportion to its frame numbers: exact where the frame
# rate is constant, and never beyond those rows where it is not.
PRESENCE_INTERVALS = """
WITH films AS (
    SELECT v.video_id, m.model_version_id, v.frames, v.duration_s,
           CASE WHEN m.frames_per_second < 1.5 THEN 1.5 / m.frames_per_second ELSE 1 END AS patience_s
    FROM shown_models AS shown
    JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
    JOIN (SELECT DISTINCT video_id, model_version_id FROM segments) AS planned
        ON planned.model_version_id = m.model_version_id
    JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = planned.video_id
    WHERE shown.task = 'pose'
),
unseen_frames AS (
    SELECT s.video_id, s.model_version_id, s.start_frame, s.stop_frame,
           CASE WHEN s.status = 'quarantined' THEN 'quarantined' ELSE 'not_done' END AS state
    FROM segments AS s
    WHERE s.status <> 'done'
    UNION ALL
    SELECT s.video_id, s.model_version_id, CAST(u.value AS integer), CAST(u.value AS integer) + 1, 'undecodable'
    FROM segments AS s, {undecodable_frames}
    WHERE s.status = 'done' AND s.undecodable_frames > 0
),
unseen_runs AS (
    SELECT video_id, model_version_id, min(start_frame) AS start_frame, max(stop_frame) AS stop_frame,
           min(state) AS state
    FROM (
        SELECT video_id, model_version_id, start_frame, stop_frame, state,
               sum(begins) OVER (PARTITION BY video_id, model_version_id ORDER BY start_frame) AS run
        FROM (
            SELECT video_id, model_version_id, start_frame, stop_frame, state,
                   CASE WHEN start_frame = lag(stop_frame) OVER w AND state = lag(state) OVER w THEN 0 ELSE 1 END
                       AS begins
            FROM unseen_frames
            WINDOW w AS (PARTITION BY video_id, model_version_id ORDER BY start_frame)
        ) AS b
    ) AS r
    GROUP BY video_id, model_version_id, run
),
neighbours AS (
    SELECT f.video_id, f.model_version_id, f.frames, f.duration_s, u.start_frame, u.stop_frame, u.state,
           (SELECT max(p.frame) FROM poses AS p
            WHERE p.video_id = f.video_id AND p.model_version_id = f.model_version_id
              AND p.frame < u.start_frame) AS before_frame,
           (SELECT min(p.frame) FROM poses AS p
            WHERE p.video_id = f.video_id AND p.model_version_id = f.model_version_id
              AND p.frame >= u.stop_frame) AS after_frame
    FROM unseen_runs AS u
    JOIN films AS f ON f.video_id = u.video_id AND f.model_version_id = u.model_version_id
),
anchors AS (
    SELECT n.video_id, n.model_version_id, n.start_frame, n.stop_frame, n.state,
           coalesce(n.before_frame, 0) AS frame_0, coalesce(n.after_frame, n.frames) AS frame_1,
           coalesce((SELECT max(p.t_s) FROM poses AS p
                     WHERE p.video_id = n.video_id AND p.model_version_id = n.model_version_id
                       AND p.frame = n.before_frame), 0) AS t_0,
           coalesce((SELECT max(p.t_s) FROM poses AS p
                     WHERE p.video_id = n.video_id AND p.model_version_id = n.model_version_id
                       AND p.frame = n.after_frame), n.duration_s) AS t_1
    FROM neighbours AS n
),
splits AS (
    SELECT p.video_id, p.model_version_id, p.frame, p.last_s, a.start_frame, a.frame_1, a.t_0, a.t_1
    FROM anchors AS a
    JOIN pose_seconds AS p ON p.video_id = a.video_id AND p.model_version_id = a.model_version_id
        AND p.frame = (SELECT max(q.frame) FROM pose_seconds AS q
                       WHERE q.video_id = a.video_id AND q.model_version_id = a.model_version_id
                         AND q.frame < a.start_frame)
    WHERE p.last_s > a.t_0
),
sightings AS (
    SELECT p.video_id, p.model_version_id, p.frame, p.first_s, coalesce(h.t_0, p.last_s) AS last_s
    FROM pose_seconds AS p
    LEFT JOIN (
        SELECT video_id, model_version_id, frame, min(t_0) AS t_0 FROM splits GROUP BY video_id, model_version_id, frame
    ) AS h ON h.video_id = p.video_id AND h.model_version_id = p.model_version_id AND h.frame = p.frame
    UNION ALL
    SELECT video_id, model_version_id, frame_1, t_1, last_s
    FROM (
        SELECT video_id, model_version_id, frame_1, t_1,
               coalesce(lead(t_0) OVER (PARTITION BY video_id, model_version_id, frame ORDER BY start_frame), last_s)
                   AS last_s
        FROM splits
    ) AS tails
    WHERE t_1 <= last_s
),
marks AS (
    SELECT f.video_id, f.model_version_id, f.patience_s, 'people' AS state, p.frame AS frame, 0 AS unseen_until,
           p.first_s AS from_s, p.last_s AS to_s
    FROM sightings AS p
    JOIN films AS f ON f.video_id = p.video_id AND f.model_version_id = p.model_version_id
    UNION ALL
    SELECT f.video_id, f.model_version_id, f.patience_s, a.state, a.start_frame, a.stop_frame,
           a.t_0 + (a.t_1 - a.t_0) * (a.start_frame - a.frame_0) / (a.frame_1 - a.frame_0),
           a.t_0 + (a.t_1 - a.t_0) * (a.stop_frame - a.frame_0) / (a.frame_1 - a.frame_0)
    FROM anchors AS a
    JOIN films AS f ON f.video_id = a.video_id AND f.model_version_id = a.model_version_id
    UNION ALL
    SELECT video_id, model_version_id, patience_s, 'end', frames, 0, duration_s, duration_s
    FROM films
),
steps AS (
    SELECT video_id, model_version_id, patience_s, state, frame, from_s, to_s,
           coalesce(max(to_s) OVER earlier, 0) AS previous_s,
           coalesce(max(unseen_until) OVER earlier, 0) AS unseen_until,
           lag(state) OVER (PARTITION BY video_id, model_version_id ORDER BY frame) AS previous_state
    FROM marks
    WINDOW earlier AS (PARTITION BY video_id, model_version_id ORDER BY frame
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
gaps AS (
    SELECT t.*,
           CASE WHEN t.from_s - t.previous_s > t.patience_s AND t.frame > t.unseen_until
                 AND t.frame > coalesce((SELECT max(p.frame) + 1 FROM poses AS p
                                         WHERE p.video_id = t.video_id AND p.model_version_id = t.model_version_id
                                           AND p.frame < t.frame), 0)
                THEN 1 ELSE 0 END AS nobody_before
    FROM steps AS t
),
intervals AS (
    SELECT video_id, model_version_id, 'nobody' AS state, previous_s AS from_s, from_s AS to_s
    FROM gaps
    WHERE nobody_before = 1
    UNION ALL
    SELECT video_id, model_version_id, min(state), min(from_s), max(to_s)
    FROM (
        SELECT video_id, model_version_id, state, from_s, to_s,
               sum(CASE WHEN nobody_before = 0 AND state = previous_state THEN 0 ELSE 1 END)
                   OVER (PARTITION BY video_id, model_version_id ORDER BY frame) AS run
        FROM gaps
    ) AS r
    WHERE state <> 'end'
    GROUP BY video_id, model_version_id, run
)
SELECT {video} AS video, i.state, i.from_s, i.to_s, i.video_id, i.model_version_id
FROM intervals AS i
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = i.video_id
{names}
"""

# Without a row in label_settings, an interval ends where the label changes. With one, the frames of the label that it
# names are those from the first whose probability reaches enter_score until the first below leave_score: a frame
# between the two has no mark, and is as the last frame with a mark before it (`part`). A run of them that is too short
# counts as the other label. Two arms, because the second one takes several times as long.
# A gap, where no frame was processed for longer than the sampling interval explains, ends an interval.
LABEL_INTERVALS = """
WITH steps AS (
    SELECT c.video_id, c.model_version_id, c.frame, c.t_s, c.label, c.score,
           CASE WHEN c.t_s - lag(c.t_s) OVER w <= CASE WHEN m.frames_per_second < 2
                                                       THEN 2 / m.frames_per_second ELSE 1 END
                THEN 0 ELSE 1 END AS gap,
           CASE WHEN c.label = lag(c.label) OVER w THEN 0 ELSE 1 END AS changes
    FROM shown_models AS shown
    JOIN classifications AS c ON c.model_version_id = shown.model_version_id
    JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
    WHERE shown.task = 'classification'
    WINDOW w AS (PARTITION BY c.video_id, c.model_version_id ORDER BY c.frame)
),
plain AS (
    SELECT s.video_id, s.model_version_id, s.label, s.t_s, s.score,
           sum(CASE WHEN s.gap = 1 OR s.changes = 1 THEN 1 ELSE 0 END)
               OVER (PARTITION BY s.video_id, s.model_version_id ORDER BY s.frame) AS run
    FROM steps AS s
    WHERE NOT EXISTS (SELECT 1 FROM label_settings AS h WHERE h.model_version_id = s.model_version_id)
),
marks AS (
    SELECT s.video_id, s.model_version_id, s.frame, s.t_s, s.label AS own_label, s.score, s.gap,
           h.label AS sought, h.other_label, h.min_duration_s,
           CASE WHEN CASE WHEN s.label = h.label THEN s.score ELSE 1 - s.score END >= h.enter_score THEN 1
                WHEN CASE WHEN s.label = h.label THEN s.score ELSE 1 - s.score END < h.leave_score THEN 0 END AS mark
    FROM label_settings AS h
    JOIN steps AS s ON s.model_version_id = h.model_version_id
),
parts AS (
    SELECT s.*, sum(CASE WHEN mark IS NOT NULL OR gap = 1 THEN 1 ELSE 0 END)
               OVER (PARTITION BY video_id, model_version_id ORDER BY frame) AS part
    FROM marks AS s
),
states AS (
    SELECT s.*, CASE WHEN max(mark) OVER (PARTITION BY video_id, model_version_id, part) = 1 THEN sought
                     ELSE other_label END AS label
    FROM parts AS s
),
changes AS (
    SELECT s.*, CASE WHEN gap = 0 AND label = lag(label) OVER w THEN 0 ELSE 1 END AS begins
    FROM states AS s
    WINDOW w AS (PARTITION BY video_id, model_version_id ORDER BY frame)
),
runs AS (
    SELECT s.*, sum(begins) OVER (PARTITION BY video_id, model_version_id ORDER BY frame) AS run FROM changes AS s
),
lasting AS (
    SELECT video_id, model_version_id, frame, t_s, gap, score, own_label,
           CASE WHEN label = sought AND max(t_s) OVER w - min(t_s) OVER w < min_duration_s
                THEN other_label ELSE label END AS label
    FROM runs
    WINDOW w AS (PARTITION BY video_id, model_version_id, run)
),
kept_changes AS (
    SELECT s.*, CASE WHEN gap = 0 AND label = lag(label) OVER w THEN 0 ELSE 1 END AS begins
    FROM lasting AS s
    WINDOW w AS (PARTITION BY video_id, model_version_id ORDER BY frame)
),
kept AS (
    SELECT s.*, sum(begins) OVER (PARTITION BY video_id, model_version_id ORDER BY frame) AS run FROM kept_changes AS s
),
intervals AS (
    SELECT video_id, model_version_id, label, min(t_s) AS from_s, max(t_s) AS to_s, count(*) AS frames,
           avg(score) AS score
    FROM plain
    GROUP BY video_id, model_version_id, run, label
    UNION ALL
    SELECT video_id, model_version_id, label, min(t_s), max(t_s), count(*),
           avg(CASE WHEN label = own_label THEN score ELSE 1 - score END)
    FROM kept
    GROUP BY video_id, model_version_id, run, label
)
SELECT {video} AS video, i.label, i.from_s, i.to_s, i.frames, i.score, i.video_id, i.model_version_id
FROM intervals AS i
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = i.video_id
{names}
"""

# Column of video_summary -> its value over the segments `s` of video `v` by the shown model.
VIDEO_COUNTS = {
    "segments": "count(*)",
    "segments_done": "count(CASE WHEN s.status = 'done' THEN 1 END)",
    "segments_quarantined": "count(CASE WHEN s.status = 'quarantined' THEN 1 END)",
    "frames_done": "coalesce(sum(s.frames_done), 0)",
    "frames_undecodable": "coalesce(sum(s.undecodable_frames), 0)",
    "people": "coalesce(sum(s.people), 0)",
    "wall_s": "sum(s.wall_s)",
}
VIDEO_SEGMENTS = "FROM segments AS s WHERE s.video_id = v.video_id AND s.model_version_id = shown.model_version_id"
_ALL_COUNTS = ", ".join(f"{value} AS {name}" for name, value in VIDEO_COUNTS.items())

VIDEO_SUMMARY = """
SELECT {video} AS video, v.width, v.height, v.frames, v.fps, v.duration_s, shown.task, m.name AS model,
       {segments} AS segments, {segments_done} AS segments_done, {segments_quarantined} AS segments_quarantined,
       {frames_done} AS frames_done, {frames_undecodable} AS frames_undecodable,
       CASE WHEN shown.task = 'classification' THEN NULL ELSE {people} END AS people,
       CASE WHEN shown.task = 'classification' THEN {people} END AS labels,
       {wall_s} AS wall_s, {gone_at} AS gone_at, v.sha256, v.video_id, shown.model_version_id
FROM videos AS v
LEFT JOIN shown_models AS shown ON 1 = 1
LEFT JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
{counts}
{names}
WHERE v.superseded_by IS NULL
"""
VIDEO_SUMMARY_POSTGRESQL = _filled(
    VIDEO_SUMMARY,
    {"counts": f"LEFT JOIN LATERAL (SELECT {_ALL_COUNTS} {VIDEO_SEGMENTS}) AS counts ON true"}
    | {name: f"counts.{name}" for name in VIDEO_COUNTS},
)
VIDEO_SUMMARY_SQLITE = _filled(
    VIDEO_SUMMARY,
    {"counts": ""} | {name: f"(SELECT {value} {VIDEO_SEGMENTS})" for name, value in VIDEO_COUNTS.items()},
)

# Column of batch_summary -> its value over the segments that a running batch expects. A batch that has ended keeps the
# numbers of its end, whose sums are in BATCH_TOTALS.
BATCH_COUNTS = {
    "segments_expected": "count(*)",
    "segments_done": "count(CASE WHEN s.status = 'done' THEN 1 END)",
    "segments_quarantined": "count(CASE WHEN s.status = 'quarantined' THEN 1 END)",
    "segments_missing": "count(CASE WHEN s.status IN ('planned', 'leased') THEN 1 END)",
    "frames_expected": "sum(s.stop_frame - s.start_frame)",
    "frames_done": "sum(s.frames_done)",
    "frames_undecodable": "sum(s.undecodable_frames)",
    "frames_quarantined": "sum(CASE WHEN s.status = 'quarantined' THEN s.stop_frame - s.start_frame ELSE 0 END)",
    "frames_missing": "sum(CASE WHEN s.status IN ('planned', 'leased') THEN s.stop_frame - s.start_frame ELSE 0 END)",
    "people": "sum(s.people)",
}
BATCH_TOTALS = {
    "segments_expected": "b.segments_done + b.segments_quarantined + b.segments_missing",
    "frames_expected": "b.frames_done + b.frames_undecodable + b.frames_quarantined + b.frames_missing",
}
BATCH_SEGMENTS = (
    "FROM batch_segments AS e JOIN segments AS s ON s.segment_id = e.segment_id WHERE e.batch_id = b.batch_id"
)
BATCH_SUMMARY = """
SELECT b.batch_id, b.status, b.started_at, b.finished_at, b.estimated_s, {batch_seconds} AS duration_s,
       b.archive, m.name AS model, b.dispatch, b.files_listed, b.files_quarantined,
       {counts},
       b.error, b.flow_run_id, b.batch_key, b.model_version_id
FROM batches AS b
JOIN model_versions AS m ON m.model_version_id = b.model_version_id
""".replace(
    "{counts}",
    ",\n       ".join(
        f"coalesce({BATCH_TOTALS.get(name, f'b.{name}')}, (SELECT {value} {BATCH_SEGMENTS}), 0) AS {name}"
        for name, value in BATCH_COUNTS.items()
    ),
)

# A worker may have completed segments, lost assignments, or both. Each arm reads one table's rows of a batch by an
# index: SQLite applies a condition on `batch_id` in the arms of a UNION ALL, but not below an aggregate over one.
DEVICE_SUMMARY = """
SELECT s.batch_id, s.worker, s.device,
       count(*) AS segments_done, sum(s.frames_done) AS frames_done,
       sum(s.undecodable_frames) AS frames_undecodable, sum(s.people) AS people,
       sum(s.wall_s) AS wall_s, sum(s.frames_done) / nullif(sum(s.wall_s), 0) AS frames_per_s,
       min(CASE WHEN s.wall_s > 0 THEN s.frames_done / s.wall_s END) AS slowest_fps,
       max(CASE WHEN s.wall_s > 0 THEN s.frames_done / s.wall_s END) AS fastest_fps,
       sum(CASE WHEN s.attempt > 1 THEN s.attempt - 1 ELSE 0 END) AS retries,
       (SELECT count(*) FROM assignments AS a
        WHERE a.batch_id = s.batch_id AND a.status = 'lost' AND a.worker = s.worker
          AND coalesce(a.device, '') = coalesce(s.device, '')) AS assignments_lost
FROM segments AS s
WHERE s.status = 'done' AND s.batch_id IS NOT NULL
GROUP BY s.batch_id, s.worker, s.device
UNION ALL
SELECT a.batch_id, a.worker, a.device, 0, 0, 0, 0, 0, NULL, NULL, NULL, 0, count(*)
FROM assignments AS a
WHERE a.status = 'lost' AND a.worker IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM segments AS s
    WHERE s.batch_id = a.batch_id AND s.status = 'done' AND s.worker = a.worker
      AND coalesce(s.device, '') = coalesce(a.device, '')
)
GROUP BY a.batch_id, a.worker, a.device
"""

# A video in several archives has a row for each. Grouped by the column of ix_segments_quarantined first: by the key
# alone, SQLite would read all segments in its order.
QUARANTINE = """
SELECT archive, key, NULL AS model, NULL AS start_frame, NULL AS stop_frame, reason, read_at AS since
FROM archive_files
WHERE reason IS NOT NULL AND gone_at IS NULL
UNION ALL
SELECT f.archive, coalesce(min(CASE WHEN f.gone_at IS NULL THEN {bytes_of_key} END), min({bytes_of_key}), v.sha256),
       m.name, s.start_frame, s.stop_frame, s.reason, s.finished_at
FROM segments AS s
JOIN model_versions AS m ON m.model_version_id = s.model_version_id
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = s.video_id
LEFT JOIN archive_files AS f ON f.video_id = v.video_id
WHERE s.status = 'quarantined'
GROUP BY s.video_id, s.segment_id, f.archive, v.sha256, m.name
"""

TRAINING_FAILURES = """
SELECT p.training_run_id, p.sha256, p.picture, p.source, p.label, p.score
FROM training_predictions AS p
JOIN training_runs AS r ON r.training_run_id = p.training_run_id
WHERE p.split = 'test' AND (p.score >= r.threshold) <> (p.label = 'car')
"""
