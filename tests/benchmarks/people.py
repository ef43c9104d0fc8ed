"""Generated standing people, for benchmarks of SQL: any number of rows in seconds."""

import numpy as np
from numpy.typing import NDArray

from models.types import KEYPOINT_NAMES, Poses

AT = {name: number for number, name in enumerate(KEYPOINT_NAMES)}


def generated_people(
    frames: NDArray[np.int64], counts: NDArray[np.int64], fps: float, rng: np.random.Generator
) -> Poses:
    """Generate poses: one row in 100 has a raised hand, one in 200 lies. counts: people in each of these frames"""
    frame = np.repeat(frames, counts)
    person = np.concatenate([np.arange(count, dtype=np.int16) for count in counts])
    places = rng.normal(300, 20, (len(frame), 17, 2)).astype(np.float32)
    for name, y in {"nose": 100, "shoulder": 150, "wrist": 250, "hip": 260}.items():
        of = [place for known, place in AT.items() if known.endswith(name)]
        places[:, of, 1] = y + rng.normal(0, 5, (len(frame), len(of)))
    up, lying = rng.random(len(frame)) < 0.01, rng.random(len(frame)) < 0.005
    places[up, AT["left_wrist"], 1] = 50
    places[lying] = places[lying][:, :, ::-1]
    scores = rng.random((len(frame), 17), np.float32) * np.float32(0.7) + np.float32(0.3)
    lost = rng.random((len(frame), 17)) < 0.1
    places[lost], scores[lost] = np.nan, np.nan
    return Poses(frame, person, frame / fps, rng.random(len(frame), np.float32), places, scores)
