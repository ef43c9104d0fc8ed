"""Camera and time of a row of a video, in the SQL of views. No tables.

A view joins `recording_videos AS r` and `recordings AS c` of its video. `at` is UTC, `local_at` the time on a clock at
the camera. Each video has the offset at its start, and the second from which another one holds.
"""

# {t_s}: second of the video. Both databases round to a millisecond by the same arithmetic: printf and round() do not.
_MS_POSTGRESQL = "trunc(({t_s}) * 1000 + 0.5)"
_MS_SQLITE = "CAST(({t_s}) * 1000 + 0.5 AS integer)"
_OFFSET = "(CASE WHEN ({t_s}) >= r.offset_changes_s THEN r.later_utc_offset_s ELSE r.utc_offset_s END)"
TIME_PARTS_POSTGRESQL = {
    "at": f"(r.start_at + {_MS_POSTGRESQL} * interval '1 millisecond')",
    "local_at": f"(r.start_at AT TIME ZONE 'UTC' + {_MS_POSTGRESQL} * interval '1 millisecond'"
    f" + {_OFFSET} * interval '1 second')",
}
TIME_PARTS_SQLITE = {
    "at": f"strftime('%Y-%m-%dT%H:%M:%fZ', r.start_at, printf('%+.3f seconds', {_MS_SQLITE} / 1000.0))",
    "local_at": f"CASE WHEN r.utc_offset_s IS NOT NULL THEN strftime('%Y-%m-%dT%H:%M:%f', r.start_at,"
    f" printf('%+.3f seconds', {_MS_SQLITE} / 1000.0 + {_OFFSET})) END",
}
"""Placeholder -> SQL. Each contains {t_s}."""


def with_local_times(query: str, t_s: str, parts: dict[str, str]) -> str:
    """Replace {at} and {local_at} in a query. t_s: SQL of the second of the video; parts: of the database"""
    for name, sql in parts.items():
        query = query.replace(f"{{{name}}}", sql.replace("{t_s}", t_s))
    return query
