"""The view presence_intervals; the indexes that serve the README's questions as they are asked now."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

HAND_UP = "left_wrist_y < nose_y OR right_wrist_y < nose_y"
LYING = (
    "abs(left_hip_y + right_hip_y - left_shoulder_y - right_shoulder_y)"
    " < abs(left_hip_x + right_hip_x - left_shoulder_x - right_shoulder_x)"
)
KEY = ["video_id", "model_version_id"]


def upgrade() -> None:
    op.execute(PRESENCE_INTERVALS.replace("{names}", _names()).replace("{undecodable}", _undecodable()))
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_poses_lying", "poses")
        op.drop_index("ix_poses_hand_up", "poses")
        op.create_index("ix_poses_hand_up", "poses", [*KEY, "frame", "t_s"], postgresql_where=sa.text(HAND_UP))


def downgrade() -> None:
    op.execute("DROP VIEW presence_intervals")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_poses_hand_up", "poses")
        op.create_index("ix_poses_hand_up", "poses", [*KEY, "t_s"], postgresql_where=sa.text(HAND_UP))
        op.create_index("ix_poses_lying", "poses", [*KEY, "frame", "person", "t_s"], postgresql_where=sa.text(LYING))


def _names() -> str:
    """The first key by its bytes, whatever the server's language, as SQLite has it."""
    first_key = 'min(key COLLATE "C")' if op.get_bind().dialect.name == "postgresql" else "min(key)"
    return f"(SELECT video_id, {first_key} AS key FROM archive_files WHERE video_id IS NOT NULL GROUP BY video_id)"  # noqa: S608


def _undecodable() -> str:
    """The numbers in the JSON list segments.undecodable, one row each."""
    if op.get_bind().dialect.name == "postgresql":
        return "jsonb_array_elements_text(CAST(s.undecodable AS jsonb)) AS u(value)"
    return "json_each(s.undecodable) AS u"


# pose_seconds has one row per second with somebody in it; what was not looked at splits such a row in two (splits).
# Frames without a person have no row and so no time of their own. A stretch that was not looked at is placed between
# the nearest rows before and after it, or the video's ends, in proportion to its frame numbers: exact where the frame
# rate is constant, and never beyond those rows where it is not.
PRESENCE_INTERVALS = """
CREATE VIEW presence_intervals AS
WITH films AS (
    SELECT v.video_id, m.model_version_id, v.frames, v.duration_s,
           CASE WHEN m.frames_per_second < 1.5 THEN 1.5 / m.frames_per_second ELSE 1 END AS patience_s
    FROM shown_models AS shown
    JOIN model_versions AS m ON m.model_version_id = shown.model_version_id
    JOIN (SELECT DISTINCT video_id, model_version_id FROM segments) AS planned
        ON planned.model_version_id = m.model_version_id
    JOIN videos AS v ON v.video_id = planned.video_id
    WHERE shown.task = 'pose'
),
unseen_frames AS (
    SELECT s.video_id, s.model_version_id, s.start_frame, s.stop_frame
    FROM segments AS s
    WHERE s.status <> 'done'
    UNION ALL
    SELECT s.video_id, s.model_version_id, CAST(u.value AS integer), CAST(u.value AS integer) + 1
    FROM segments AS s, {undecodable}
    WHERE s.status = 'done' AND s.undecodable_frames > 0
),
unseen_runs AS (
    SELECT video_id, model_version_id, min(start_frame) AS start_frame, max(stop_frame) AS stop_frame
    FROM (
        SELECT video_id, model_version_id, start_frame, stop_frame,
               sum(begins) OVER (PARTITION BY video_id, model_version_id ORDER BY start_frame) AS run
        FROM (
            SELECT video_id, model_version_id, start_frame, stop_frame,
                   CASE WHEN start_frame = lag(stop_frame) OVER (PARTITION BY video_id, model_version_id
                                                                 ORDER BY start_frame) THEN 0 ELSE 1 END AS begins
            FROM unseen_frames
        ) AS b
    ) AS r
    GROUP BY video_id, model_version_id, run
),
neighbours AS (
    SELECT f.video_id, f.model_version_id, f.frames, f.duration_s, u.start_frame, u.stop_frame,
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
    SELECT n.video_id, n.model_version_id, n.start_frame, n.stop_frame,
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
    SELECT f.video_id, f.model_version_id, f.patience_s, 'unseen', a.start_frame, a.stop_frame,
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
SELECT coalesce(names.key, v.sha256) AS video, i.state, i.from_s, i.to_s, i.video_id, i.model_version_id
FROM intervals AS i
JOIN videos AS v ON v.video_id = i.video_id
LEFT JOIN {names} AS names ON names.video_id = i.video_id
"""
