"""Interruption of SQLite statements by a signal that Python received, or by a limit of the caller."""

import sqlite3
from collections.abc import Callable, Generator

# Of SQLite's virtual machine, between two checks: some hundredths of a second. Each check takes the GIL.
INSTRUCTIONS = 500_000


class StatementGuard:
    """A guard on the statements of a connection. An ended statement raises sqlite3.OperationalError: interrupted.

    Without it a signal waits for the end of the statement, which may take minutes: the driver returns to Python, where
    signals are handled, with the first row only.
    """

    def __init__(self, connection: sqlite3.Connection, over: Callable[[], BaseException | None] = lambda: None) -> None:
        """Install the guard. over: returns the reason to end the statement now, or None"""
        self._over = over
        self._reason: BaseException | None = None
        looks = self._look()
        next(looks)
        connection.set_progress_handler(looks.__next__, INSTRUCTIONS)

    def take_reason(self) -> BaseException | None:
        """Return once the reason for the last statement's end: a signal handler's exception, or that of `over`."""
        reason, self._reason = self._reason, None
        return reason

    def _look(self) -> Generator[bool]:
        """Yield whether the statement is to end.

        A generator, because Python runs a signal's handler when a frame starts or resumes. A function's frame starts
        before its `try`, and the driver drops exceptions of a callback; a generator resumes inside its `try`.
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
