"""Views of events, of the shown analyses and the rules that are shown for the camera, and of rules. No tables."""

from storage.sql.events.shown_runs import IS_LATEST, SHOWN_RUNS

# `b` and `p` are the videos of the event's beginning and of its peak.
EVENTS = f"""
SELECT u.rule, u.rule_version, a.recording_id, r.camera, {{video}} AS video, n.track, z.zone,
       n.from_s - b.start_s AS from_s, n.to_s - b.start_s AS to_s,
       {{at:b.start_at:n.from_s - b.start_s}} AS from_at, {{at:b.start_at:n.to_s - b.start_s}} AS to_at,
       n.peak_frame, n.peak_s - p.start_s AS peak_s, n.score, u.severity, n.event_key,
       n.video_id, n.peak_video_id, a.video_id AS last_video_id, a.model_version_id, n.event_id
{SHOWN_RUNS}
JOIN event_rows AS n ON n.event_run_id = e.event_run_id
JOIN rules AS u ON u.rule_id = n.rule_id
JOIN recording_videos AS b ON b.recording_id = a.recording_id AND b.video_id = n.video_id
JOIN recording_videos AS p ON p.recording_id = a.recording_id AND p.video_id = n.peak_video_id
JOIN videos AS v ON v.video_id = n.video_id
LEFT JOIN zones AS z ON z.zone_id = n.zone_id
{{names}}
WHERE shown.task = 'pose' AND {IS_LATEST}
"""  # our names

# Marks of all versions of a rule count, each for its own version: a changed rule is compared with its predecessor.
RULE_PRECISION = """
SELECT rule, rule_version, count(*) AS marked,
       count(CASE WHEN mark = 'right' THEN 1 END) AS marked_right,
       count(CASE WHEN mark = 'wrong' THEN 1 END) AS marked_wrong,
       avg(CASE WHEN mark = 'right' THEN CAST(1 AS double precision) ELSE 0 END) AS precision,
       max(marked_at) AS last_marked_at
FROM event_marks
GROUP BY rule, rule_version
"""
