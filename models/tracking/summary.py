"""Extent, score and usual place of each track, from rows as they come, with constant memory. numpy only."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.checkpoints import Layout, read_arrays, write_arrays
from models.tracking.types import TrackedPoses

MOST_BOXES = 512  # of one track that are kept: evenly spaced, at most this many
SCORE_UNITS = 1 << 30  # scores are added as whole numbers, so that the sum does not depend on the order
_MAKER = "summaries of tracks, 1"
_OPEN = np.dtype(
    [
        *((name, "<i8") for name in ("track", "first_frame", "last_frame", "frames", "score", "every", "boxes")),
        *((name, "<f8") for name in ("first_s", "last_s")),
    ]
)
_LAYOUT: Layout = {"open": (_OPEN, ()), "boxes": ("<f4", (4,))}


class TrackSummary(NamedTuple):
    """One track.

    first_frame, last_frame, first_s, last_s: of its first and last row; frames: number of rows
    box: left, top, width, height, pixels: the median of the boxes around the found keypoints, of at most MOST_BOXES
        rows evenly spaced in it
    """

    track: int
    first_frame: int
    last_frame: int
    first_s: float
    last_s: float
    frames: int
    mean_score: float
    box: tuple[float, float, float, float]


class _Open:
    """A track that may go on."""

    def __init__(self, track: int, frame: int, t_s: float) -> None:
        self.track, self.first_frame, self.first_s = track, frame, t_s
        self.last_frame, self.last_s, self.frames, self.score = frame, t_s, 0, 0
        self._boxes, self._every = np.empty((0, 4), np.float32), 1

    def add(self, frame: int, t_s: float, scores: NDArray[np.float32], boxes: NDArray[np.float32]) -> None:
        """Add rows. frame, t_s: of the last one"""
        ordinal = self.frames + np.arange(len(scores))
        self._boxes = np.concatenate([self._boxes, boxes[ordinal % self._every == 0]])
        while len(self._boxes) > MOST_BOXES:
            self._boxes, self._every = self._boxes[::2], 2 * self._every
        self.last_frame, self.last_s, self.frames = frame, t_s, self.frames + len(scores)
        self.score += int(np.round(scores.astype(np.float64) * SCORE_UNITS).astype(np.int64).sum())

    def state(self) -> tuple[tuple[float, ...], NDArray[np.float32]]:
        """Return the values of _OPEN, and the boxes."""
        whole = (self.track, self.first_frame, self.last_frame, self.frames, self.score, self._every)
        return (*whole, len(self._boxes), self.first_s, self.last_s), self._boxes

    @classmethod
    def from_state(cls, state: np.void, boxes: NDArray[np.float32]) -> "_Open":
        made = cls(int(state["track"]), int(state["first_frame"]), float(state["first_s"]))
        made.last_frame, made.last_s = int(state["last_frame"]), float(state["last_s"])
        made.frames, made.score, made._every = int(state["frames"]), int(state["score"]), int(state["every"])
        made._boxes = boxes
        return made

    def summary(self) -> TrackSummary:
        left, top, width, height = np.median(self._boxes, axis=0).tolist()
        mean = self.score / self.frames / SCORE_UNITS
        box = (left, top, width, height)
        return TrackSummary(
            self.track, self.first_frame, self.last_frame, self.first_s, self.last_s, self.frames, mean, box
        )


class TrackSummaries:
    """Summaries of tracks, each given out when the track has ended."""

    def __init__(self, max_gap_s: float, state: bytes | None = None) -> None:
        """Start empty, or from a checkpoint. Raises ValueError for one that cannot be used.

        max_gap_s: seconds without a row after which a track has ended
        """
        self._open = {} if state is None else _read_state(state)
        self._max_gap_s, self._looked_s = max_gap_s, -np.inf

    def checkpoint(self) -> bytes:
        """Return the tracks that may go on, for a new object that continues."""
        states = [each.state() for each in self._open.values()]
        boxes = np.concatenate([np.empty((0, 4), np.float32), *(boxes for _, boxes in states)])
        return write_arrays(_MAKER, {"open": np.array([values for values, _ in states], _OPEN), "boxes": boxes})

    @property
    def open_tracks(self) -> list[int]:
        """Return the numbers of the tracks that may go on."""
        return list(self._open)

    def add(self, rows: TrackedPoses) -> list[TrackSummary]:
        """Add rows in the order of frames. Returns the tracks that have ended."""
        order = np.argsort(rows.track, kind="stable")
        order = order[np.searchsorted(rows.track[order], 1) :]
        starts = np.flatnonzero(np.diff(rows.track[order], prepend=0))
        boxes = _boxes(rows.poses.keypoints[order])
        for first, last in zip(starts, [*starts[1:], len(order)], strict=False):
            self._add(rows, order[first:last], boxes[first:last])
        return self._ended(float(rows.poses.t_s[-1])) if len(rows.track) else []

    def _add(self, rows: TrackedPoses, mine: NDArray[np.intp], boxes: NDArray[np.float32]) -> None:
        poses, track = rows.poses, int(rows.track[mine[0]])
        if track not in self._open:
            self._open[track] = _Open(track, int(poses.frame[mine[0]]), float(poses.t_s[mine[0]]))
        last = mine[-1]
        self._open[track].add(int(poses.frame[last]), float(poses.t_s[last]), poses.scores[mine], boxes)

    def _ended(self, now_s: float) -> list[TrackSummary]:
        if now_s - self._looked_s <= self._max_gap_s:
            return []
        self._looked_s = now_s
        ended = [each for each in self._open.values() if now_s - each.last_s > 2 * self._max_gap_s + 1]
        return [self._open.pop(each.track).summary() for each in ended]

    def finish(self) -> list[TrackSummary]:
        """Return the tracks that were open at the end."""
        ended = [each.summary() for each in self._open.values()]
        self._open.clear()
        return ended


def _read_state(state: bytes) -> dict[int, _Open]:
    """Read a checkpoint. Raises ValueError."""
    arrays = read_arrays(state, _MAKER, _LAYOUT)
    opened, boxes = arrays["open"], arrays["boxes"]
    counts = opened["boxes"]
    if counts.sum() != len(boxes) or not ((counts >= 1) & (counts <= MOST_BOXES)).all():
        raise ValueError("The checkpoint has another number of boxes. Begin again without it.")
    if not ((opened["frames"] >= counts) & (opened["every"] >= 1) & (opened["track"] >= 1)).all():
        raise ValueError("The checkpoint has impossible numbers. Begin again without it.")
    parts = np.split(boxes, np.cumsum(counts)[:-1])
    return {int(one["track"]): _Open.from_state(one, part) for one, part in zip(opened, parts, strict=False)}


def _boxes(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) left, top, width, height around the found keypoints; NaN without any."""
    low, high = np.fmin.reduce(keypoints, axis=1), np.fmax.reduce(keypoints, axis=1)
    return np.concatenate([low, high - low], axis=1)
