"""Figures of tracks by the package `trackers`, for recordings made of random numbers.

It brings a second OpenCV, so it is not in the locks. To write the figures again, from the project's folder:
python3 -m venv /tmp/trackers && /tmp/trackers/bin/pip install trackers==2.6.1
/tmp/trackers/bin/python -m tests.oracle.track_measures
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FIGURES = Path(__file__).with_name("track_measures.json")
RECORDINGS = 12


class Frame(NamedTuple):
    """Numbers of people and tracks in a frame, and their similarity."""

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    similarity: NDArray[np.float64]


def recording(seed: int) -> list[Frame]:
    """People who come and go, with tracks that miss some, switch, and see some who are not there."""
    rng = np.random.default_rng([77, seed])
    people = int(rng.integers(1, 8))
    track_of = rng.permutation(people) + 1
    frames = []
    for _ in range(int(rng.integers(5, 60))):
        if rng.random() < 0.1:
            track_of[rng.integers(people)] = rng.integers(1, people + 4)
        truth = np.flatnonzero(rng.random(people) < 0.8)
        seen = truth[rng.random(len(truth)) < 0.85]
        found = np.unique([*track_of[seen], *(rng.integers(people + 4, people + 7, rng.integers(0, 2)))]).astype(
            np.int64
        )
        same = track_of[truth][:, None] == found
        similarity = np.where(same, rng.uniform(0.3, 1, same.shape), np.maximum(0, rng.uniform(-0.5, 0.7, same.shape)))
        frames.append(Frame(truth * 3 + 5, found, similarity))
    return frames


def write_figures() -> None:
    from trackers.eval import clear, hota, identity  # type: ignore[import-not-found]

    figures = []
    for seed in range(RECORDINGS):
        given = tuple(list(values) for values in zip(*recording(seed), strict=True))
        told = {
            **clear.compute_clear_metrics(*given),
            **hota.compute_hota_metrics(*given),
            **identity.compute_identity_metrics(*given),
        }
        figures.append({name: float(told[name]) for name in ("IDF1", "HOTA", "DetA", "AssA", "MOTA", "IDSW")})
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    write_figures()
