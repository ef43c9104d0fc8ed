"""The view label_intervals; video_summary tells people from labels; a model version may look at some frames only."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("frames_per_second", sa.Double()))
    names = NAMES.replace("{first_key}", _first_key())
    op.execute("DROP VIEW video_summary")
    op.execute(VIDEO_SUMMARY.replace("{names}", names).replace("{found}", FOUND))
    op.execute(LABEL_INTERVALS.replace("{names}", names))


def downgrade() -> None:
    op.execute("DROP VIEW label_intervals")
    op.execute("DROP VIEW video_summary")
    names = NAMES.replace("{first_key}", _first_key())
    op.execute(VIDEO_SUMMARY.replace("{names}", names).replace("{found}", "coalesce(sum(s.people), 0) AS people"))
    op.drop_column("model_versions", "frames_per_second")


def _first_key() -> str:
    """By its bytes, whatever the server's language, as SQLite has it."""
    return 'min(key COLLATE "C")' if op.get_bind().dialect.name == "postgresql" else "min(key)"


NAMES = "(SELECT video_id, {first_key} AS key FROM archive_files WHERE video_id IS NOT NULL GROUP BY video_id)"

FOUND = """\
CASE WHEN shown.task = 'classification' THEN NULL ELSE coalesce(sum(s.people), 0) END AS people,
       CASE WHEN shown.task = 'classification' THEN coalesce(sum(s.people), 0) END AS labels"""

VIDEO_SUMMARY = """
CREATE VIEW video_summary AS
SELECT coalesce(names.key, v.sha256) AS video, v.width, v.height, v.frames, v.fps, v.duration_s,
       shown.task, m.name AS model,
       count(s.segment_id) AS segments,
       count(CASE WHEN s.status = 'done' THEN 1 END) AS segments_done,
       count(CASE WHEN s.status = 'quarantined' THEN 1 END) AS segments_quarantined,
       coalesce(sum(s.frames_done), 0) AS frames_done,
       coalesce(sum(s.undecodable_frames), 0) AS frames_undecodable,
       {found},
       sum(s.wall_s) AS wall_s,
       v.sha256, v.video_id, shown.model_version_id
FROM videos AS v
LEFT JOIN {names} AS names ON names.video_id = v.video_id
LEFT JOIN shown_models AS shown ON 1 = 1
LEFT JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
LEFT JOIN segments AS s ON s.video_id = v.video_id AND s.model_version_id = shown.model_version_id
GROUP BY v.video_id, names.key, shown.task, shown.model_version_id, m.name
"""

# A run ends where the label changes, or where nothing was looked at for longer than sampling explains.
LABEL_INTERVALS = """
CREATE VIEW label_intervals AS
SELECT coalesce(names.key, v.sha256) AS video, r.label, min(r.t_s) AS from_s, max(r.t_s) AS to_s,
       count(*) AS frames, avg(r.score) AS score, r.video_id, r.model_version_id
FROM (
    SELECT b.video_id, b.model_version_id, b.label, b.t_s, b.score,
           sum(b.begins) OVER (PARTITION BY b.video_id, b.model_version_id ORDER BY b.frame) AS run
    FROM (
        SELECT c.video_id, c.model_version_id, c.frame, c.label, c.t_s, c.score,
               CASE WHEN c.label = lag(c.label) OVER w
                     AND c.t_s - lag(c.t_s) OVER w <= CASE WHEN m.frames_per_second < 2
                                                           THEN 2 / m.frames_per_second ELSE 1 END
                    THEN 0 ELSE 1 END AS begins
        FROM shown_models AS shown
        JOIN classifications AS c ON c.model_version_id = shown.model_version_id
        JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
        WHERE shown.task = 'classification'
        WINDOW w AS (PARTITION BY c.video_id, c.model_version_id ORDER BY c.frame)
    ) AS b
) AS r
JOIN videos AS v ON v.video_id = r.video_id
LEFT JOIN {names} AS names ON names.video_id = r.video_id
GROUP BY coalesce(names.key, v.sha256), r.video_id, r.model_version_id, r.run, r.label
"""
