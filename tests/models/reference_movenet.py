"""MoveNet's decoder in plain loops, as in pose-detection 2.1.3: the oracle of models.decoders.movenet."""

from typing import Any

from models.decoders.movenet import MoveNetParams

Person = tuple[float, list[tuple[float, float, float] | None]]


def people(output: Any, params: MoveNetParams) -> list[Person]:
    """People by falling score: score, and (x, y, score) of each keypoint in pixels, None = not found."""
    rows = [row.tolist() for row in (output.reshape(1, 51) if output.size == 51 else output.reshape(-1, 56))]
    found = []
    for row in rows:
        score = row[55] if len(row) == 56 else sum(row[3 * k + 2] for k in range(17)) / 17
        if score <= 0 or score < params.pose_score_threshold:
            continue
        keypoints = []
        for k in range(17):
            y, x, sure = row[3 * k : 3 * k + 3]
            kept = sure >= params.keypoint_score_threshold
            keypoints.append((x * params.width_px, y * params.height_px, sure) if kept else None)
        found.append((score, keypoints))
    return sorted(found, key=lambda person: -person[0])
