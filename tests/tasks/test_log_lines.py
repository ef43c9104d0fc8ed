"""No name from outside breaks a log line in two, colours it or forges another one."""

import io
import logging
from collections.abc import Iterator

import pytest

from models.types import NightjarError
from storage.database import DatabaseError
from storage.places import ObjectError
from tasks.log_lines import keep_log_lines_whole

FORGED = "x.mp4\n12:00:00 | INFO | all is well \x1b[2J\u202e\udcff"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a handler writes, of records that are made as in a run."""
    before = logging.getLogRecordFactory()
    keep_log_lines_whole()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger("prefect.flow_runs").addHandler(handler)
    yield written
    logging.getLogger("prefect.flow_runs").removeHandler(handler)
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize("template", ["%s is quarantined", "{}"], ids=["argument", "formatted before"])
def test_a_message_is_one_line(lines: io.StringIO, template: str) -> None:
    arguments = () if template == "{}" else (FORGED,)
    logging.getLogger("prefect.flow_runs").warning(template.replace("{}", FORGED), *arguments)
    assert lines.getvalue().count("\n") == 1
    assert lines.getvalue().strip().isprintable()
    assert "x.mp4\\n12:00:00" in lines.getvalue()


@pytest.mark.parametrize(
    "error", [NightjarError(FORGED), DatabaseError(FORGED, FORGED, FORGED), ObjectError(FORGED, FORGED, FORGED)]
)
def test_an_error_of_ours_is_one_line_in_a_log_a_traceback_and_a_terminal(
    lines: io.StringIO, error: NightjarError
) -> None:
    logging.getLogger("prefect.flow_runs").error("it failed", exc_info=error)
    assert all(line.isprintable() for line in lines.getvalue().splitlines())
    assert not any(line.startswith("12:00:00") for line in lines.getvalue().splitlines())
    assert str(error).isprintable()
