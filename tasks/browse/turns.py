"""A limit of work at a time, with a line that is limited too."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from models.types import NightjarError


class BusyError(NightjarError):
    """Too many requests wait for the same kind of work. The same request may succeed later."""


class Turns:
    """Lets `most` callers work at once and `waiting` more wait; any other is refused at once."""

    def __init__(self, most: int, waiting: int) -> None:
        self._work = threading.BoundedSemaphore(most)
        self._places = threading.BoundedSemaphore(most + waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and hold it while the context lasts. Raises BusyError if too many wait."""
        if not self._places.acquire(blocking=False):
            raise BusyError("Too many videos are being read at once. Try again in a moment.")
        try:
            with self._work:
                yield
        finally:
            self._places.release()
