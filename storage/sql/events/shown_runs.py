"""The event runs that the views show: parts of queries. No tables."""

from storage.sql.analyses.track_views import SHOWN_ANALYSIS

# The runs `e` of the shown version of their camera, of shown analyses `a`, whose recordings are `r`.
SHOWN_RUNS = f"""\
FROM shown_models AS shown
JOIN analyses AS a ON a.model_version_id = shown.model_version_id AND a.status = 'done'
    AND a.analysis_version_id = {SHOWN_ANALYSIS}
JOIN videos AS last_video ON last_video.superseded_by IS NULL AND last_video.video_id = a.video_id
JOIN recordings AS r ON r.recording_id = a.recording_id
JOIN cameras AS c ON c.camera = coalesce(r.camera, '')
JOIN event_runs AS e ON e.analysis_id = a.analysis_id AND e.event_version_id = c.event_version_id"""

# Rows `n` of run `e` that are certain, or of a video that no run of the recording's next one continues.
IS_LATEST = """\
(NOT n.open OR NOT EXISTS (
    SELECT 1 FROM recording_videos AS own
    JOIN recording_videos AS next_one ON next_one.recording_id = own.recording_id
        AND next_one.position = own.position + 1
    JOIN analyses AS next_analysis ON next_analysis.recording_id = own.recording_id
        AND next_analysis.video_id = next_one.video_id AND next_analysis.model_version_id = a.model_version_id
        AND next_analysis.analysis_version_id = a.analysis_version_id AND next_analysis.status = 'done'
    JOIN event_runs AS next_run ON next_run.analysis_id = next_analysis.analysis_id
        AND next_run.event_version_id = e.event_version_id
    WHERE own.recording_id = a.recording_id AND own.video_id = a.video_id))"""
