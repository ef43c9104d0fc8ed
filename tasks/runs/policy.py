"""Common settings of all tasks and flows: nothing is cached or pickled, errors for users show no trace."""

import logging
from typing import Any, TypeVar

from prefect.cache_policies import NO_CACHE

from models.types import NightjarError
from tasks.runs.logs import show_log_lines

# Prefect pickles results and takes a cached record for the truth; ours is the ledger.
TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
FLOW: dict[str, Any] = {"persist_result": False}
T = TypeVar("T")


def unwalked(made: type[T]) -> type[T]:
    """Have Prefect hand on the objects of a dataclass as they are.

    It goes through all fields of a dataclass, and on through lists and dicts, several times per task: minutes where
    they hold the files of a large archive. It knows a dataclass by this attribute, and the class needs it no more.
    """
    del made.__dataclass_fields__  # type: ignore[attr-defined]
    return made


class _NoTrace(logging.Filter):
    """A NightjarError says by itself what was found, expected and the remedy: thirty lines of trace hide it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], NightjarError):
            record.exc_info = record.exc_text = None
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_NoTrace())

show_log_lines()  # every process that runs flows or tasks imports this module
