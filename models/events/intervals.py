"""Intervals of true rows, from rows that come in chunks. numpy only."""

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TOLERANCE_S = 1e-6  # of sums of frame times
MOST_KEYS = 100_000
_STATE = np.dtype(
    [
        ("key", "i8"),
        ("open", "?"),
        ("interrupted", "?"),
        ("from_s", "f8"),
        ("from_frame", "i8"),
        ("last_s", "f8"),
        ("last_frame", "i8"),
        ("peak_s", "f8"),
        ("peak_frame", "i8"),
        ("score", "f8"),
        ("ended_s", "f8"),
    ]
)


class Interval(NamedTuple):
    """True rows of one key that belong together. key: of a person or a zone; *_s: times; peak: first highest score"""

    key: int
    from_s: float
    from_frame: int
    to_s: float
    to_frame: int
    peak_s: float
    peak_frame: int
    score: float


@dataclass(frozen=True)
class IntervalParams:
    """Conditions of an interval. frame_s: usual seconds between two rows, None = not known

    Two true rows belong together if they are neighbours and at most 1.5 * frame_s apart, or if they are at most
    bridge_gap_s apart. An interval shorter than min_duration_s is left out, and so is one that begins within
    cool_down_s after the end of another one of its key.
    """

    min_duration_s: float = 0.0
    bridge_gap_s: float = 0.0
    cool_down_s: float = 0.0
    frame_s: float | None = None

    @property
    def neighbours_s(self) -> float:
        """Longest time between neighbouring rows of an interval."""
        return max(self.bridge_gap_s, 1.5 * (self.frame_s or 0.0)) + TOLERANCE_S


class RowsOfKeys(NamedTuple):
    """Rows, ascending in t_s and frame within a key. key: (n,) int64; holds: (n,) bool; score: (n,) float64"""

    key: NDArray[np.int64]
    frame: NDArray[np.int64]
    t_s: NDArray[np.float64]
    holds: NDArray[np.bool_]
    score: NDArray[np.float64]

    def taken(self, places: NDArray[np.int64] | slice) -> "RowsOfKeys":
        return RowsOfKeys(
            self.key[places], self.frame[places], self.t_s[places], self.holds[places], self.score[places]
        )


@dataclass
class _Course:
    """The rows of one key so far. pending: an interval that may go on

    interrupted: rows that are not true came after it; ended_s: the end of the last interval that was given out
    """

    pending: Interval | None = None
    interrupted: bool = False
    ended_s: float = -np.inf


class Intervals:
    """Intervals of a stream of rows. state: from `checkpoint`. Raises ValueError for another state"""

    def __init__(self, params: IntervalParams, state: bytes | None = None) -> None:
        self._params = params
        self._courses = {} if state is None else _read_state(state)

    def push(self, rows: RowsOfKeys, now_s: float | None = None) -> list[Interval]:
        """Take rows, and return the intervals that cannot go on. now_s: later rows have later times"""
        found: list[Interval] = []
        if len(rows.t_s):
            ordered = rows.taken(np.argsort(rows.key, kind="stable"))
            cuts = [0, *(np.flatnonzero(np.diff(ordered.key)) + 1).tolist(), len(ordered.key)]
            for start, stop in pairwise(cuts):
                self._push_key(ordered.taken(slice(start, stop)), found)
            now_s = float(rows.t_s.max()) if now_s is None else now_s
        if now_s is not None:
            self._close_ended(now_s, found)
        return sorted(found, key=_order)

    def finish(self) -> list[Interval]:
        """Return the intervals that are left."""
        found: list[Interval] = []
        for course in self._courses.values():
            self._close(course, found)
        self._courses = {}
        return sorted(found, key=_order)

    def checkpoint(self) -> bytes:
        """Return the state after the rows so far. It is not changed."""
        rows = np.array([_row(key, course) for key, course in sorted(self._courses.items())], _STATE)
        file = io.BytesIO()
        np.save(file, rows, allow_pickle=False)
        return file.getvalue()

    def _push_key(self, rows: RowsOfKeys, found: list[Interval]) -> None:
        key = int(rows.key[0])
        true = np.flatnonzero(rows.holds)
        if not len(true):
            if course := self._courses.get(key):
                course.interrupted = True
            return
        course = self._courses.setdefault(key, _Course())
        for number, run in enumerate(_runs(rows, true, self._params)):
            interval = _interval(rows, run)
            adjacent = number == 0 and run[0] == 0 and not course.interrupted
            if number == 0 and course.pending and self._joined(course.pending, interval, adjacent):
                course.pending = _merged(course.pending, interval)
            else:
                self._close(course, found)
                course.pending = interval
        course.interrupted = bool(true[-1] < len(rows.key) - 1)

    def _joined(self, first: Interval, second: Interval, adjacent: bool) -> bool:
        limit_s = self._params.neighbours_s if adjacent else self._params.bridge_gap_s + TOLERANCE_S
        return second.from_s - first.to_s <= limit_s

    def _close(self, course: _Course, found: list[Interval]) -> None:
        """Give out the pending interval where it is long enough."""
        interval, course.pending = course.pending, None
        if interval is None or interval.to_s - interval.from_s < self._params.min_duration_s - TOLERANCE_S:
            return
        if interval.from_s - course.ended_s < self._params.cool_down_s - TOLERANCE_S:
            return
        found.append(interval)
        course.ended_s = interval.to_s

    def _close_ended(self, now_s: float, found: list[Interval]) -> None:
        """Close the intervals that no later row can join, and forget the keys that decide nothing more."""
        for key, course in list(self._courses.items()):
            if course.pending and now_s - course.pending.to_s > self._params.neighbours_s:
                self._close(course, found)
            if course.pending is None and now_s - course.ended_s >= self._params.cool_down_s:
                del self._courses[key]


def _runs(rows: RowsOfKeys, true: NDArray[np.int64], params: IntervalParams) -> list[NDArray[np.int64]]:
    """Divide the places of one key's true rows into those of each interval."""
    gap_s = np.diff(rows.t_s[true])
    adjacent = np.diff(true) == 1
    joined = gap_s <= np.where(adjacent, params.neighbours_s, params.bridge_gap_s + TOLERANCE_S)
    return np.split(true, np.flatnonzero(~joined) + 1)


def _interval(rows: RowsOfKeys, run: NDArray[np.int64]) -> Interval:
    first, last, peak = run[0], run[-1], run[np.argmax(rows.score[run])]
    return Interval(
        int(rows.key[first]),
        *(float(rows.t_s[first]), int(rows.frame[first])),
        *(float(rows.t_s[last]), int(rows.frame[last])),
        *(float(rows.t_s[peak]), int(rows.frame[peak])),
        float(rows.score[peak]),
    )


def _merged(first: Interval, second: Interval) -> Interval:
    best = second if second.score > first.score else first
    return first._replace(
        to_s=second.to_s,
        to_frame=second.to_frame,
        peak_s=best.peak_s,
        peak_frame=best.peak_frame,
        score=best.score,
    )


def _order(interval: Interval) -> tuple[float, int]:
    return interval.to_s, interval.key


def _row(key: int, course: _Course) -> tuple[object, ...]:
    pending = course.pending or Interval(key, *(0.0, 0) * 3, 0.0)
    return key, course.pending is not None, course.interrupted, *pending[1:], course.ended_s


def _read_state(state: bytes) -> dict[int, _Course]:
    try:
        rows = np.load(io.BytesIO(state), allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError("The state of the intervals is damaged. Make the events again.") from error
    if rows.dtype != _STATE or rows.ndim != 1 or len(rows) > MOST_KEYS:
        raise ValueError("The state of the intervals is of another version. Make the events again.")
    return {int(row["key"]): _course(row) for row in rows}


def _course(row: np.void) -> _Course:
    pending = Interval(*(row[name].item() for name in ("key", *(_STATE.names or ())[3:10])))
    return _Course(pending if row["open"] else None, bool(row["interrupted"]), float(row["ended_s"]))
