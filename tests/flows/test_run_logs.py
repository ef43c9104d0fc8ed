"""Log lines of plain functions, in the logs of their run on a real Prefect server and on the terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.settings import PREFECT_API_URL

ROOT = Path(__file__).parents[2]
RUN = "the-only-run"
SCRIPT = f"""
import logging
from prefect import flow, task
from tasks.runs.policy import FLOW, TASK

deep = logging.getLogger("storage.deep.down")

def plain():
    deep.info("from deep down")
    deep.debug("below the level")

@task(name="dig", task_run_name="dig", **TASK)
def dig():
    plain()

@flow(name="mine", flow_run_name="{RUN}", **FLOW)
def mine():
    logging.getLogger("models.any").warning("before %s", "the task")
    dig()

deep.info("outside of a run")
mine()
"""

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_plain_functions_line_is_shown_once_on_terminal_and_run(tmp_path: Path) -> None:
    settings = {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )
    shown = [re.sub(r"^[\d:.]+ \| ", "", line) for line in done.stderr.splitlines()]
    ours = [line for line in shown if re.search("deep|before|below|outside|attempted to send", line)]
    assert ours == [
        "INFO    | storage.deep.down - outside of a run",
        f"WARNING | Flow run {RUN!r} - before the task",
        "INFO    | Task run 'dig' - from deep down",
    ]
    with get_client(sync_client=True) as client:
        [run] = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[RUN])))
    assert [line for line in logs_of(run.id) if not line[0].startswith("prefect.")] == [
        ("models.any", 30, "before the task", False),
        ("storage.deep.down", 20, "from deep down", True),
    ]


def logs_of(run_id: object) -> list[tuple[str, int, str, bool]]:
    """Logger, level and text of each line that the run's page shows, and whether a task wrote it."""
    filters = {"logs": {"flow_run_id": {"any_": [str(run_id)]}}, "sort": "TIMESTAMP_ASC"}
    lines = httpx.post(f"{PREFECT_API_URL.value()}/logs/filter", json=filters, timeout=30).raise_for_status().json()
    return [(line["name"], line["level"], line["message"], line["task_run_id"] is not None) for line in lines]
