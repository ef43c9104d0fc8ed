"""Flows that do almost nothing, for the tests of starting and ending runs."""

import json
import os
import time
from pathlib import Path

from prefect import flow, get_run_logger

NAMES = ("NIGHTJAR_HOME", "NIGHTJAR_DEVICE", "NIGHTJAR_FALLBACK", "NIGHTJAR_WORKER_NAME",
         "PREFECT_FLOWS_HEARTBEAT_FREQUENCY")  # fmt: skip


@flow(name="sleeper")
def sleeper(seconds: int = 600) -> None:
    time.sleep(seconds)


@flow(name="teller")
def teller() -> None:
    """Print the worker's settings."""
    get_run_logger().info(json.dumps({"folder": str(Path.cwd()), **{name: os.environ.get(name) for name in NAMES}}))
