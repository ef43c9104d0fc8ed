"""Views of presence by camera and time: people, nobody, and what was not looked at. No tables."""

from storage.sql.events.zone_views import with_times


def presence_view_queries(postgresql: bool) -> dict[str, str]:
    """Map the name of each view to its SELECT, with the placeholders of storage.sql.views in it."""
    queries = {
        "presence": _intervals("i.state = 'people'"),
        "absence": _intervals("i.state = 'nobody'"),
        "not_looked_at": _intervals("i.state NOT IN ('people', 'nobody')", "i.state AS reason, "),
    }
    return {name: with_times(query, postgresql) for name, query in queries.items()}


def _intervals(condition: str, extra: str = "") -> str:
    """Select intervals of presence_intervals. The same bytes under two cameras have an interval for each."""
    return f"""
SELECT r.camera, i.video, {extra}i.from_s, i.to_s, i.to_s - i.from_s AS duration_s,
       {{at:b.start_at:i.from_s}} AS from_at, {{at:b.start_at:i.to_s}} AS to_at,
       b.recording_id, i.video_id, i.model_version_id
FROM presence_intervals AS i
LEFT JOIN recording_videos AS b ON b.video_id = i.video_id
LEFT JOIN recordings AS r ON r.recording_id = b.recording_id
WHERE {condition}
"""  # noqa: S608 # our conditions
