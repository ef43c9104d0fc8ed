"""The events that `nightjar events` lists. Read only."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Engine, text

from storage.sql.clock import UtcDateTime
from storage.sql.database import reading


@dataclass(frozen=True)
class EventFilter:
    """Choice of events. None = all; since: only those with a clock that begin then or later"""

    since: datetime | None = None
    camera: str | None = None
    rule: str | None = None


class ListedEvent(NamedTuple):
    """A row of the view events. sha256: of the video in which the event begins"""

    from_at: datetime | None
    to_at: datetime | None
    rule: str
    camera: str | None
    video: str
    track: int | None
    zone: str | None
    from_s: float
    to_s: float
    peak_frame: int
    score: float
    severity: str
    event_key: str
    sha256: str


def list_events(engine: Engine, chosen: EventFilter) -> list[ListedEvent]:
    """Return the events, the latest first; those without a clock come last, by video."""
    where = {"since": "e.from_at >= :since", "camera": "e.camera = :camera", "rule": "e.rule = :rule"}
    values = {name: value for name in where if (value := getattr(chosen, name)) is not None}
    conditions = " AND ".join(["1 = 1", *(where[name] for name in values)])
    if chosen.since is not None:
        values["since"] = UtcDateTime().process_bind_param(chosen.since, engine.dialect)
    columns = ", ".join(f"{'v' if name == 'sha256' else 'e'}.{name}" for name in ListedEvent._fields)
    statement = text(
        f"SELECT {columns} FROM events AS e JOIN videos AS v ON v.video_id = e.video_id"  # noqa: S608 # our names
        f" WHERE {conditions}"
        " ORDER BY CASE WHEN e.from_at IS NULL THEN 1 ELSE 0 END, e.from_at DESC, e.video, e.from_s, e.rule, e.track"
    )
    with reading(engine) as connection:
        return [_listed(tuple(row)) for row in connection.execute(statement, values)]


def _listed(row: tuple[object, ...]) -> ListedEvent:
    from_at, to_at = (_instant(value) for value in row[:2])
    return ListedEvent(from_at, to_at, *row[2:])  # type: ignore[arg-type]


def _instant(value: object) -> datetime | None:
    """Return a time of either database; SQLite has text."""
    if value is None:
        return None
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(found, datetime)
    return found.astimezone(UTC)
