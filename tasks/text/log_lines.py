"""Log and terminal lines that names from outside can neither split nor colour nor forge."""

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from models.text import visible


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print one line with escaped control characters. Commands print all texts by this function."""
    print(visible(text), file=file or sys.stdout)


class VisibleRecord(logging.LogRecord):
    """A log record whose lines after the first are indented.

    Its message is one line. Tracebacks are indented, since an exception's text may contain line breaks and imitate a
    record.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[1] is not None:
            self.exc_text = _indented("".join(traceback.format_exception(*self.exc_info)))

    def getMessage(self) -> str:
        return visible(super().getMessage())


@contextmanager
def log_lines_on_terminal(packages: Iterable[str]) -> Iterator[None]:
    """Show the log lines of these packages on the terminal. For commands without Prefect, which shows those of runs."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s | %(levelname)-7s | %(message)s", "%H:%M:%S"))
    loggers = [logging.getLogger(package) for package in packages]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.removeHandler(handler)


def _indented(text: str) -> str:
    return "\n".join(f"  {visible(line)}" for line in text.rstrip("\n").splitlines())  # also lines of blanks


def keep_log_lines_whole() -> None:
    """Let every logger of this process, Prefect's included, create such records from now on."""
    logging.setLogRecordFactory(VisibleRecord)
