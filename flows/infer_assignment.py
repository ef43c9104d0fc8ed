"""Flow infer-assignment: a worker of the edge pool does a part of a night. No SQL, no TensorFlow in it."""

from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from tasks.edge import work_on
from tasks.policy import FLOW, Help
from tasks.settings import read_settings


@flow(name="infer-assignment", flow_run_name="assignment {assignment}", **FLOW)
def infer_assignment(
    assignment: Annotated[
        str, Help("Key of what a nightly batch asks for"), Field(pattern="^[0-9a-f]{8}-[0-9a-f]{16}$")
    ],
) -> None:
    """Do the segments that a nightly batch gives to this worker. Batches start it; by hand there is nothing to do."""
    get_run_logger().info(work_on(assignment, read_settings()))
