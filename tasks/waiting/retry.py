"""Retries during outages of database, store or Prefect, so that a batch survives their restarts."""

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
LOG_EVERY_S = 60.0
AWAY: tuple[type[Exception], ...] = (StoreError, DatabaseError)


def is_away(error: Exception) -> bool:
    """Return True if store or database are unavailable, as opposed to a faulty object or value.

    For servers that have answered before: any other fault of theirs, such as a full disk, can be repaired meanwhile.
    """
    return isinstance(error, AWAY) and not isinstance(error, ObjectError | DataRefusedError)


def may_recover(error: Exception) -> bool:
    """Return True if a server may answer later, as opposed to a wrong address, name or password."""
    return isinstance(error, UnreachableError | DatabaseAwayError | ServerAwayError)


@dataclass(frozen=True)
class OutageRetry:
    """Repeats a step during an outage.

    The error is logged at once, every minute and when it changes; the end of the outage is logged, too.

    limit_s: maximum wait; 0 = no retry
    is_temporary: returns True for errors to wait for; others are raised at once
    """

    limit_s: float = OUTAGE_LIMIT_S
    is_temporary: Callable[[Exception], bool] = may_recover

    def __call__(self, step: Callable[[], T]) -> T:
        """Return the step's result. The step must be safe to repeat. Raises its last error after limit_s."""
        since: float | None = None
        log_at, logged = 0.0, Exception
        while True:
            try:
                result = step()
            except Exception as error:
                now = time.monotonic()
                since = now if since is None else since
                if not self.is_temporary(error) or now - since >= self.limit_s:
                    raise
                if now >= log_at or type(error) is not logged:
                    self._log(error, now - since)
                    log_at, logged = now + LOG_EVERY_S, type(error)
                time.sleep(TRY_EVERY_S)
            else:
                if since is not None:
                    log.warning("The outage ended after %s. Continuing.", duration(time.monotonic() - since))
                return result

    def _log(self, error: Exception, waited_s: float) -> None:
        so_far = f", waited {duration(waited_s)} so far" if waited_s else ""
        log.warning("%s. Retrying for at most %s%s.", str(error).rstrip("."), duration(self.limit_s), so_far)
