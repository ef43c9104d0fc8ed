"""Ctrl-C, a signal and Cancel on Prefect's pages end a batch as cancelled; the next run continues."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from prefect import get_client
from prefect.states import Cancelling

from deployments.cli import main
from flows.nightly_batch import nightly_batch
from models.types import NightjarError
from storage.ledger import leases as ledger
from storage.sql.query import query
from tasks.site.owner import PROCESS
from tasks.site.site import open_site
from tests.deployments.running import ROOT, wait_for
from tests.flows.conftest import has_spot, register_tiny_model, spot_video

NIGHTJAR = Path(sys.executable).with_name("nightjar")
FRAMES = 40
LIMIT_S = 120.0

# For a sweep of this test's ledger only: the session's server also has runs of other tests.
NO_PREFECT = {"PREFECT_API_URL": ""}
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def archive(home: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """Two films, of which a simulated stick processes ten frames per second."""
    register_tiny_model(tiny_model)
    folder = tmp_path / "videos"
    folder.mkdir()
    spot_video(folder / "a.mp4", FRAMES)
    spot_video(folder / "b.mp4", FRAMES, first=FRAMES)
    return folder


@pytest.fixture
def running(archive: Path, home: Path) -> Iterator["subprocess.Popen[str]"]:
    """`nightjar run` over it, with one film done, in its own process group, as in a terminal."""
    settings = {"NIGHTJAR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [NIGHTJAR, "run", str(archive), "--model", "tiny", "--device", "SIMULATED:ms=100", "--overlay", "none"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        wait_for(
            lambda: ask("SELECT 1 FROM segments WHERE status = 'done'") or process.poll() is not None, LIMIT_S, list
        )
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        process.kill()
        process.wait()


def ask(statement: str) -> list[tuple[Any, ...]]:
    with open_site() as site:
        return list(query(site.engine, statement)[1])


def run_of_the_batch() -> Any:
    """Return the run's state in Prefect."""
    [(run_id,)] = ask("SELECT flow_run_id FROM batches ORDER BY batch_id LIMIT 1")
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run_id))


def cancel_in_prefect(process: "subprocess.Popen[str]") -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_of_the_batch().id, Cancelling())


def ctrl_c_twice(process: "subprocess.Popen[str]") -> None:
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)


def close_the_terminal(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGHUP)


def terminate(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "cancel",
    [
        ctrl_c_twice,
        *(pytest.param(how, marks=pytest.mark.slow) for how in (cancel_in_prefect, close_the_terminal, terminate)),
    ],
)
def test_a_cancelled_batch_is_cancelled_and_can_be_continued(
    cancel: Any, running: "subprocess.Popen[str]", archive: Path
) -> None:
    cancel(running)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 130, said
    assert said.rstrip().endswith("Cancelled. What was done is kept. Run it again to continue."), said
    assert "Traceback" not in said
    assert "Crash" not in said
    assert ask("SELECT status, error, segments_done, segments_missing FROM batches") == [
        ("cancelled", "cancelled. What was done is kept. Run it again to continue", 1, 1)
    ]
    assert ask("SELECT status, tries, owner FROM segments ORDER BY status") == [("done", 1, None), ("planned", 0, None)]
    run = run_of_the_batch()
    assert (run.state_name, "Run it again to continue" in run.state.message) == ("Cancelled", True)
    assert {"nightjar"} < set(run.tags)
    assert any(tag.startswith(PROCESS) for tag in run.tags)
    if cancel is ctrl_c_twice:
        assert nightly_batch(str(archive), "tiny", overlay="none").status == "completed"
        people = sum(has_spot(number) for number in range(2 * FRAMES))
        assert ask("SELECT count(*), count(DISTINCT video_id * 1000 + frame) FROM poses") == [(people, people)]


def test_a_mistyped_archive_leaves_no_batch_and_a_missing_one_can_be_forgotten(archive: Path) -> None:
    nightly_batch(str(archive), "tiny", overlay="none")
    with pytest.raises(Exception, match="nothing at"):
        nightly_batch(f"{archive}-mistyped", "tiny")
    assert ask("SELECT status FROM batches") == [("completed",)]
    archive.rename(f"{archive}-away")
    with pytest.raises(Exception, match="nothing at"):
        nightly_batch(str(archive), "tiny")
    assert ask("SELECT status FROM batches ORDER BY batch_id") == [("completed",), ("crashed",)]
    command = CliRunner().invoke
    assert command(main, ["sweep", "--expect-within", "26"], env=NO_PREFECT).exit_code == 1
    forgotten = command(main, ["batches", "--forget", "2"])
    assert (forgotten.exit_code, "Batch 2 (crashed) is hidden" in forgotten.output) == (0, True)
    assert command(main, ["sweep", "--expect-within", "26"], env=NO_PREFECT).exit_code == 0
    assert "crashed" not in command(main, ["batches"]).output
    assert ask("SELECT count(*) FROM batches WHERE forgotten_at IS NOT NULL") == [(1,)]
    for number, words in (("9", "Batch 9 does not exist"), ("3", "Batch 3 does not exist")):
        result = command(main, ["batches", "--forget", number])
        assert (result.exit_code, words in result.output) == (1, True)


def test_a_batch_waits_for_segments_leased_by_another(
    archive: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It then takes over the segments that the other one never finishes."""

    def fail(*_: object) -> None:
        raise NightjarError("the device is lost")

    with monkeypatch.context() as patch:
        patch.setattr("flows.nightly_batch.run_segments_task", fail)
        with pytest.raises(NightjarError):
            nightly_batch(str(archive), "tiny", overlay="none")
    with open_site() as site:
        assert ledger.claim(site.engine, 1, "another-host:7:7", 12.0)
        assert ledger.holders(site.engine, 1) == [("another-host:7:7", 1, 1)]
    report = nightly_batch(str(archive), "tiny", overlay="none")
    assert (report.status, report.counts.done, report.counts.missing) == ("completed", 2, 0)
    assert "Waiting for 1 segment of batch 1 (another-host:7:7)" in caplog.text
