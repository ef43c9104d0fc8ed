"""Flow infer-assignment: one worker's part of a batch on the edge pool. No SQL, no TensorFlow."""

import logging
import socket
from typing import Annotated, Any

from prefect import flow

from models.spec import Option
from tasks.fleet.worker import work_on
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.settings import read_settings

log = logging.getLogger(__name__)


def _run_name(given: dict[str, Any]) -> str:
    """Name the run by worker and device first, as the runs of a batch otherwise look the same to users."""
    settings = read_settings()
    return f"{settings.worker_name or socket.gethostname()}/{settings.device}, assignment {given['assignment'][:6]}"


DESCRIPTION = """\
One worker's share of a nightly batch that runs on the fleet. Batches start these runs by themselves; started by
hand they have nothing to do.
"""


@flow(name="infer-assignment", flow_run_name=named_after(_run_name), description=DESCRIPTION, **FLOW)
def infer_assignment(
    assignment: Annotated[
        str, Option("Key of the segments that a nightly batch gives.", pattern="^[0-9a-f]{8}-[0-9a-f]{16}$")
    ],
) -> None:
    """Process the segments that a nightly batch gives to this worker. Started by hand, it has nothing to do."""
    log.info(work_on(assignment, read_settings()))
