"""Waiting out what is away: database, store, Prefect. A night is not lost because something was restarted."""

import time
from collections.abc import Callable
from typing import TypeVar

from storage.database import DatabaseError
from storage.places import StoreError

T = TypeVar("T")

OUTAGE_LIMIT_S = 1800.0
TRY_EVERY_S = 1.0
AWAY: tuple[type[Exception], ...] = (StoreError, DatabaseError)


def patiently(
    step: Callable[[], T],
    say: Callable[[Exception], None],
    away: tuple[type[Exception], ...] = AWAY,
    limit_s: float = OUTAGE_LIMIT_S,
) -> T:
    """What the step gives, tried again while something is away; the step must bear to be done again.

    say: told of each failure. Raises the last one when it has gone on for limit_s.
    """
    since: float | None = None
    while True:
        try:
            return step()
        except away as error:
            since = since or time.monotonic()
            if time.monotonic() - since > limit_s:
                raise
            say(error)
            time.sleep(TRY_EVERY_S)
