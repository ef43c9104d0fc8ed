"""The view device_summary; in batch_summary how long a batch took, and how long it was thought to take."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP VIEW batch_summary")
    op.execute(BATCH_SUMMARY.replace("{times}", f"\n       b.estimated_s, {_duration_s()} AS duration_s,"))
    op.execute(DEVICE_SUMMARY)


def downgrade() -> None:
    op.execute("DROP VIEW device_summary")
    op.execute("DROP VIEW batch_summary")
    op.execute(BATCH_SUMMARY.replace("{times}", ""))


def _duration_s() -> str:
    if op.get_bind().dialect.name == "postgresql":
        return "CAST(extract(epoch FROM b.finished_at - b.started_at) AS double precision)"
    return "round((julianday(b.finished_at) - julianday(b.started_at)) * 86400, 3)"


# A batch that ended keeps the numbers of its end; a running one is counted now.
BATCH_SUMMARY = """
CREATE VIEW batch_summary AS
SELECT b.batch_id, b.status, b.started_at, b.finished_at,{times} b.archive, m.name AS model, b.dispatch,
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

# A worker may have done segments, lost assignments, or both: two kinds of rows, added up.
DEVICE_SUMMARY = """
CREATE VIEW device_summary AS
SELECT batch_id, worker, device,
       sum(segments_done) AS segments_done, sum(frames_done) AS frames_done,
       sum(frames_undecodable) AS frames_undecodable, sum(people) AS people,
       sum(wall_s) AS wall_s, sum(frames_done) / nullif(sum(wall_s), 0) AS frames_per_s,
       min(segment_fps) AS slowest_fps, max(segment_fps) AS fastest_fps,
       sum(retries) AS retries, sum(assignments_lost) AS assignments_lost
FROM (
    SELECT batch_id, worker, device, 1 AS segments_done, frames_done, undecodable_frames AS frames_undecodable,
           people, wall_s, CASE WHEN wall_s > 0 THEN frames_done / wall_s END AS segment_fps,
           CASE WHEN attempt > 1 THEN attempt - 1 ELSE 0 END AS retries, 0 AS assignments_lost
    FROM segments
    WHERE status = 'done' AND batch_id IS NOT NULL
    UNION ALL
    SELECT batch_id, worker, device, 0, 0, 0, 0, 0, NULL, 0, 1
    FROM assignments
    WHERE status = 'lost' AND worker IS NOT NULL
) AS parts
GROUP BY batch_id, worker, device
"""
