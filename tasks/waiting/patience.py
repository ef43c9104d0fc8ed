"""Waiting for what is away: database, store, Prefect. A night is not lost because something was restarted."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from storage.objects.places import ObjectError, StoreError, UnreachableError
from storage.sql.database import DatabaseAwayError, DatabaseError, DataRefusedError
from tasks.text.wording import duration
from tasks.waiting.outages import ServerAwayError

T = TypeVar("T")

log = logging.getLogger(__name__)

OUTAGE_LIMIT_S = 1800.0
TRY_EVERY_S = 1.0
SAY_EVERY_S = 60.0
AWAY: tuple[type[Exception], ...] = (StoreError, DatabaseError)


def is_away(error: Exception) -> bool:
    """Return True if store or database are unreachable, as opposed to a faulty object or value.

    For those that have answered before: what they say now, a full disk for instance, somebody will repair.
    """
    return isinstance(error, AWAY) and not isinstance(error, ObjectError | DataRefusedError)


def may_pass(error: Exception) -> bool:
    """Return True if a silent server may answer later, as opposed to a wrong address, name or password."""
    return isinstance(error, UnreachableError | DatabaseAwayError | ServerAwayError)


@dataclass(frozen=True)
class Patience:
    """Repeat a step while something is away.

    The log tells what is waited for, at once, every minute and when the reason changes; and when it is back.

    limit_s: the longest wait; 0 = none
    passes: the errors to wait for; all others are raised at once
    """

    limit_s: float = OUTAGE_LIMIT_S
    passes: Callable[[Exception], bool] = may_pass

    def __call__(self, step: Callable[[], T]) -> T:
        """Return the step's result. The step must be safe to repeat. Raises its last error after limit_s."""
        since: float | None = None
        say_at, said = 0.0, Exception
        while True:
            try:
                result = step()
            except Exception as error:
                now = time.monotonic()
                since = now if since is None else since
                if not self.passes(error) or now - since >= self.limit_s:
                    raise
                if now >= say_at or type(error) is not said:
                    self._say(error, now - since)
                    say_at, said = now + SAY_EVERY_S, type(error)
                time.sleep(TRY_EVERY_S)
            else:
                if since is not None:
                    log.warning("back after %s, going on", duration(time.monotonic() - since))
                return result

    def _say(self, error: Exception, waited_s: float) -> None:
        so_far = f"for {duration(waited_s)} so far, " if waited_s else ""
        log.warning("waiting %sat most %s: %s", so_far, duration(self.limit_s), error)
