"""Section [[zones]]: areas and lines in a camera's picture."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import combinations, pairwise
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.types import CameraZone
from tasks.site_file.section import Name, Section

MOST_POINTS = 100
Point: TypeAlias = tuple[float, float]


def _without_repeated_end(points: Any) -> Any:
    """Drop the last point of a polygon that repeats the first one, as many programs write it."""
    return points[:-1] if isinstance(points, list | tuple) and len(points) > 3 and points[0] == points[-1] else points


def _checked(least: int, closed: bool) -> Callable[[tuple[Point, ...]], tuple[Point, ...]]:
    def check(points: tuple[Point, ...]) -> tuple[Point, ...]:
        if not least <= len(points) <= MOST_POINTS:
            raise ValueError(f"It has {len(points)} points. Give {least} to {MOST_POINTS}.")
        if outside := next((point for point in points if not all(0 <= value <= 1 for value in point)), None):
            raise ValueError(
                f"The point [{outside[0]:g}, {outside[1]:g}] lies outside of the picture. Give fractions of its width "
                "and height, from 0 to 1."
            )
        edges = [*pairwise(points), *([(points[-1], points[0])] if closed else [])]
        if same := next((a for a, b in edges if a == b), None):
            raise ValueError(f"The point [{same[0]:g}, {same[1]:g}] is repeated. Give each point once.")
        if closed and (crossing := _crossing(edges)):
            raise ValueError(
                f"The edges from {_written(crossing[0])} and from {_written(crossing[1])} meet. Give the corners in "
                "their order around the zone."
            )
        return points

    return check


def _crossing(edges: Sequence[tuple[Point, Point]]) -> tuple[Point, Point] | None:
    """Return the starts of two edges of a polygon that meet elsewhere than at their common corner."""
    last = len(edges) - 1
    for (i, one), (j, other) in combinations(enumerate(edges), 2):
        if j - i == 1:
            meet = _turns_back(one, other)
        elif j - i == last:
            meet = _turns_back(other, one)
        else:
            meet = _meet(one, other)
        if meet:
            return one[0], other[0]
    return None


def _turns_back(before: tuple[Point, Point], after: tuple[Point, Point]) -> bool:
    """Return whether the second of two successive edges lies on the first one."""
    (a, b), (_, d) = before, after
    return _turn(a, b, d) == 0 and (b[0] - a[0]) * (d[0] - b[0]) + (b[1] - a[1]) * (d[1] - b[1]) < 0


def _meet(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Return whether two edges have a point in common."""
    turns = _turn(*one, other[0]), _turn(*one, other[1]), _turn(*other, one[0]), _turn(*other, one[1])
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((one, other[0]), (one, other[1]), (other, one[0]), (other, one[1]))
    return any(turn == 0 and _between(edge, point) for turn, (edge, point) in zip(turns, ends, strict=True))


def _turn(a: Point, b: Point, c: Point) -> float:
    """Return twice the area of a triangle; 0 = its corners lie on one line."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 0.0 if abs(area) < 1e-12 else area


def _between(edge: tuple[Point, Point], point: Point) -> bool:
    """Return whether a point of an edge's line lies on the edge."""
    return all(min(a, b) <= value <= max(a, b) for a, b, value in zip(*edge, point, strict=True))


def _written(point: Point) -> str:
    return f"[{point[0]:g}, {point[1]:g}]"


Polygon: TypeAlias = Annotated[
    tuple[Point, ...], BeforeValidator(_without_repeated_end), AfterValidator(_checked(3, closed=True))
]
Line: TypeAlias = Annotated[tuple[Point, ...], AfterValidator(_checked(2, closed=False))]


class ZoneEntry(Section):
    """A polygon or a line in fractions of the picture. kind: free text, such as bed or door

    from_: it holds from this time on, in the camera's time zone, until the next entry of the same camera and name;
        None = from the beginning
    """

    camera: Name
    name: Name
    kind: Name = "area"
    polygon: Polygon | None = None
    line: Line | None = None
    from_: datetime | None = Field(None, alias="from")

    @model_validator(mode="after")
    def _has_one_shape(self) -> "ZoneEntry":
        if (self.polygon is None) == (self.line is None):
            raise ValueError("It needs either a polygon or a line. Give one of them.")
        return self

    @property
    def shape(self) -> Literal["polygon", "line"]:
        return "line" if self.polygon is None else "polygon"

    @property
    def points(self) -> tuple[Point, ...]:
        return self.polygon or self.line or ()

    def from_utc(self, time_zone: ZoneInfo) -> datetime | None:
        """Return the time from which it holds, in UTC. A time without an offset is of this time zone."""
        if self.from_ is None:
            return None
        return (self.from_ if self.from_.tzinfo else self.from_.replace(tzinfo=time_zone)).astimezone(UTC)


def _distinct(zones: tuple[ZoneEntry, ...]) -> tuple[ZoneEntry, ...]:
    seen: set[tuple[str, str, datetime | None]] = set()
    for zone in zones:
        key = zone.camera, zone.name, zone.from_
        if key in seen:
            since = f"from {zone.from_}" if zone.from_ else "without a 'from'"
            raise ValueError(
                f"The zone {zone.name!r} of {zone.camera!r} is given twice {since}. Rename one, or give it a later "
                "'from'."
            )
        seen.add(key)
    return zones


Zones: TypeAlias = Annotated[tuple[ZoneEntry, ...], AfterValidator(_distinct)]


def zones_of(zones: Iterable[ZoneEntry], camera: str | None, time_zone: ZoneInfo | str) -> tuple[CameraZone, ...]:
    """Return the zones of a camera with their periods, ordered by name and time.

    time_zone: of the camera
    """
    zone_info = ZoneInfo(time_zone) if isinstance(time_zone, str) else time_zone
    by_name: dict[str, list[tuple[datetime | None, ZoneEntry]]] = {}
    for zone in zones:
        if zone.camera == camera:
            by_name.setdefault(zone.name, []).append((zone.from_utc(zone_info), zone))
    return tuple(period for name in sorted(by_name) for period in _periods(by_name[name]))


def _periods(entries: list[tuple[datetime | None, ZoneEntry]]) -> Iterator[CameraZone]:
    """Yield the entries of one name; each ends where the next one begins."""
    entries.sort(key=lambda entry: (entry[0] is not None, entry[0]))
    ends = [start for start, _ in entries[1:]] + [None]
    for (start, zone), end in zip(entries, ends, strict=True):
        yield CameraZone(zone.name, zone.kind, zone.shape, zone.points, start, end)
