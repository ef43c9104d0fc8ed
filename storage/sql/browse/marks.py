"""Marks of events as right or wrong: the only rows that the pages write, through a database that is opened for them."""

from typing import Literal, NamedTuple

from sqlalchemy import Engine, delete, text
from sqlalchemy.dialects import postgresql, sqlite

from models.types import NightjarError
from storage.sql.clock import database_now
from storage.sql.database import reading, storable, writing
from storage.sql.tables import event_marks

Mark = Literal["right", "wrong"]
NOTE_CHARACTERS = 2000


class RulePrecision(NamedTuple):
    """A row of the view rule_precision, with the number of events by this version that are shown now."""

    rule: str
    rule_version: str
    events: int
    marked: int
    marked_right: int
    marked_wrong: int
    precision: float | None


class UnknownEventError(NightjarError):
    """No event with this key is shown."""


def set_mark(engine: Engine, event_key: str, mark: Mark | None, note: str = "") -> None:
    """Mark an event that is shown, or remove its mark with its note. mark: None = remove

    Raises UnknownEventError, or NightjarError for a note that is too long.
    """
    if len(note) > NOTE_CHARACTERS:
        raise NightjarError(f"The note has {len(note):,} characters. Shorten it to {NOTE_CHARACTERS:,}.")
    with writing(engine) as connection:
        if mark is None:
            connection.execute(delete(event_marks).where(event_marks.c.event_key == event_key))
            return
        found = connection.execute(_EVENT, {"event_key": event_key}).first()
        if found is None:
            raise UnknownEventError("This event is no longer shown: its rule or its video was analysed anew. Reload.")
        changed = {
            "mark": mark,
            "note": storable(note),
            "rule": found.rule,
            "rule_version": found.rule_version,
            "marked_at": database_now(),
        }
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = make(event_marks).values(event_key=event_key, **changed)
        connection.execute(statement.on_conflict_do_update(index_elements=["event_key"], set_=changed))


_EVENT = text("""
SELECT u.rule, u.rule_version
FROM event_rows AS n JOIN rules AS u ON u.rule_id = n.rule_id
WHERE n.event_key = :event_key
ORDER BY n.event_id DESC LIMIT 1
""")


def rule_precisions(engine: Engine, rule: str | None = None) -> list[RulePrecision]:
    """Return each version of a rule that has events or marks, the shown ones first. rule: None = all"""
    with reading(engine) as connection:
        rows = connection.execute(_PRECISIONS, {"rule": rule})
        return [RulePrecision(*row) for row in rows]


_PRECISIONS = text("""
SELECT known.rule, known.rule_version, max(known.events), coalesce(max(p.marked), 0),
       coalesce(max(p.marked_right), 0), coalesce(max(p.marked_wrong), 0), max(p.precision)
FROM (
    SELECT rule, rule_version, count(*) AS events FROM events GROUP BY rule, rule_version
    UNION ALL
    SELECT rule, rule_version, 0 FROM event_marks GROUP BY rule, rule_version
) AS known
LEFT JOIN rule_precision AS p ON p.rule = known.rule AND p.rule_version = known.rule_version
WHERE CAST(:rule AS text) IS NULL OR known.rule = :rule
GROUP BY known.rule, known.rule_version
ORDER BY known.rule, max(known.events) DESC, known.rule_version
""")
