"""A fleet's night over an archive in S3, by two workers of one machine that share its cache."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.objects.s3 import Bucket, S3Options
from tasks.runs.edge_runs import EdgeRuns
from tasks.site.settings import read_settings
from tests.chaos.processes import Worker, clean_environment
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.fleet import deploy_edge
from tests.flows.test_nightly_batch import ask, assert_rows_are_right, run
from tests.servers_prefect import PrefectServer

pytestmark = [pytest.mark.usefixtures("home"), pytest.mark.timeout(600)]

VIDEOS, FRAMES = 4, 150
MS = 40  # per frame: one stick needs longer for all of them than a run needs to start


@pytest.fixture
def archive(
    tmp_path: Path,
    home: Path,
    tiny_model: Path,
    swift_options: S3Options,
    swift_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Videos in segments of a second, so that both workers need each video repeatedly."""
    for number in range(VIDEOS):
        path = spot_video(tmp_path / f"{number}.mp4", FRAMES, first=number * 1000)
        Bucket(swift_bucket, swift_options).put_file(f"videos/{number}.mp4", path)
    settings = {
        "ARTIFACTS": f"s3://{swift_bucket}/nightjar",
        "S3_ENDPOINT_URL": swift_options.endpoint_url,
        "S3_ACCESS_KEY_ID": swift_options.access_key,
        "S3_SECRET_ACCESS_KEY": swift_options.secret_key,
        "LEASE_S": 10,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"NIGHTJAR_{name}", str(value))
    read_settings.cache_clear()
    register_tiny_model(tiny_model)
    return f"s3://{swift_bucket}/videos"


@pytest.fixture
def workers(archive: str, prefect_fleet: PrefectServer, tmp_path: Path) -> Iterator[list[Worker]]:
    """Two workers with one home, as in docs/edge.md for two sticks on one machine."""
    deploy_edge()
    settings = {name: value for name, value in os.environ.items() if name.startswith("NIGHTJAR_")}
    with ExitStack() as held:
        machine = []
        for name in ("stick-1", "stick-2"):
            device = {"NIGHTJAR_DEVICE": f"SIMULATED:ms={MS},id={name[-1]}"}
            environment = {**clean_environment(), **settings, **device, "PREFECT_API_URL": prefect_fleet.api_url}
            machine.append(Worker(name, tmp_path / "pi", environment))
            held.callback(machine[-1].end)
            machine[-1].start()
        with EdgeRuns() as runs:
            deadline = time.monotonic() + 180
            while not {"stick-1", "stick-2"} <= set(runs.workers()):
                assert time.monotonic() < deadline, "both workers come online"
                time.sleep(0.3)
        yield machine


@pytest.mark.slow
def test_every_row_is_stored_and_nothing_quarantined(workers: list[Worker], archive: str) -> None:
    report = run(archive, dispatch="fleet", segment_s=1)
    assert (report.status, report.refused) == ("completed", [])
    assert report.counts.frames_done == VIDEOS * FRAMES
    for number in range(VIDEOS):
        assert_rows_are_right(f"{number}.mp4", FRAMES, first=number * 1000)
    assert ask("SELECT count(*) FROM segments WHERE status <> 'done' OR tries > 1") == [(0,)], "no attempt failed"
    assert {row[0] for row in ask("SELECT DISTINCT worker FROM segments")} == {worker.name for worker in workers}
