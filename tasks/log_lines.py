"""Log lines that a name from outside can neither break in two nor colour, whoever writes them."""

import logging

from models.text import visible


class VisibleRecord(logging.LogRecord):
    """A record whose message is one line of visible signs. A traceback, which no name can begin, stays as it is."""

    def getMessage(self) -> str:
        return visible(super().getMessage())


def keep_log_lines_whole() -> None:
    """From now on every logger of this process, Prefect's too, makes such records."""
    logging.setLogRecordFactory(VisibleRecord)
