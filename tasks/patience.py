"""Waiting for what is away: database, store, Prefect. A night is not lost because something was restarted."""

import time
from collections.abc import Callable
from typing import TypeVar

from storage.database import DatabaseError, DataRefusedError
from storage.places import ObjectError, StoreError

T = TypeVar("T")

OUTAGE_LIMIT_S = 1800.0
TRY_EVERY_S = 1.0
AWAY: tuple[type[Exception], ...] = (StoreError, DatabaseError)


def is_away(error: Exception) -> bool:
    """Whether store or database are away, as opposed to an object or a value that is at fault."""
    return isinstance(error, AWAY) and not isinstance(error, ObjectError | DataRefusedError)


def patiently(
    step: Callable[[], T],
    say: Callable[[Exception], None],
    away: tuple[type[Exception], ...] = AWAY,
    limit_s: float = OUTAGE_LIMIT_S,
) -> T:
    """Return the step's result; repeat it while something is away. The step must be safe to repeat.

    say: called with each failure. Raises the last failure after limit_s, and a refusal of data at once.
    """
    since: float | None = None
    while True:
        try:
            return step()
        except DataRefusedError:
            raise
        except away as error:
            since = since or time.monotonic()
            if time.monotonic() - since > limit_s:
                raise
            say(error)
            time.sleep(TRY_EVERY_S)
