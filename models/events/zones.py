"""Visits of zones and crossings of lines by the people of a recording, as a stream. numpy only.

Every person has a level for every zone: in a polygon 1 or 0; at a line the net number of crossings from left to right.
A new level counts when the person has kept away from the old one, see ZoneParams, and then from its first sighting. So
somebody who stands on the line does not enter and leave with every frame, and yet no time is off by more than a frame.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.events.courses import Course, read_courses, write_courses
from models.events.feet import Feet
from models.events.geometry import distance_to, inside_polygon, net_crossings
from models.events.zone_params import ZoneParams
from models.types import CameraZone, Crossing, Visit, ZoneRows

_ALWAYS = (-np.inf, np.inf)


@dataclass(frozen=True)
class Zone:
    """A polygon or a line in fractions of the picture, see CameraZone.

    It holds at the times from_s <= t < to_s of the recording, seconds.
    """

    shape: Literal["polygon", "line"]
    points: tuple[tuple[float, float], ...]
    from_s: float = -np.inf
    to_s: float = np.inf


def watched(zone: CameraZone, start_at: datetime | None) -> Zone:
    """Return a camera's zone on the clock of a recording.

    start_at: time of the recording's second 0; None = not known: only the zones that have no end hold, from its start
    """
    if start_at is None:
        return Zone(zone.shape, zone.points, *(_ALWAYS if zone.valid_to is None else (0.0, 0.0)))
    from_s, to_s = (
        default if moment is None else (moment - start_at).total_seconds()
        for moment, default in zip((zone.valid_from, zone.valid_to), _ALWAYS, strict=True)
    )
    return Zone(zone.shape, zone.points, from_s, to_s)


def inside(
    visits: Sequence[Visit], zones: int, track: NDArray[np.integer[Any]], frame: NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    """Return the zones that rows belong to: (n, zones) bool. track, frame: (n,) of the recording, in any order"""
    belongs = np.zeros((len(track), zones), bool)
    order = np.lexsort((frame, track))
    ordered = np.column_stack([track, frame])[order].astype(np.int64)
    keys = np.ascontiguousarray(ordered).view([("track", "i8"), ("frame", "i8")]).ravel()
    for visit in visits:
        ends = np.array([(visit.track, visit.entered_frame), (visit.track, visit.last_frame + 1)], keys.dtype)
        start, stop = np.searchsorted(keys, ends)
        belongs[order[start:stop], visit.zone] = True
    return belongs


class ZoneWatcher:
    """Follows the people of one recording through its zones.

    A visit or a crossing is given out once it is decided. The result does not depend on the chunks, nor on how often a
    watcher is continued from its checkpoint.
    """

    def __init__(
        self,
        zones: Sequence[Zone],
        size: tuple[int, int],
        params: ZoneParams | None = None,
        state: bytes | None = None,
    ) -> None:
        """Begin a recording, or continue one. Raises ValueError where the state is damaged or of other zones.

        size: width and height of the displayed picture; state: checkpoint of a watcher with equal arguments
        """
        self._params = params or ZoneParams()
        self._zones, self._size = tuple(zones), size
        self._points = [np.array(zone.points, np.float64).reshape(-1, 2) * size for zone in zones]
        self._courses: dict[tuple[int, int], Course] = {}
        self._rows = ZoneRows([], [])
        if state is not None:
            self._courses = read_courses(state, self._identity())

    def push(self, feet: Feet) -> ZoneRows:
        """Add whole frames, later than those before. Return the visits and crossings that are decided now."""
        if (np.diff(feet.frame) < 0).any() or (np.diff(feet.t_s) < 0).any():
            raise ValueError("The frames of people are not ascending. Give them in the order of the recording.")
        feet = feet[np.lexsort((feet.frame, feet.track))]
        for number in range(len(self._zones)):
            self._watch(number, feet)
        if len(feet):
            self._end_lost(float(feet.t_s.max()))
        return self._given_out()

    def checkpoint(self) -> bytes:
        """Return the state after the rows that were pushed. It grows with the people in view only."""
        return write_courses(self._courses, self._identity())

    def finish(self) -> ZoneRows:
        """Return the other visits and crossings, as if nobody were seen any more."""
        for zone, track in sorted(self._courses):
            self._end(zone, track)
        return self._given_out()

    def _identity(self) -> str:
        """Identify the arguments that a state depends on."""
        arguments = repr((self._zones, self._size, self._params.sha256()))
        return f"zones-{hashlib.sha256(arguments.encode()).hexdigest()}"

    def _given_out(self) -> ZoneRows:
        rows, self._rows = self._rows, ZoneRows([], [])
        return ZoneRows(sorted(rows.visits), sorted(rows.crossings))

    def _watch(self, number: int, feet: Feet) -> None:
        """Follow all people for one zone. feet: ordered by (track, frame)"""
        zone, points = self._zones[number], self._points[number]
        feet = feet[(feet.t_s >= zone.from_s) & (feet.t_s < zone.to_s)]
        if not len(feet):
            return
        away = distance_to(feet.places, points, zone.shape == "polygon") >= self._params.margin * feet.heights
        for rows in self._unbroken(number, feet):
            self._follow(number, feet[rows], away[rows])

    def _unbroken(self, number: int, feet: Feet) -> Iterator[slice]:
        """Yield the rows of each person between two losses. End those who were lost before."""
        begins = np.diff(feet.track, prepend=0) != 0
        lost = np.diff(feet.t_s, prepend=feet.t_s[:1]) > self._params.lost_s
        starts = np.flatnonzero(begins | lost)
        for start, stop in zip(starts, [*starts[1:], len(feet)], strict=True):
            track = int(feet.track[start])
            course = self._courses.get((number, track))
            if course is not None and feet.t_s[start] - course.last_s > self._params.lost_s:
                self._end(number, track)
            yield slice(start, stop)

    def _follow(self, number: int, feet: Feet, away: NDArray[np.bool_]) -> None:
        """Follow one person without a loss."""
        key = number, int(feet.track[0])
        course = self._courses.get(key)
        if course is None:
            course = self._courses[key] = Course.of_first(int(feet.frame[0]), float(feet.t_s[0]), *feet.places[0])
        levels = self._levels(number, course, feet.places)
        ends = [*(np.flatnonzero(np.diff(levels)) + 1), len(levels)]
        start = 0
        for stop in ends:
            self._stay(key, course, int(levels[start]), feet[start:stop], away[start:stop])
            start = stop
        course.x, course.y = feet.places[-1]

    def _levels(self, number: int, course: Course, places: NDArray[np.float64]) -> NDArray[np.int64]:
        points = self._points[number]
        if self._zones[number].shape == "polygon":
            return inside_polygon(places, points).astype(np.int64)
        before = np.concatenate([[(course.x, course.y)], places[:-1]])
        return np.asarray(course.level + np.cumsum(net_crossings(before, places, points)))

    def _stay(self, key: tuple[int, int], course: Course, level: int, feet: Feet, away: NDArray[np.bool_]) -> None:
        """Take in successive sightings on one level, and count the level once it is certain."""
        if level != course.level and (course.certain == course.level or course.certain is None):
            course.begin(int(feet.frame[0]), float(feet.t_s[0]))
        course.level = level
        if level != course.certain:
            kept_away = np.logical_or.accumulate(away) | course.away
            stayed_s = feet.t_s - course.since_s + 1e-3  # times are rounded
            needed_s = 0.0 if course.certain is None else self._params.inertia_s
            if (kept_away & (stayed_s >= needed_s) | (stayed_s >= self._params.standing_s)).any():
                self._count(key, course)
            else:
                course.away = bool(kept_away[-1])
        course.last_frame, course.last_s = int(feet.frame[-1]), float(feet.t_s[-1])

    def _count(self, key: tuple[int, int], course: Course) -> None:
        """Let the person's level be certain since it began."""
        former, course.certain = course.certain, course.level
        if self._zones[key[0]].shape == "line":
            steps = 0 if former is None else course.level - former
            direction: Literal["left_to_right", "right_to_left"] = "left_to_right" if steps > 0 else "right_to_left"
            crossing = Crossing(*key, course.since_frame, course.since_s, direction)
            self._rows.crossings.extend([crossing] * abs(steps))
        elif course.level == 1:
            course.entered_frame, course.entered_s = course.since_frame, course.since_s
        elif former == 1:
            self._leave(key, course, course.before_frame, course.since_s)

    def _end_lost(self, now_s: float) -> None:
        lost = [key for key, course in self._courses.items() if now_s - course.last_s > self._params.lost_s]
        for zone, track in sorted(lost):
            self._end(zone, track)

    def _end(self, zone: int, track: int) -> None:
        """End the course of a person who was lost: behind a line at a door, that is where the person went."""
        key = zone, track
        course = self._courses.pop(key)
        if course.certain is None or (course.level != course.certain and course.away):
            self._count(key, course)
        if self._zones[zone].shape == "polygon" and course.certain == 1:
            self._leave(key, course, course.last_frame, course.last_s)

    def _leave(self, key: tuple[int, int], course: Course, last_frame: int, left_s: float) -> None:
        self._rows.visits.append(Visit(*key, course.entered_frame, last_frame, course.entered_s, left_s))
