"""No external name breaks a log line in two, colours it or forges another one."""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefect.logging.formatters import PrefectFormatter

import tasks.runs.policy  # noqa: F401 # leaves the traceback of an error of ours out
from models.text import visible
from models.types import NightjarError
from storage.objects.places import ObjectError
from storage.sql.database import DatabaseError
from tasks.text.log_lines import keep_log_lines_whole, print_line

FORGED = "x.mp4\n12:00:00 | INFO | all is well \x1b[2J\u202e\udcff"
RECORD = re.compile(r"\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ ")
NAMES = st.text(max_size=30) | st.sampled_from(
    [FORGED, "a\\[/b].mp4", "%s %d", "{}", "\r", "\x85", "\u2028", "\n  File x"]
)


@contextmanager
def written_by(logger: str) -> Iterator[io.StringIO]:
    """Yield the output of a handler with Prefect's format, for records created as in a run."""
    before = logging.getLogRecordFactory()
    keep_log_lines_whole()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    text = "%(asctime)s.%(msecs)03d | %(levelname)-7s | %(name)s - %(message)s"
    handler.setFormatter(PrefectFormatter(text, "%H:%M:%S"))
    logging.getLogger(logger).addHandler(handler)
    try:
        yield written
    finally:
        logging.getLogger(logger).removeHandler(handler)
        logging.setLogRecordFactory(before)


@given(NAMES, st.booleans(), st.sampled_from(["prefect.flow_runs", "prefect.worker", "models.any"]))
def test_a_message_is_one_line(name: str, formatted_before: bool, logger: str) -> None:
    with written_by(logger) as written:
        if formatted_before:
            logging.getLogger(logger).warning(f"{name} is quarantined")
        else:
            logging.getLogger(logger).warning("%s is quarantined", name)
    [line, end] = written.getvalue().split("\n")
    assert not end
    assert RECORD.match(line)
    assert visible(line) == line
    assert line.endswith(f"{visible(name)} is quarantined")


@example(" ", ValueError)  # a note of blanks alone
@given(NAMES, st.sampled_from([ValueError, OSError, KeyError, ExceptionGroup]))
def test_a_traceback_forges_no_record(name: str, kind: type[Exception]) -> None:
    """For any text in another library's exception, its cause and its notes."""
    with written_by("prefect.flow_runs") as written:
        try:
            try:
                raise RuntimeError(name)
            except RuntimeError as cause:
                error = kind(name, [ValueError(name)]) if kind is ExceptionGroup else kind(name)
                error.add_note(name)
                raise error from cause
        except Exception:
            logging.getLogger("prefect.flow_runs").exception("%s failed", name)
    first, *rest = written.getvalue().rstrip("\n").split("\n")
    assert RECORD.match(first)
    assert all(visible(line) == line and (line.startswith("  ") or not line) for line in rest)
    assert "RuntimeError" in written.getvalue()


@pytest.mark.parametrize("error", [NightjarError(FORGED), DatabaseError(FORGED, FORGED), ObjectError(FORGED, FORGED)])
def test_a_nightjar_error_is_one_line_in_log_and_terminal(error: NightjarError) -> None:
    with written_by("prefect.flow_runs") as written:
        logging.getLogger("prefect.flow_runs").error("it failed: %s", error, exc_info=error)
    assert written.getvalue().count("\n") == 1, "one line without a traceback"
    assert written.getvalue().strip().isprintable()
    assert str(error).isprintable()


@given(NAMES)
def test_printed_text_is_one_line(name: str) -> None:
    written = io.StringIO()
    print_line(f"{name}: 3 frames", written)
    assert written.getvalue() == f"{visible(name)}: 3 frames\n"
    assert written.getvalue().count("\n") == 1
