"""Paths of people for tests of zones, and the visits and crossings of them by plain loops."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.events.feet import Feet
from models.events.zone_params import ZoneParams
from models.events.zones import Zone
from models.types import Crossing, Visit

SIZE = (640, 480)


def feet(
    places: NDArray, fps: float = 25.0, track: int = 1, height: float = 100.0, frames: Sequence[int] | None = None
) -> Feet:
    """One person at these places, pixels, in successive frames or in those given."""
    places = np.asarray(places, np.float64).reshape(-1, 2)
    frame = np.arange(len(places)) if frames is None else np.asarray(frames, np.int64)
    tracks = np.full(len(places), track, np.int32)
    return Feet(tracks, frame.astype(np.int64), frame / fps, places, np.full(len(places), height))


def together(*people: Feet) -> Feet:
    """Several people, ordered by frame."""
    names = Feet.__dataclass_fields__
    joined = Feet(*(np.concatenate([getattr(one, name) for one in people]) for name in names))
    return joined[np.lexsort((joined.track, joined.frame))]


@dataclass
class _Person:
    """The state of the plain loops."""

    sightings: list[tuple[int, float, int, bool]] = field(default_factory=list)  # frame, t_s, level, away
    place: tuple[float, float] | None = None
    level: int = 0


def plainly(zones: Sequence[Zone], rows: Feet, params: ZoneParams) -> tuple[list[Visit], list[Crossing]]:
    """Compute visits and crossings person by person, sighting by sighting, with OpenCV's test of polygons."""
    visits: list[Visit] = []
    crossings: list[Crossing] = []
    for number, zone in enumerate(zones):
        points = [(x * SIZE[0], y * SIZE[1]) for x, y in zone.points]
        for track in sorted({int(one) for one in rows.track}):
            for sightings in _pieces(rows, track, zone, points, params):
                _judge(number, track, zone, sightings, params, visits, crossings)
    return sorted(visits), sorted(crossings)


def _pieces(rows: Feet, track: int, zone: Zone, points: list, params: ZoneParams) -> list[list]:
    """Sightings of one person between losses."""
    pieces: list[_Person] = []
    for n in range(len(rows)):
        t_s = float(rows.t_s[n])
        if rows.track[n] != track or not zone.from_s <= t_s < zone.to_s:
            continue
        if not pieces or t_s - pieces[-1].sightings[-1][1] > params.lost_s:
            pieces.append(_Person())
        person, place = pieces[-1], tuple(float(value) for value in rows.places[n])
        if zone.shape == "polygon":
            distance = cv2.pointPolygonTest(np.array(points, np.float32), place, True)
            level = int(distance > 0)
        else:
            distance = min(_distance(place, a, b) for a, b in pairwise(points))
            if person.place is not None:
                person.level += sum(_crossing(person.place, place, a, b) for a, b in pairwise(points))
            level = person.level
        person.place = place[0], place[1]
        away = abs(distance) >= params.margin * rows.heights[n]
        person.sightings.append((int(rows.frame[n]), t_s, level, bool(away)))
    return [person.sightings for person in pieces]


def _judge(
    number: int,
    track: int,
    zone: Zone,
    sightings: list,
    params: ZoneParams,
    visits: list[Visit],
    crossings: list[Crossing],
) -> None:
    certain: int | None = None
    since: int | None = None  # index of the first sighting on another level
    entered: int | None = None

    def count(new: int, at: int) -> None:
        nonlocal certain, entered
        if zone.shape == "line":
            steps = 0 if certain is None else new - certain
            name: Literal["left_to_right", "right_to_left"] = "left_to_right" if steps > 0 else "right_to_left"
            crossings.extend([Crossing(number, track, sightings[at][0], sightings[at][1], name)] * abs(steps))
        elif new == 1:
            entered = at
        elif entered is not None:
            first, last = sightings[entered], sightings[at - 1]
            visits.append(Visit(number, track, first[0], last[0], first[1], sightings[at][1]))
            entered = None
        certain = new

    for n, (_, t_s, level, _) in enumerate(sightings):
        if level == certain:
            since = None
            continue
        if since is None or (certain is None and level != sightings[n - 1][2]):
            since = n
        stayed, away = t_s - sightings[since][1] + 1e-3, any(one[3] for one in sightings[since : n + 1])
        if (away and (certain is None or stayed >= params.inertia_s)) or stayed >= params.standing_s:
            count(level, since)
            since = None
    last = sightings[-1][2]
    if since is not None and (certain is None or any(one[3] for one in sightings[since:])):
        count(last, since)
    if entered is not None:
        first, end = sightings[entered], sightings[-1]
        visits.append(Visit(number, track, first[0], end[0], first[1], end[1]))


def _distance(place: tuple, a: tuple, b: tuple) -> float:
    along = (b[0] - a[0], b[1] - a[1])
    share = ((place[0] - a[0]) * along[0] + (place[1] - a[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    share = min(max(share, 0.0), 1.0)
    return float(np.hypot(place[0] - a[0] - share * along[0], place[1] - a[1] - share * along[1]))


def _crossing(start: tuple, end: tuple, a: tuple, b: tuple) -> int:
    """1 for a way from the left of a-b to its right, -1 for one back, 0 for none: by solving for the meeting point."""
    way, line = (end[0] - start[0], end[1] - start[1]), (b[0] - a[0], b[1] - a[1])
    turn = line[0] * way[1] - line[1] * way[0]
    if turn == 0:
        return 0
    offset = (a[0] - start[0], a[1] - start[1])
    on_way = (line[0] * offset[1] - line[1] * offset[0]) / turn
    on_line = (way[0] * offset[1] - way[1] * offset[0]) / turn
    return int(np.sign(turn)) if 0 <= on_way < 1 and 0 <= on_line < 1 else 0
