"""What all tasks and flows have in common: nothing is cached or pickled, and what a user can mend shows no trace."""

import logging
from typing import Any

from prefect.cache_policies import NO_CACHE

from models.types import NightjarError

# Prefect pickles results and takes a cached record for the truth; ours is the ledger.
TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
FLOW: dict[str, Any] = {"persist_result": False}


class _NoTrace(logging.Filter):
    """A NightjarError says by itself what was found, expected and the remedy: thirty lines of trace hide it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], NightjarError):
            record.exc_info = None
        return True


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_NoTrace())
