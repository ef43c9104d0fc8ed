"""Views that look up names and counts of the rows that are asked for, where they went through all videos before."""

import runpy
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# A view that asks another one comes after it.
CHANGED = (
    *("video_names", "keypoints", "video_summary", "label_intervals", "presence_intervals"),
    *("quarantine", "batch_summary", "device_summary"),
)


def upgrade() -> None:
    _drop_views()
    _create_indexes()
    op.execute(_with_names(VIDEO_NAMES_POSTGRESQL if _postgresql() else VIDEO_NAMES_SQLITE))
    op.execute(_with_names(KEYPOINTS_POSTGRESQL) if _postgresql() else _keypoints_sqlite())
    op.execute(_with_names(VIDEO_SUMMARY_POSTGRESQL) if _postgresql() else _video_summary_sqlite())
    op.execute(_with_names(_label_intervals()))
    op.execute(_with_names(_presence_intervals()))
    op.execute(QUARANTINE.replace("{key}", _by_bytes("f.key")))
    op.execute(_batch_summary())
    op.execute(DEVICE_SUMMARY)


def downgrade() -> None:
    _drop_views()
    op.drop_index("ix_segments_quarantined", "segments")
    op.drop_index("ix_archive_files_refused", "archive_files")
    op.drop_index("ix_archive_files_name_c" if _postgresql() else "ix_archive_files_name", "archive_files")
    op.create_index("ix_archive_files_video_id", "archive_files", ["video_id"])
    files, current, devices = (
        _earlier(name)
        for name in ("0016_mark_gone_files.py", "0017_supersede_recordings.py", "0004_add_device_summary.py")
    )
    op.execute(files["VIDEO_NAMES"].replace("{key}", files["_by_bytes"]("key")))
    files["_create_views"]("video_names")
    views = current["_drop_views"]()
    current["_create_views"](views, current["_only_current"])
    times = f"\n       b.estimated_s, {devices['_duration_s']()} AS duration_s,"
    op.execute(devices["BATCH_SUMMARY"].replace("{times}", times))
    op.execute(devices["DEVICE_SUMMARY"])


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _earlier(name: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).with_name(name)))


def _drop_views() -> None:
    for view in reversed(CHANGED):
        op.execute(f"DROP VIEW {view}")


def _by_bytes(column: str) -> str:
    """Ordered by its bytes, whatever the server's language, as SQLite has it."""
    return f'{column} COLLATE "C"' if _postgresql() else column


def _create_indexes() -> None:
    """The files of a video, the one that gives it its name first; and what is in quarantine."""
    op.drop_index("ix_archive_files_video_id", "archive_files")
    name = "ix_archive_files_name_c" if _postgresql() else "ix_archive_files_name"
    columns: list[str | sa.TextClause] = ["video_id", sa.text("gone_at DESC"), sa.text(_by_bytes("key")), "archive"]
    op.create_index(name, "archive_files", columns)
    refused = sa.text("reason IS NOT NULL")
    op.create_index(
        "ix_archive_files_refused", "archive_files", ["archive"], postgresql_where=refused, sqlite_where=refused
    )
    given_up = sa.text("status = 'quarantined'")
    op.create_index(
        "ix_segments_quarantined", "segments", ["video_id"], postgresql_where=given_up, sqlite_where=given_up
    )


# The file that gives video `v` its name. One that is there comes before one that is gone, then the one that was there
# last, then the first by name: the order of the index, so one row of it is read, however many copies there are.
NAMING_FILE = """\
FROM archive_files AS f WHERE f.video_id = v.video_id
       ORDER BY f.gone_at DESC NULLS FIRST, {key}, f.archive LIMIT 1"""


def _with_names(view: str) -> str:
    """{video}: the name of video `v`; {gone_at}; {names}: a join that these need, to be the FROM clause's last.

    SQLite has no LATERAL and takes subqueries, which it looks at for columns that are asked for.
    """
    file = NAMING_FILE.replace("{key}", _by_bytes("f.key"))
    if _postgresql():
        lateral = f"LEFT JOIN LATERAL (SELECT f.key, f.archive, f.gone_at {file}) AS names ON true"
        key, archive, gone_at = "names.key", "names.archive", "names.gone_at"
    else:
        lateral = ""
        key, archive, gone_at = (f"(SELECT f.{column} {file})" for column in ("key", "archive", "gone_at"))
    view = view.replace("{names}", lateral).replace("{video}", f"coalesce({key}, v.sha256)")
    return view.replace("{key}", key).replace("{archive}", archive).replace("{gone_at}", gone_at)


VIDEO_NAMES_SQLITE = """
CREATE VIEW video_names AS
SELECT v.video_id, {key} AS key, {archive} AS archive, {gone_at} AS gone_at
FROM videos AS v
WHERE EXISTS (SELECT 1 FROM archive_files AS f WHERE f.video_id = v.video_id)
"""

VIDEO_NAMES_POSTGRESQL = """
CREATE VIEW video_names AS
SELECT v.video_id, names.key, names.archive, names.gone_at
FROM videos AS v
{names}
WHERE names.key IS NOT NULL
"""

KEYPOINTS = _earlier("0002_create_views.py")["KEYPOINTS"]
_ARMS = "\nUNION ALL ".join(
    f"SELECT '{name}' AS keypoint, p.{name}_x AS x, p.{name}_y AS y, p.{name}_score AS score" for name in KEYPOINTS
)
# One scan of poses whatever is asked; with `keypoint = …` the planner drops the other arms of the UNION.
KEYPOINTS_POSTGRESQL = """
CREATE VIEW keypoints AS
SELECT {video} AS video, p.frame, p.t_s, p.person, k.keypoint, k.x, k.y, k.score, p.video_id, p.model_version_id
FROM shown_models AS shown
JOIN poses AS p ON p.model_version_id = shown.model_version_id
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = p.video_id
{names}
CROSS JOIN LATERAL ({arms}) AS k
WHERE shown.task = 'pose' AND k.x IS NOT NULL
""".replace("{arms}", _ARMS)

# SQLite tests `keypoint = …` once before an arm, so that one arm is scanned. CROSS JOIN keeps it to this order: from a
# name to its video and on to the video's poses by their key, where it would go through all poses.
KEYPOINTS_SQLITE = """\
SELECT {video} AS video, p.frame, p.t_s, p.person, '{name}' AS keypoint,
       p.{name}_x AS x, p.{name}_y AS y, p.{name}_score AS score, p.video_id, p.model_version_id
FROM shown_models AS shown
CROSS JOIN videos AS v
CROSS JOIN poses AS p ON p.video_id = v.video_id AND p.model_version_id = shown.model_version_id
WHERE shown.task = 'pose' AND v.superseded_by IS NULL AND p.{name}_x IS NOT NULL"""


def _keypoints_sqlite() -> str:
    arms = "\nUNION ALL\n".join(KEYPOINTS_SQLITE.replace("{name}", name) for name in KEYPOINTS)
    return _with_names(f"CREATE VIEW keypoints AS\n{arms}")


# Column -> its value over the segments `s` of a video by the shown model.
COUNTS = {
    "segments": "count(*)",
    "segments_done": "count(CASE WHEN s.status = 'done' THEN 1 END)",
    "segments_quarantined": "count(CASE WHEN s.status = 'quarantined' THEN 1 END)",
    "frames_done": "coalesce(sum(s.frames_done), 0)",
    "frames_undecodable": "coalesce(sum(s.undecodable_frames), 0)",
    "people": "coalesce(sum(s.people), 0)",
    "wall_s": "sum(s.wall_s)",
}
MINE = "FROM segments AS s WHERE s.video_id = v.video_id AND s.model_version_id = shown.model_version_id"
_ALL_COUNTS = ", ".join(f"{value} AS {name}" for name, value in COUNTS.items())

VIDEO_SUMMARY = """
CREATE VIEW video_summary AS
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
VIDEO_SUMMARY_POSTGRESQL = VIDEO_SUMMARY.replace(
    "{counts}", f"LEFT JOIN LATERAL (SELECT {_ALL_COUNTS} {MINE}) AS counts ON true"
)
for _name in COUNTS:
    VIDEO_SUMMARY_POSTGRESQL = VIDEO_SUMMARY_POSTGRESQL.replace(f"{{{_name}}}", f"counts.{_name}")


def _video_summary_sqlite() -> str:
    view = VIDEO_SUMMARY.replace("{counts}", "")
    for name, value in COUNTS.items():
        view = view.replace(f"{{{name}}}", f"(SELECT {value} {MINE})")
    return _with_names(view)


def _label_intervals() -> str:
    return _named_by_video(_earlier("0005_add_label_intervals.py")["LABEL_INTERVALS"], "r")


def _presence_intervals() -> str:
    earlier = _earlier("0015_add_presence_intervals.py")
    return _named_by_video(earlier["PRESENCE_INTERVALS"].replace("{undecodable}", earlier["_undecodable"]()), "i")


def _named_by_video(view: str, alias: str) -> str:
    """The view of an earlier migration, of videos that are not superseded, with names that are looked up."""
    view = view.replace("coalesce(names.key, v.sha256)", "{video}")
    view = view.replace("JOIN videos AS v ON ", "JOIN videos AS v ON v.superseded_by IS NULL AND ")
    return view.replace(f"LEFT JOIN {{names}} AS names ON names.video_id = {alias}.video_id", "{names}")


# A video that lies in several archives has a row for each. Grouped by the column of ix_segments_quarantined first: by
# the key alone, SQLite goes through all segments in its order.
QUARANTINE = """
CREATE VIEW quarantine AS
SELECT archive, key, NULL AS model, NULL AS start_frame, NULL AS stop_frame, reason, read_at AS since
FROM archive_files
WHERE reason IS NOT NULL AND gone_at IS NULL
UNION ALL
SELECT f.archive, coalesce(min(CASE WHEN f.gone_at IS NULL THEN {key} END), min({key}), v.sha256), m.name,
       s.start_frame, s.stop_frame, s.reason, s.finished_at
FROM segments AS s
JOIN model_versions AS m ON m.model_version_id = s.model_version_id
JOIN videos AS v ON v.superseded_by IS NULL AND v.video_id = s.video_id
LEFT JOIN archive_files AS f ON f.video_id = v.video_id
WHERE s.status = 'quarantined'
GROUP BY s.video_id, s.segment_id, f.archive, v.sha256, m.name
"""

# Column -> its value over what a running batch expects. One that ended keeps the numbers of its end.
EXPECTED = {
    "segments_done": "count(CASE WHEN s.status = 'done' THEN 1 END)",
    "segments_quarantined": "count(CASE WHEN s.status = 'quarantined' THEN 1 END)",
    "segments_missing": "count(CASE WHEN s.status IN ('planned', 'leased') THEN 1 END)",
    "frames_done": "sum(s.frames_done)",
    "frames_undecodable": "sum(s.undecodable_frames)",
    "frames_quarantined": "sum(CASE WHEN s.status = 'quarantined' THEN s.stop_frame - s.start_frame ELSE 0 END)",
    "frames_missing": "sum(CASE WHEN s.status IN ('planned', 'leased') THEN s.stop_frame - s.start_frame ELSE 0 END)",
    "people": "sum(s.people)",
}
OF_BATCH = "FROM batch_segments AS e JOIN segments AS s ON s.segment_id = e.segment_id WHERE e.batch_id = b.batch_id"
SEGMENTS_AT_END = "b.segments_done + b.segments_quarantined + b.segments_missing"
FRAMES_AT_END = "b.frames_done + b.frames_undecodable + b.frames_quarantined + b.frames_missing"


def _batch_summary() -> str:
    duration_s = _earlier("0004_add_device_summary.py")["_duration_s"]()
    counts = {name: f"coalesce(b.{name}, (SELECT {value} {OF_BATCH}), 0) AS {name}" for name, value in EXPECTED.items()}
    segments = f"coalesce({SEGMENTS_AT_END}, (SELECT count(*) {OF_BATCH}), 0) AS segments_expected"
    frames = f"coalesce({FRAMES_AT_END}, (SELECT sum(s.stop_frame - s.start_frame) {OF_BATCH}), 0) AS frames_expected"
    of_segments = [text for name, text in counts.items() if name.startswith("segments")]
    of_frames = [text for name, text in counts.items() if not name.startswith("segments")]
    columns = ",\n       ".join([segments, *of_segments, frames, *of_frames])
    return BATCH_SUMMARY.replace("{duration_s}", duration_s).replace("{columns}", columns)


BATCH_SUMMARY = """
CREATE VIEW batch_summary AS
SELECT b.batch_id, b.status, b.started_at, b.finished_at, b.estimated_s, {duration_s} AS duration_s,
       b.archive, m.name AS model, b.dispatch, b.files_listed, b.files_quarantined,
       {columns},
       b.error, b.flow_run_id, b.batch_key, b.model_version_id
FROM batches AS b
JOIN model_versions AS m ON m.model_version_id = b.model_version_id
"""


# A worker may have done segments, lost assignments, or both. Each arm is one table's rows of a batch, found by an
# index: SQLite carries `batch_id = …` into the arms of a UNION ALL, and into no aggregate above one.
DEVICE_SUMMARY = """
CREATE VIEW device_summary AS
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
