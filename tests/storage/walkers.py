"""Poses of people who walk through a picture, each at a height and with a speed of their own."""

import numpy as np

from models.types import KEYPOINT_NAMES, Poses

FPS = 25
# x, y of each keypoint in body lengths, of somebody who stands.
STANDING = {
    **{"nose": (0, 0), "left_eye": (0.02, -0.02), "right_eye": (-0.02, -0.02), "left_ear": (0.04, -0.01)},
    **{"right_ear": (-0.04, -0.01), "left_shoulder": (0.12, 0.14), "right_shoulder": (-0.12, 0.14)},
    **{
        "left_elbow": (0.15, 0.3),
        "right_elbow": (-0.15, 0.3),
        "left_wrist": (0.16, 0.44),
        "right_wrist": (-0.16, 0.44),
    },
    **{"left_hip": (0.08, 0.46), "right_hip": (-0.08, 0.46), "left_knee": (0.08, 0.7), "right_knee": (-0.08, 0.7)},
    **{"left_ankle": (0.08, 0.94), "right_ankle": (-0.08, 0.94)},
}
BODY = np.array([STANDING[name] for name in KEYPOINT_NAMES], np.float32)
LENGTH_PX = 200


def walkers(start_frame: int, stop_frame: int, people: int = 2, seed: int = 0) -> Poses:
    """Poses of frames [start_frame, stop_frame), which do not depend on where these begin.

    Person 0 of a frame changes every second; nobody is in view in one second of seven.
    """
    rows = [_frame(number, people, seed) for number in range(start_frame, stop_frame)]
    count = [len(scores) for scores, _, _ in rows]
    frame = np.repeat(np.arange(start_frame, stop_frame, dtype=np.int64), count)
    return Poses(
        frame=frame,
        person=np.concatenate([np.arange(n, dtype=np.int16) for n in count] or [np.empty(0, np.int16)]),
        t_s=frame / FPS,
        scores=np.concatenate([np.empty(0, np.float32), *(scores for scores, _, _ in rows)]),
        keypoints=np.concatenate([np.empty((0, 17, 2), np.float32), *(places for _, places, _ in rows)]),
        keypoint_scores=np.concatenate([np.empty((0, 17), np.float32), *(sure for _, _, sure in rows)]),
    )


def _frame(number: int, people: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, keypoints and their scores of one frame, the surest person first."""
    rng = np.random.default_rng((seed, number))
    who = np.array([each for each in range(people) if (number // FPS + each) % 7 != 3], int)
    x = (100 + 250 * who + 1.5 * number * (1 + who % 3)) % 1800
    places = BODY[None] * LENGTH_PX + np.stack([x, 200 + 40 * who], 1)[:, None]
    places = (places + rng.normal(0, 1, places.shape)).astype(np.float32)
    sure = rng.uniform(0.5, 1, places.shape[:2]).astype(np.float32)
    places[sure < 0.55], sure[sure < 0.55] = np.nan, np.nan
    scores = (0.5 + ((who + number // FPS) % people) / (2 * people + 1)).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return scores[order], places[order], sure[order]
