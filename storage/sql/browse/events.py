"""Events of the events page: a page of them with what their pictures need, and the choices of its filters."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from models.types import KEYPOINT_NAMES
from storage.sql.clock import UtcDateTime
from storage.sql.database import reading
from storage.sql.tables import SEVERITIES

PAGE_EVENTS = 24
MOST_PEOPLE = 50  # drawn into one picture
NO_CAMERA = ""


@dataclass(frozen=True)
class EventChoice:
    """Filters of the events page. None = all.

    camera: "" = videos without a camera
    since, until: only events with a clock that last until `since` or longer, and begin before `until`
    mark: right, wrong, marked or unmarked
    event: the key of a single one
    """

    rule: str | None = None
    camera: str | None = None
    severity: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    track: int | None = None
    mark: str | None = None
    event: str | None = None


class PeakPerson(NamedTuple):
    """A person in the frame of an event's peak.

    keypoints: 17 x, y in pixels of the displayed frame, in COCO's order; None = not found
    """

    person: int
    track: int | None
    score: float
    keypoints: list[tuple[float, float] | None]


class ShownEvent(NamedTuple):
    """An event with its mark, its videos and the people of its peak.

    sha256: of the video in which it begins; peak_sha256, width, height: of that of its peak
    time_zone: of the camera, None without one
    mark: None = unmarked
    """

    event_key: str
    rule: str
    rule_version: str
    severity: str
    camera: str | None
    video: str
    track: int | None
    zone: str | None
    from_s: float
    to_s: float
    from_at: datetime | None
    to_at: datetime | None
    peak_s: float
    peak_frame: int
    peak_video_id: int
    score: float
    recording_id: int
    model_version_id: int
    sha256: str
    peak_sha256: str
    width: int
    height: int
    time_zone: str | None
    mark: str | None
    note: str | None
    people: list[PeakPerson]


class EventChoices(NamedTuple):
    """Values that the filters offer. cameras: NO_CAMERA where there are events without one"""

    rules: list[str]
    cameras: list[str]
    severities: list[str]


CONDITIONS = {
    "rule": "e.rule = :rule",
    "camera": "coalesce(e.camera, '') = :camera",
    "severity": "e.severity = :severity",
    "since": "e.to_at >= :since",
    "until": "e.from_at < :until",
    "track": "e.track = :track",
    "event": "e.event_key = :event",
}
MARKS = {
    "right": "m.mark = 'right'",
    "wrong": "m.mark = 'wrong'",
    "marked": "m.mark IS NOT NULL",
    "unmarked": "m.mark IS NULL",
}
_FROM = "FROM events AS e LEFT JOIN event_marks AS m ON m.event_key = e.event_key"
_OF_EVENT = ", ".join(f"e.{name}" for name in ShownEvent._fields[:18])
_PAGE = f"""
SELECT {_OF_EVENT}, v.sha256, p.sha256, p.width, p.height, r.time_zone, e.mark, e.note
FROM (
    SELECT e.*, m.mark, m.note {_FROM}
    WHERE {{conditions}}
    ORDER BY CASE WHEN e.from_at IS NULL THEN 1 ELSE 0 END, e.from_at DESC, e.video, e.from_s, e.rule, e.event_key
    LIMIT :most OFFSET :skipped
) AS e
JOIN videos AS v ON v.video_id = e.video_id
JOIN videos AS p ON p.video_id = e.peak_video_id
JOIN recordings AS r ON r.recording_id = e.recording_id
ORDER BY CASE WHEN e.from_at IS NULL THEN 1 ELSE 0 END, e.from_at DESC, e.video, e.from_s, e.rule, e.event_key
"""  # noqa: S608 # our names
_PEOPLE = text(f"""
SELECT p.person, p.track, p.score, {", ".join(f"p.{name}_x, p.{name}_y" for name in KEYPOINT_NAMES)}
FROM people AS p
WHERE p.video_id = :video_id AND p.frame = :frame AND p.model_version_id = :model AND p.recording_id = :recording
ORDER BY p.person LIMIT :most
""")  # noqa: S608 # our names


def count_events(engine: Engine, choice: EventChoice) -> int:
    """Count the events of a choice."""
    conditions, values = _conditions(engine, choice)
    with reading(engine) as connection:
        statement = text(f"SELECT count(*) {_FROM} WHERE {conditions}")  # our text
        return int(connection.execute(statement, values).scalar_one())


def events_page(engine: Engine, choice: EventChoice, page: int = 1) -> list[ShownEvent]:
    """Return a page of the events, the latest first; those without a clock come last. page: from 1"""
    conditions, values = _conditions(engine, choice)
    place = {"most": PAGE_EVENTS, "skipped": (page - 1) * PAGE_EVENTS}
    with reading(engine) as connection:
        rows = connection.execute(text(_PAGE.replace("{conditions}", conditions)), values | place).all()
        return [_shown(connection, tuple(row)) for row in rows]


def _conditions(engine: Engine, choice: EventChoice) -> tuple[str, dict[str, Any]]:
    values = {name: value for name in CONDITIONS if (value := getattr(choice, name)) is not None}
    for name in {"since", "until"} & values.keys():
        values[name] = UtcDateTime().process_bind_param(values[name], engine.dialect)
    parts = ["1 = 1", *(CONDITIONS[name] for name in values)]
    if choice.mark is not None:
        parts.append(MARKS[choice.mark])
    return " AND ".join(parts), values


def _shown(connection: Connection, row: tuple[Any, ...]) -> ShownEvent:
    event = ShownEvent._make((*row, []))
    from_at, to_at = _instant(event.from_at), _instant(event.to_at)
    return event._replace(from_at=from_at, to_at=to_at, people=_people(connection, event))


def _people(connection: Connection, event: ShownEvent) -> list[PeakPerson]:
    place = {"video_id": event.peak_video_id, "frame": event.peak_frame, "model": event.model_version_id}
    rows = connection.execute(_PEOPLE, {**place, "recording": event.recording_id, "most": MOST_PEOPLE})
    return [PeakPerson(row[0], row[1], row[2], _points(tuple(row[3:]))) for row in rows]


def _points(values: tuple[float | None, ...]) -> list[tuple[float, float] | None]:
    pairs = zip(values[::2], values[1::2], strict=True)
    return [None if x is None or y is None else (x, y) for x, y in pairs]


def _instant(value: object) -> datetime | None:
    return UtcDateTime().process_result_value(value, None)  # type: ignore[arg-type]


def event_choices(engine: Engine) -> EventChoices:
    """Return the rules and cameras that have events, and the severities from mild to severe."""
    with reading(engine) as connection:
        rows = connection.execute(_CHOICES).all()
    values = [{row[place] for row in rows} for place in range(3)]
    return EventChoices(sorted(values[0]), sorted(values[1]), [name for name in SEVERITIES if name in values[2]])


_CHOICES = text("SELECT DISTINCT rule, coalesce(camera, ''), severity FROM events")
