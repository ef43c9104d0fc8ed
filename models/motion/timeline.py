"""Frames of a recording that were looked at, as far as rows tell. numpy only.

A frame without people has no row, so that the frames between two rows are known by the usual step between frames only.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_FRAMES_PER_S = 1000
"""No film has more: time stamps that are denser over many frames are no times, and windows of seconds need a bound."""
_RATE_FRAMES = 1000  # the rate is that of the last 1000 frames
_NEAR_STEPS = 8  # on either side of a hole


class Timeline(NamedTuple):
    """Frames in their order. stretch: (n,) number of the stretch in which time runs forwards

    frame: (n,) int64, ascending; t_s: (n,) float64, ascending in each stretch
    """

    frame: Integers
    t_s: Seconds
    stretch: Integers


class StretchCounter:
    """Numbers the stretches of a stream of frames.

    A new one begins where time runs backwards or is not a number, and where the frames are too dense for a film.
    """

    def __init__(self, recent_s: Seconds | None = None, stretch: int = 0) -> None:
        """recent_s: times of the last frames; stretch: the number of the last one"""
        self.recent_s = np.empty(0) if recent_s is None else recent_s
        self.stretch = stretch

    def number(self, t_s: Seconds) -> Integers:
        """Return the stretch of each of the next frames."""
        if not len(t_s):
            return np.empty(0, np.int64)
        known = len(self.recent_s)
        times = np.concatenate([self.recent_s, t_s])
        cuts = np.zeros(len(times), np.int64)
        cuts[1:] = ~(np.diff(times) >= 0)
        cuts[_RATE_FRAMES:] |= times[_RATE_FRAMES:] - times[:-_RATE_FRAMES] < _RATE_FRAMES / MOST_FRAMES_PER_S
        numbers: Integers = self.stretch + np.cumsum(cuts[known:])
        self.recent_s, self.stretch = times[-_RATE_FRAMES:], int(numbers[-1])
        return numbers


def complete(seen: Timeline, limit_s: float) -> Timeline:
    """Insert the frames that were probably looked at without a find, where the hole lasts limit_s at most.

    Their number follows from the usual step between frames nearby; they lie evenly between the frames that are known.
    """
    if len(seen.frame) < 2:
        return seen
    missing = _missing(seen, limit_s)
    source = np.repeat(np.arange(len(seen.frame)), 1 + np.append(missing, 0))
    offset = np.arange(len(source)) - (np.arange(len(seen.frame)) + np.append(0, np.cumsum(missing)))[source]
    parts, steps = np.append(missing, 0)[source] + 1, np.append(np.diff(seen.frame), 1)[source]
    ahead = (2 * offset * steps + parts) // (2 * parts)  # rounded
    t_s = seen.t_s[source] + ahead / steps * np.append(np.diff(seen.t_s), 0.0)[source]
    return Timeline(seen.frame[source] + ahead, np.where(offset > 0, t_s, seen.t_s[source]), seen.stretch[source])


def _missing(seen: Timeline, limit_s: float) -> Integers:
    """Return the number of frames to insert after each frame but the last."""
    steps, seconds = np.diff(seen.frame), np.diff(seen.t_s)
    missing = np.zeros(len(steps), np.int64)
    holes = np.flatnonzero((steps > 1) & (np.diff(seen.stretch) == 0) & (seconds <= limit_s))
    usual = _usual_steps(seen, holes, limit_s)
    missing[holes] = np.minimum((steps[holes] - 1) // usual, seconds[holes] * MOST_FRAMES_PER_S)
    return missing


def _usual_steps(seen: Timeline, holes: Integers, near_s: float) -> Integers:
    """Return the lower median of the steps near each hole and its own.

    near_s: greatest distance of the steps from the hole
    """
    steps = np.diff(seen.frame)
    offsets = np.arange(-_NEAR_STEPS, _NEAR_STEPS + 1)
    pairs = np.clip(holes[:, None] + offsets, 0, len(steps) - 1)
    near = (holes[:, None] + offsets == pairs) & (seen.stretch[pairs] == seen.stretch[holes, None])
    near &= seen.stretch[pairs + 1] == seen.stretch[holes, None]
    near &= seen.t_s[pairs] >= seen.t_s[holes, None] - near_s
    near &= seen.t_s[pairs + 1] <= seen.t_s[holes + 1, None] + near_s
    found = np.sort(np.where(near, steps[pairs], np.iinfo(np.int64).max), axis=1)
    middle = (near.sum(axis=1) - 1) // 2
    usual: Integers = np.take_along_axis(found, middle[:, None], axis=1)[:, 0]
    return usual
