"""Rows of rules over frames: one per processed frame, also where nobody is. numpy only."""

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

_SLOT_S = 900  # offsets of time zones change at whole quarters of an hour
_DAY_S = 86_400


class FrameRows(NamedTuple):
    """Processed frames, ascending. people: number of tracks with a row there"""

    frame: NDArray[np.int64]
    t_s: NDArray[np.float64]
    people: NDArray[np.int64]


class FrameClock:
    """Times of processed frames, of which only those with people have a stored time.

    The others lie the usual step per frame after the last one with people, or after the start of their video.
    """

    def __init__(self) -> None:
        self._last = 0, 0.0
        self._latest_s = -np.inf

    def begin_video(self, frame: int, t_s: float) -> None:
        """Continue from a video's first frame."""
        self._last = frame, t_s

    def push(
        self,
        processed: NDArray[np.int64],
        step_s: float,
        row_frame: NDArray[np.int64],
        row_t_s: NDArray[np.float64],
    ) -> FrameRows:
        """Return the next frames. row_*: of the rows of people there, ascending; their frames are processed ones"""
        seen, first, people = np.unique(row_frame, return_index=True, return_counts=True)
        frame = np.union1d(processed, seen)
        known_frame = np.concatenate([[self._last[0]], seen]).astype(np.int64)
        known_s = np.concatenate([[self._last[1]], row_t_s[first]])
        at = np.maximum(np.searchsorted(known_frame, frame, side="right") - 1, 0)
        t_s = np.maximum.accumulate(
            np.concatenate([[self._latest_s], known_s[at] + (frame - known_frame[at]) * step_s])
        )
        counts = np.zeros(len(frame), np.int64)
        counts[np.searchsorted(frame, seen)] = people
        self._last = int(known_frame[-1]), float(known_s[-1])
        self._latest_s = float(t_s[-1])
        return FrameRows(frame, t_s[1:], counts)


def local_hours(t_s: NDArray[np.float64], start_at: datetime | None, time_zone: str | None) -> NDArray[np.float64]:
    """Return the hour of the day, 0 to 24, in the time zone of the camera; NaN without a clock.

    t_s: seconds after start_at
    """
    if start_at is None:
        return np.full(len(t_s), np.nan)
    zone = ZoneInfo(time_zone) if time_zone else UTC
    instant = start_at.timestamp() + t_s
    slots, of_slot = np.unique(np.floor(instant / _SLOT_S), return_inverse=True)
    offsets = [datetime.fromtimestamp(slot * _SLOT_S, zone).utcoffset() for slot in slots.tolist()]
    offset_s = np.array([0.0 if offset is None else offset.total_seconds() for offset in offsets])
    return np.asarray((instant + offset_s[of_slot]) % _DAY_S / 3600)
