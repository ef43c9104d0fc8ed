"""Rows of rules over people: one per frame per track, also shortly after a person was seen last. numpy only."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.columns import COLUMNS, KEYPOINT_VALUES, MOTION
from models.events.frame_rows import FrameRows
from models.types import KEYPOINT_NAMES

LOST_S = 3.0
_TOLERANCE_S = 1e-6  # of sums of frame times
_SHOULDERS, _HIPS = (
    [KEYPOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right")] for part in ("shoulder", "hip")
)


class SeenPeople(NamedTuple):
    """Rows of motion with the poses that they are of, ordered by (frame, track). NaN = not known.

    track, frame: (n,) int64 of the recording; filled: (n,) bool
    motion: (n, 15) in the order of models.events.columns.MOTION
    score: (n,); keypoints: (n, 17, 2) pixels; keypoint_scores: (n, 17): of the frame's pose, not smoothed
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    filled: NDArray[np.bool_]
    motion: NDArray[np.float64]
    score: NDArray[np.float64]
    keypoints: NDArray[np.float64]
    keypoint_scores: NDArray[np.float64]


class PeopleRows(NamedTuple):
    """Columns of a condition, and the frame in which each row's person was seen last. Ordered by (frame, track)"""

    columns: dict[str, NDArray[Any]]
    seen_frame: NDArray[np.int64]


class PeopleStream:
    """Rows of people in chunks of whole frames. size: width and height of the picture

    A track without a row in a processed frame has a row with `seen` = false there, for LOST_S after the last one.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._last: dict[int, tuple[int, float]] = {}  # track -> frame and time of the last sighting

    def push(self, people: SeenPeople, frames: FrameRows, local_hour: NDArray[np.float64]) -> PeopleRows:
        """Return the rows of these frames. frames: all processed ones; local_hour: of each"""
        lost = self._lost(people, frames)
        at = np.concatenate([np.searchsorted(frames.frame, people.frame), lost[:, 1]]).astype(np.int64)
        track = np.concatenate([people.track, lost[:, 0]])
        seen_frame = np.concatenate([people.frame, lost[:, 2]])
        order = np.lexsort((track, at))
        columns: dict[str, NDArray[Any]] = {
            "track": track,
            "frame": frames.frame[at],
            "t_s": frames.t_s[at],
            "people": frames.people[at],
            "local_hour": local_hour[at],
            "picture_width_px": np.full(len(at), self._size[0]),
            "picture_height_px": np.full(len(at), self._size[1]),
            "seen": np.arange(len(at)) < len(people.track),
        }
        for name, values in _measured(people, self._size).items():
            missing = np.zeros(len(lost), bool) if values.dtype == bool else np.full(len(lost), np.nan)
            columns[name] = np.concatenate([values, missing])
        self._remember(people, frames)
        return PeopleRows({name: columns[name][order] for name in COLUMNS["people"]}, seen_frame[order])

    def _lost(self, people: SeenPeople, frames: FrameRows) -> NDArray[np.int64]:
        """Return (track, place in frames, frame seen last) of the rows without a sighting."""
        found = [np.empty((0, 3), np.int64)]
        order = np.argsort(people.track, kind="stable")
        ordered = people.track[order]
        for track in sorted({*ordered.tolist(), *self._last}):
            start, stop = np.searchsorted(ordered, (track, track + 1))
            frame = people.frame[order[start:stop]]
            place = np.searchsorted(frames.frame, frame)
            t_s = frames.t_s[place]
            if track in self._last:
                place = np.concatenate([[-1], place])
                frame, t_s = (np.concatenate([[a], b]) for a, b in zip(self._last[track], (frame, t_s), strict=True))
            ends = np.append(place[1:], len(frames.frame))
            for gap in np.flatnonzero(ends - place > 1):
                between = range(int(place[gap]) + 1, int(ends[gap]))
                found.append(_between(track, int(frame[gap]), between, frames.t_s, float(t_s[gap])))
        return np.concatenate(found)

    def _remember(self, people: SeenPeople, frames: FrameRows) -> None:
        times = frames.t_s[np.searchsorted(frames.frame, people.frame)]
        self._last |= {
            track: (frame, t_s)
            for track, frame, t_s in zip(people.track.tolist(), people.frame.tolist(), times.tolist(), strict=True)
        }
        now_s = float(frames.t_s[-1]) if len(frames.t_s) else -np.inf
        self._last = {track: seen for track, seen in self._last.items() if now_s - seen[1] <= LOST_S + _TOLERANCE_S}


def _between(track: int, frame: int, places: range, t_s: NDArray[np.float64], seen_s: float) -> NDArray[np.int64]:
    """Return the rows of a track in the frames at these places, as long as it counts as lost."""
    stop = int(np.searchsorted(t_s, seen_s + LOST_S + _TOLERANCE_S, side="right"))
    inside = np.arange(places.start, max(places.start, min(places.stop, stop)))
    return np.column_stack([np.full(len(inside), track), inside, np.full(len(inside), frame)]).astype(np.int64)


def _measured(people: SeenPeople, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Return the columns that are known of a person who is seen."""
    columns: dict[str, NDArray[Any]] = {"filled": people.filled, "score": people.score}
    columns |= dict(zip(MOTION, people.motion.T, strict=True))
    speed, relative = columns["speed_px_per_s"], columns["speed_body_lengths_per_s"]
    columns["body_length_px"] = np.divide(speed, relative, out=np.full(len(speed), np.nan), where=relative > 0)
    values = np.concatenate([people.keypoints, people.keypoint_scores[:, :, None]], 2)
    columns |= dict(zip(KEYPOINT_VALUES, values.reshape(len(values), len(KEYPOINT_VALUES)).T, strict=True))
    columns["shoulder_y"], columns["hip_y"] = (_mean(people.keypoints[:, part, 1]) for part in (_SHOULDERS, _HIPS))
    low, high = np.fmin.reduce(people.keypoints, 1), np.fmax.reduce(people.keypoints, 1)
    columns["box_left"], columns["box_top"] = (low / size).T
    columns["box_width"], columns["box_height"] = ((high - low) / size).T
    return columns


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the known values of each row."""
    known = ~np.isnan(values)
    count = known.sum(1)
    return np.divide(np.where(known, values, 0.0).sum(1), count, out=np.full(len(values), np.nan), where=count > 0)
