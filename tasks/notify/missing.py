"""Messages about nights that did not take place. Each is sent once, however often a sweep finds it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from storage.ledger.messages import Message, queue
from storage.sql.database import Database, writing
from tasks.notify.addresses import Address
from tasks.notify.texts import harmless


class MissedNight(NamedTuple):
    """A night without a batch. expected_at: its start by the schedule; last: description of the last batch, or "" """

    archive: str
    expected_at: datetime
    last: str

    def about(self, zone: ZoneInfo) -> str:
        """Return the name of the night: its archive and the day, by whatever it was expected."""
        return f"{self.archive} {self.expected_at.astimezone(zone):%Y-%m-%d}"


def queue_missed(engine: Database, addresses: Sequence[Address], nights: Sequence[MissedNight], zone: ZoneInfo) -> int:
    """Pass missed nights to the outbox. Returns the number of new messages."""
    found = [Message("missing_night", night.about(zone), _content(night, zone)) for night in nights]
    if not (found and addresses):
        return 0
    with writing(engine) as connection:
        return queue(connection, [each.sha256 for each in addresses], found)


def _content(night: MissedNight, zone: ZoneInfo) -> dict[str, str]:
    expected = night.expected_at.astimezone(zone)
    lines = [
        f"No batch over {harmless(night.archive)} has started, although one was due at {expected:%Y-%m-%d %H:%M}.",
        night.last,
        "Check that the machine was on, and that Prefect's server and worker run. Then run 'nightjar run'.",
    ]
    return {
        "title": f"No night on {expected:%d %b}",
        "text": "\n".join(filter(None, lines)),
        "severity": "critical",
    }
