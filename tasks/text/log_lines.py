"""Lines on a terminal and in a log that a name from outside can neither break in two, nor colour, nor forge."""

import logging
import sys
import traceback
from textwrap import indent
from typing import Any, TextIO

from models.text import visible


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print one line of visible signs: the only way by which a command prints words."""
    print(visible(text), file=file or sys.stdout)


class VisibleRecord(logging.LogRecord):
    """A record of which no line but the first begins at the margin.

    Its message is one line. A traceback is indented, since the text of somebody else's exception may hold line breaks
    and what looks like a record.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[1] is not None:
            self.exc_text = _indented("".join(traceback.format_exception(*self.exc_info)))

    def getMessage(self) -> str:
        return visible(super().getMessage())


def _indented(text: str) -> str:
    return indent("\n".join(map(visible, text.rstrip("\n").splitlines())), "  ")


def keep_log_lines_whole() -> None:
    """Let every logger of this process, Prefect's too, make such records from now on."""
    logging.setLogRecordFactory(VisibleRecord)
