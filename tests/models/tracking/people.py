"""Rows of people with known movements, as from a perfect or a poor detector."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.types import FramePoses, Poses

SIZE = (640, 480)

# Keypoints of a standing person, shares of the height from the top middle of the box.
_STANDING = np.array(
    [
        *((0.0, 0.08), (0.02, 0.06), (-0.02, 0.06), (0.04, 0.07), (-0.04, 0.07)),
        *((0.11, 0.2), (-0.11, 0.2), (0.14, 0.36), (-0.14, 0.36), (0.15, 0.5), (-0.15, 0.5)),
        *((0.07, 0.52), (-0.07, 0.52), (0.07, 0.75), (-0.07, 0.75), (0.07, 0.97), (-0.07, 0.97)),
    ]
)


@dataclass(frozen=True)
class Walker:
    """A person of a height, pixels, in frames [first, stop), at x, y (top of the head) moving by velocity, px/s."""

    x: float
    y: float = 100.0
    velocity: tuple[float, float] = (0.0, 0.0)
    height: float = 200.0
    first: int = 0
    stop: int = 10**9
    score: float = 0.9
    hidden: tuple[tuple[int, int], ...] = ()

    def is_seen(self, frame: int) -> bool:
        return self.first <= frame < self.stop and not any(a <= frame < b for a, b in self.hidden)

    def pose(self, t_s: float) -> NDArray[np.float64]:
        return _STANDING * self.height + (self.x + self.velocity[0] * t_s, self.y + self.velocity[1] * t_s)


def rows_of(
    walkers: Sequence[Walker], frames: int, fps: float = 25.0, noise_px: float = 0.0, seed: int = 0
) -> tuple[Poses, NDArray[np.int64]]:
    """Return the rows, by falling score within a frame, and the number of each row's walker, from 1."""
    rng = np.random.default_rng(seed)
    together, people = [], []
    for frame in range(frames):
        here = [n for n, walker in enumerate(walkers) if walker.is_seen(frame)]
        score = np.array([walkers[n].score for n in here]) + rng.uniform(-0.05, 0.05, len(here))
        order = np.argsort(-score, kind="stable")
        here = [here[n] for n in order]
        xy = np.array([walkers[n].pose(frame / fps) for n in here]).reshape(-1, 17, 2)
        xy = (xy + rng.normal(0, noise_px, xy.shape)).astype(np.float32)
        found = FramePoses(score[order].astype(np.float32), xy, np.ones(xy.shape[:2], np.float32))
        together.append((frame, frame / fps, found))
        people += [n + 1 for n in here]
    return Poses.gather(together), np.array(people, np.int64)


def some(poses: Poses, rows: slice | NDArray) -> Poses:
    return Poses(*(getattr(poses, name)[rows] for name in Poses.__dataclass_fields__))


@st.composite
def crowds(draw: st.DrawFn) -> Poses:
    """Rows of people who cross, hide and come back, some with missing keypoints, at times that may stand still."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    walkers = [
        Walker(
            x=rng.uniform(0, 640),
            y=rng.uniform(0, 300),
            velocity=(rng.normal(0, 120), rng.normal(0, 20)),
            height=rng.uniform(60, 200),
            first=int(rng.integers(0, 60)),
            stop=int(rng.integers(30, 150)),
            hidden=((a := int(rng.integers(0, 120)), a + int(rng.integers(0, 60))),),
        )
        for _ in range(draw(st.integers(0, 8)))
    ]
    poses, _ = rows_of(walkers, 120, noise_px=draw(st.sampled_from([0.0, 3.0])), seed=int(rng.integers(2**31)))
    kept = rng.random(len(poses)) < 0.9
    poses = some(poses, kept)
    poses.keypoints[rng.random(poses.keypoints.shape[:2]) < 0.1] = np.nan
    poses.keypoints[rng.random(len(poses)) < 0.02] = np.nan
    still = draw(st.integers(0, 120))
    poses.t_s[(poses.frame >= still) & (poses.frame < still + draw(st.integers(0, 3)))] = still / 25
    return poses
