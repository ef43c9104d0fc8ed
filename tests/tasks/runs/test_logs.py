"""Log lines of Nightjar's loggers without a run, and in a process with a configured root logger."""

import logging

import pytest
from prefect.logging.handlers import APILogHandler

from tasks.runs import logs
from tasks.runs.logs import PACKAGES, show_log_lines


def test_configuring_twice_adds_nothing() -> None:
    for _ in range(2):
        show_log_lines()
    for package in PACKAGES:
        own = [handler for handler in logging.getLogger(package).handlers if isinstance(handler, APILogHandler)]
        assert len(own) == 1
        assert logging.getLogger(package).level == logging.getLogger("prefect.extra").level


def test_a_line_outside_a_run_reaches_only_the_root_logger(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(APILogHandler, "emit", lambda *_: pytest.fail("sent to Prefect"))
    logging.getLogger("storage.deep.down").info("nobody's")
    assert caplog.messages == ["nobody's"]
    assert not recwarn.list


def test_other_packages_keep_their_format() -> None:
    record = logging.LogRecord("modelsmith.any", logging.INFO, __file__, 1, "theirs", (), None)
    inner = logging.Formatter("%(name)s - %(message)s")
    assert logs._RunFormatter(inner).format(record) == "modelsmith.any - theirs"


def test_lines_are_captured_after_a_library_replaced_the_handlers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("tasks.any").info("heard")
    assert caplog.messages == ["heard"]
