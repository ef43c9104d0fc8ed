"""A command's own server shows the tasks of its run, and does no other work."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

RUN = """
from deployments.prefect_server import ensure_server
from tasks.site.settings import prepare_prefect, read_settings
prepare_prefect(read_settings())
ensure_server()
from prefect import flow, task
@task(name="look", persist_result=False)
def look(): pass
@flow(name="a-run", persist_result=False)
def a_run(): look()
a_run()
import time; time.sleep(6)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_task_runs_are_recorded(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["NIGHTJAR_HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "The run can be watched at http://127.0.0.1:" in done.stderr
    time.sleep(0.5)
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        rows = database.execute("SELECT name, state_type FROM task_run").fetchall()
    assert [(name.split("-")[0], state) for name, state in rows] == [("look", "COMPLETED")]


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        pytest.param("evaluate absent --coco absent --images absent", True, marks=pytest.mark.slow),
        ("run absent --model absent", False),
    ],
)
def test_a_wrong_command_ends_the_server_that_it_started(tmp_path: Path, command: str, begins: bool) -> None:
    """The server starts in parallel with the checks, and errors are reported without waiting for it.

    A run checks first, because most nights need no server.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["NIGHTJAR_HOME"] = str(tmp_path)
    arguments = [sys.executable, "-m", "deployments.cli", *command.split()]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) as run:
        began = False
        while run.poll() is None:
            began = began or bool(servers_of(tmp_path))
        assert run.stderr is not None
        assert run.stderr.read().startswith("Error: ")
    assert run.returncode == 1
    assert began == begins
    assert not servers_of(tmp_path)


def servers_of(home: Path) -> list[int]:
    """Return the ids of the Prefect servers of a site."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"prefect\0server\0start" in command and str(home).encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found
