"""Log lines of Nightjar's modules in Prefect: in the log of their run, and on its terminal.

Modules log by `logging.getLogger(__name__)`, without Prefect. Its setting PREFECT_LOGGING_EXTRA_LOGGERS does not
suffice: it sets no level, so INFO lines are dropped, it warns about each line outside a run, and it is not set in
processes that other programs start.
"""

import copy
import logging

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.configuration import ensure_logging_setup
from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

PACKAGES = ("deployments", "flows", "models", "storage", "tasks")
# Prefect's logger for lines of other packages: its level is PREFECT_LOGGING_LEVEL.
TEMPLATE = "prefect.extra"


class _RunHandler(APILogHandler):
    """Send lines to the log of the current run, and drop lines outside a run."""

    def emit(self, record: logging.LogRecord) -> None:
        if TaskRunContext.get() or FlowRunContext.get():
            super().emit(record)


class _RunFormatter(logging.Formatter):
    """Show Nightjar's lines as Prefect shows those of its run loggers, with the run's name."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] in PACKAGES
        return self.inner.format(_as_line_of_run(record) if ours else record)


def _as_line_of_run(record: logging.LogRecord) -> logging.LogRecord:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    names = {"flow_run_name": flow.flow_run.name} if flow and flow.flow_run else {}
    if task:
        names["task_run_name"] = task.task_run.name
    if not names:
        return record
    shown = copy.copy(record)
    shown.name = "prefect.task_runs" if task else "prefect.flow_runs"
    vars(shown).update(names)
    return shown


def show_log_lines() -> None:
    """Let lines of Nightjar's loggers appear in the logs of runs and on the terminal, each once. Idempotent.

    Prefect's settings for its own loggers apply: the level, and sending lines to the server.
    """
    ensure_logging_setup()
    level = logging.getLogger(TEMPLATE).level
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(level)
        if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
            logger.addHandler(_RunHandler())
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler) and not isinstance(handler.formatter, _RunFormatter):
            handler.setFormatter(_RunFormatter(handler.formatter or logging.Formatter()))
