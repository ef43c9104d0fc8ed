"""Common settings of all tasks and flows: no caching, no pickling, no tracebacks for users' errors."""

import logging
from typing import Any

from prefect.cache_policies import NO_CACHE

from models.types import NightjarError
from tasks.runs.logs import show_log_lines

# Prefect would pickle results and trust its cache. The ledger is the truth here.
TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
FLOW: dict[str, Any] = {"persist_result": False}


class _NoTrace(logging.Filter):
    """Drop the traceback of a NightjarError, whose text explains the error by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], NightjarError):
            record.exc_info = record.exc_text = None
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_NoTrace())

show_log_lines()  # every process that runs flows or tasks imports this module
