"""State of a run in Prefect, for scheduling decisions and messages. Imports no Prefect."""

from typing import NamedTuple

RESUME_HINT = "What was done is kept. Run it again to continue"


class RunState(NamedTuple):
    """State of a run in Prefect. over: it has ended; taken: a worker has started its process, or is about to"""

    name: str
    over: bool
    taken: bool
    message: str
