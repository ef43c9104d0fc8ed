"""The views for people: keypoints, video_summary, batch_summary, quarantine."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)

NAMES = "(SELECT video_id, {first_key} AS key FROM archive_files WHERE video_id IS NOT NULL GROUP BY video_id)"


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    # The first key by its bytes, whatever the server's language, as SQLite has it.
    first_key = 'min(key COLLATE "C")' if postgresql else "min(key)"
    names = NAMES.replace("{first_key}", first_key)
    op.execute(_keypoints_postgresql(names) if postgresql else _keypoints_sqlite(names))
    op.execute(VIDEO_SUMMARY.replace("{names}", names))
    op.execute(BATCH_SUMMARY)
    op.execute(QUARANTINE.replace("{first_key}", first_key))


def downgrade() -> None:
    for view in ("quarantine", "batch_summary", "video_summary", "keypoints"):
        op.execute(f"DROP VIEW {view}")


_WHERE_FROM = """\
FROM shown_models AS shown
JOIN poses AS p ON p.model_version_id = shown.model_version_id
JOIN videos AS v ON v.video_id = p.video_id
LEFT JOIN {names} AS names ON names.video_id = p.video_id
"""


def _keypoints_postgresql(names: str) -> str:
    """One scan of poses whatever is asked; with `keypoint = …` the planner drops the other arms of the UNION."""
    arms = "\nUNION ALL ".join(
        f"SELECT '{name}' AS keypoint, p.{name}_x AS x, p.{name}_y AS y, p.{name}_score AS score" for name in KEYPOINTS
    )
    return f"""
CREATE VIEW keypoints AS
SELECT coalesce(names.key, v.sha256) AS video, p.frame, p.t_s, p.person, k.keypoint, k.x, k.y, k.score,
       p.video_id, p.model_version_id
{_WHERE_FROM.replace("{names}", names)}CROSS JOIN LATERAL ({arms}) AS k
WHERE shown.task = 'pose' AND k.x IS NOT NULL
"""


def _keypoints_sqlite(names: str) -> str:
    """SQLite has no LATERAL. It tests `keypoint = …` once before an arm, so that one arm is scanned."""
    arms = "\nUNION ALL\n".join(
        f"""\
SELECT coalesce(names.key, v.sha256) AS video, p.frame, p.t_s, p.person, '{name}' AS keypoint,
       p.{name}_x AS x, p.{name}_y AS y, p.{name}_score AS score, p.video_id, p.model_version_id
{_WHERE_FROM.replace("{names}", names)}WHERE shown.task = 'pose' AND p.{name}_x IS NOT NULL"""
        for name in KEYPOINTS
    )
    return f"CREATE VIEW keypoints AS\n{arms}"


VIDEO_SUMMARY = """
CREATE VIEW video_summary AS
SELECT coalesce(names.key, v.sha256) AS video, v.width, v.height, v.frames, v.fps, v.duration_s,
       shown.task, m.name AS model,
       count(s.segment_id) AS segments,
       count(CASE WHEN s.status = 'done' THEN 1 END) AS segments_done,
       count(CASE WHEN s.status = 'quarantined' THEN 1 END) AS segments_quarantined,
       coalesce(sum(s.frames_done), 0) AS frames_done,
       coalesce(sum(s.undecodable_frames), 0) AS frames_undecodable,
       coalesce(sum(s.people), 0) AS people,
       sum(s.wall_s) AS wall_s,
       v.sha256, v.video_id, shown.model_version_id
FROM videos AS v
LEFT JOIN {names} AS names ON names.video_id = v.video_id
LEFT JOIN shown_models AS shown ON 1 = 1
LEFT JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
LEFT JOIN segments AS s ON s.video_id = v.video_id AND s.model_version_id = shown.model_version_id
GROUP BY v.video_id, names.key, shown.task, shown.model_version_id, m.name
"""

# A batch that ended keeps the numbers of its end; a running one is counted now.
BATCH_SUMMARY = """
CREATE VIEW batch_summary AS
SELECT b.batch_id, b.status, b.started_at, b.finished_at, b.archive, m.name AS model, b.dispatch,
       b.files_listed, b.files_quarantined,
       coalesce(c.segments_expected, 0) AS segments_expected,
       coalesce(b.segments_done, c.segments_done, 0) AS segments_done,
       coalesce(b.segments_quarantined, c.segments_quarantined, 0) AS segments_quarantined,
       coalesce(b.segments_missing, c.segments_missing, 0) AS segments_missing,
       coalesce(c.frames_expected, 0) AS frames_expected,
       coalesce(b.frames_done, c.frames_done, 0) AS frames_done,
       coalesce(b.frames_undecodable, c.frames_undecodable, 0) AS frames_undecodable,
       coalesce(b.frames_quarantined, c.frames_quarantined, 0) AS frames_quarantined,
       coalesce(b.frames_missing, c.frames_missing, 0) AS frames_missing,
       coalesce(b.people, c.people, 0) AS people,
       b.error, b.flow_run_id, b.batch_key, b.model_version_id
FROM batches AS b
JOIN model_versions AS m ON m.model_version_id = b.model_version_id
LEFT JOIN (
    SELECT e.batch_id,
           count(*) AS segments_expected,
           count(CASE WHEN s.status = 'done' THEN 1 END) AS segments_done,
           count(CASE WHEN s.status = 'quarantined' THEN 1 END) AS segments_quarantined,
           count(CASE WHEN s.status IN ('planned', 'leased') THEN 1 END) AS segments_missing,
           sum(s.stop_frame - s.start_frame) AS frames_expected,
           sum(s.frames_done) AS frames_done,
           sum(s.undecodable_frames) AS frames_undecodable,
           sum(CASE WHEN s.status = 'quarantined' THEN s.stop_frame - s.start_frame ELSE 0 END) AS frames_quarantined,
           sum(CASE WHEN s.status IN ('planned', 'leased') THEN s.stop_frame - s.start_frame ELSE 0 END)
               AS frames_missing,
           sum(s.people) AS people
    FROM batch_segments AS e
    JOIN segments AS s ON s.segment_id = e.segment_id
    GROUP BY e.batch_id
) AS c ON c.batch_id = b.batch_id
"""

QUARANTINE = """
CREATE VIEW quarantine AS
SELECT archive, key, NULL AS model, NULL AS start_frame, NULL AS stop_frame, reason, read_at AS since
FROM archive_files
WHERE reason IS NOT NULL
UNION ALL
SELECT names.archive, coalesce(names.key, v.sha256), m.name, s.start_frame, s.stop_frame, s.reason, s.finished_at
FROM segments AS s
JOIN videos AS v ON v.video_id = s.video_id
JOIN model_versions AS m ON m.model_version_id = s.model_version_id
LEFT JOIN (
    SELECT archive, video_id, {first_key} AS key
    FROM archive_files
    WHERE video_id IS NOT NULL
    GROUP BY archive, video_id
) AS names ON names.video_id = v.video_id
WHERE s.status = 'quarantined'
"""
