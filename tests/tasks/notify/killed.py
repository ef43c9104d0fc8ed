"""A night that passes events to the outbox and tells them until it is killed. No tests."""

import itertools
import os
import signal

from storage.ledger.messages import Message, queue
from storage.sql.database import open_database, writing
from tasks.notify.addresses import read_addresses
from tasks.notify.start import tell
from tasks.site.settings import read_settings


def tell_until_killed(environment: dict[str, str], name: str) -> None:
    """Add three events and tell them, then the next three."""
    signal.alarm(300)  # its end where the test itself is killed; no test takes longer
    os.environ.update(environment)
    read_settings.cache_clear()
    settings = read_settings()
    engine = open_database(settings.database)
    for number in itertools.count():
        content = {"title": f"{name} {number}", "text": "a fall", "severity": "critical"}
        found = [Message("event", f"{name} {number} {part}", content) for part in range(3)]
        with writing(engine) as connection:
            queue(connection, [each.sha256 for each in read_addresses(settings)], found)
        tell(engine, settings, wait_s=2.0)
