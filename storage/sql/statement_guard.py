"""Early ends of SQLite statements: a signal that Python received, or a limit of the caller's."""

import sqlite3
from collections.abc import Callable, Generator

# Of SQLite's virtual machine, between two looks: some hundredths of a second. Each look takes Python's lock.
INSTRUCTIONS = 500_000


class StatementGuard:
    """Guards the statements of a connection. A statement that is ended raises sqlite3.OperationalError: interrupted.

    Without it a signal waits for the end of the statement, which may take minutes: the driver returns to Python, where
    signals are handled, with the first row only.
    """

    def __init__(self, connection: sqlite3.Connection, over: Callable[[], BaseException | None] = lambda: None) -> None:
        """over: returns the reason to end the statement now, or None"""
        self._over = over
        self._reason: BaseException | None = None
        looks = self._look()
        next(looks)
        connection.set_progress_handler(looks.__next__, INSTRUCTIONS)

    def take_reason(self) -> BaseException | None:
        """End of the last statement, once: the exception of a signal's handler, or the result of `over`."""
        reason, self._reason = self._reason, None
        return reason

    def _look(self) -> Generator[bool]:
        """True where the statement is to end.

        A generator, for Python runs a signal's handler when a frame begins or goes on. That of a function begins
        before its `try`, and the driver drops what a callback raises; this one goes on inside of it.
        """
        stop = False
        while True:
            try:
                yield stop
                self._reason = self._over()
                stop = self._reason is not None
            except GeneratorExit:
                raise
            except BaseException as error:
                self._reason, stop = error, True
