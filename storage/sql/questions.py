"""Questions about people that the demo asks, as SQL for both databases. docs/queries.md has the same text."""

HANDS_RAISED = """
    SELECT video, min(t_s) AS from_s, max(t_s) AS to_s, count(DISTINCT frame) AS frames
    FROM (
        SELECT video_id, model_version_id, frame, t_s,
               sum(begins) OVER (PARTITION BY video_id, model_version_id ORDER BY frame) AS episode
        FROM (
            SELECT video_id, model_version_id, frame, t_s,
                   CASE WHEN t_s - lag(t_s) OVER (PARTITION BY video_id, model_version_id ORDER BY frame) <= 1
                        THEN 0 ELSE 1 END AS begins
            FROM poses
            WHERE left_wrist_y < nose_y OR right_wrist_y < nose_y
        ) AS hands_up
    ) AS episodes JOIN video_summary USING (video_id, model_version_id)
    GROUP BY video, episode
    ORDER BY video, from_s"""
CROWDED = """
    SELECT video, second, most_people
    FROM (
        SELECT video_id, model_version_id, second, max(most_people) AS most_people,
               row_number() OVER (PARTITION BY video_id, model_version_id
                                  ORDER BY max(most_people) DESC, sum(frames_seen) DESC, second) AS place
        FROM pose_seconds
        WHERE most_people > 1
        GROUP BY video_id, model_version_id, second
    ) AS crowded JOIN video_summary USING (video_id, model_version_id)
    WHERE place <= 3
    ORDER BY video, place"""
NOBODY_IN_VIEW = """
    SELECT camera, video, from_s, to_s
    FROM absence
    WHERE duration_s > 1
    ORDER BY video, from_s"""
QUESTIONS = {
    "When did somebody raise a hand above the nose?": HANDS_RAISED,
    "When was nobody in view for more than a second?": NOBODY_IN_VIEW,
    "When was it crowded?": CROWDED,
}
