"""Requests of a fleet to its store, counted by a proxy in front of a real S3 server."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage.objects.artifacts import Artifacts, open_artifacts
from storage.objects.s3 import S3Options
from tasks.fleet import messages as orders
from tasks.fleet import parent as fleet_dispatch
from tasks.fleet import worker as edge
from tasks.fleet.status_reporter import StatusReporter
from tests.s3_faults import FaultProxy, running
from tests.storage.samples import make_video
from tests.tasks.fleet import test_parent as test_fleet_dispatch
from tests.tasks.fleet.test_parent import Stage

SECONDS = 6.0
MOST_PER_S = 15.0


class Counted:
    """A store behind a proxy that counts its requests."""

    def __init__(self, held: ExitStack, options: S3Options, bucket: str) -> None:
        assert options.endpoint_url is not None
        self.proxy = FaultProxy(options.endpoint_url, rate=0.0)
        address = held.enter_context(running(self.proxy))
        through = S3Options(**{**vars(options), "endpoint_url": address})
        self.store: Artifacts = open_artifacts(f"s3://{bucket}/site", through)

    @property
    def requests(self) -> int:
        return self.proxy.seen.total()


@pytest.mark.parametrize("busy", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_the_parents_requests_barely_grow_with_its_workers(
    busy: int, tmp_path: Path, swift_options: S3Options, swift_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker counts 30 frames per second, and the same number of runs waits."""
    monkeypatch.setattr(test_fleet_dispatch, "VIDEO", make_video(frames=20 * busy))
    with ExitStack() as held:
        parents, workers = (Counted(held, swift_options, swift_bucket) for _ in range(2))
        stage = Stage(tmp_path, store=parents.store)
        held.callback(stage.reader.close)
        stage.runs.online = [f"pi-{number}" for number in range(busy)]
        work(stage, workers.store, busy, held)
        begun, asked, told = time.monotonic(), parents.requests, workers.requests
        while time.monotonic() - begun < SECONDS:
            stage.fleet._tick()
            time.sleep(fleet_dispatch.TICK_S)
        per_s = (parents.requests - asked) / (time.monotonic() - begun)
        of_each = (workers.requests - told) / (time.monotonic() - begun) / busy
    assert per_s <= (MOST_PER_S if busy > 1 else 5), f"{per_s:.1f} requests per second"
    assert of_each <= 2.5, f"{of_each:.1f} requests per second of a busy worker and a waiting run"


def work(stage: Stage, store: Artifacts, busy: int, held: ExitStack) -> None:
    """Start the workers: each has one segment and reports it like an edge worker."""
    stopped = threading.Event()
    held.callback(stopped.set)
    while len(stage.runs.started) < busy:  # a tick asks Prefect for a bounded time
        stage.tick()
    for assignment_id, name in zip(list(stage.runs.started), stage.runs.online, strict=True):
        stage.fleet._speeds[name] = 1e-3
        reporter = held.enter_context(StatusReporter(store, assignment_id, name, "CPU", 60))
        reporter.ready("CPU")
        thread = threading.Thread(target=count_frames, args=(reporter, stopped))
        thread.start()
        held.callback(thread.join)
        held.callback(stopped.set)
    while stage.ask("SELECT count(*) FROM segments WHERE status = 'leased'") != [(busy,)]:
        stage.tick()
        time.sleep(0.1)
    waiting = SimpleNamespace(artifacts=store, assignment_id="00000001-0123456789abcdef")
    for _ in range(busy):
        thread = threading.Thread(target=edge._await_order, args=(waiting, Silent(stopped)), daemon=True)
        thread.start()


class Silent:
    """The status reporter of a run that waits, whose own requests are counted with the busy ones."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    @property
    def revoked(self) -> bool:
        return self._stopped.is_set()

    def step(self) -> None: ...


def count_frames(reporter: StatusReporter, stopped: threading.Event) -> None:
    while not stopped.wait(1 / 30):
        reporter.add(1)


def test_a_listing_shows_which_statuses_changed(tmp_path: Path, swift_options: S3Options, swift_bucket: str) -> None:
    for place in (str(tmp_path), f"s3://{swift_bucket}/site"):
        store = open_artifacts(place, swift_options)
        names: list[Any] = ["00000001-aa", "00000001-bb", "00000002-aa"]
        for name in names[:2]:
            orders.write(store, orders.status_key(name), orders.Status(worker=name, device="CPU"))
        before = orders.status_stamps(store, names)
        assert before.keys() == set(names[:2])
        assert orders.status_stamps(store, names) == before
        orders.write(store, orders.status_key(names[1]), orders.Status(worker=names[1], device="CPU", progress=1))
        after = orders.status_stamps(store, names)
        assert (after[names[0]] == before[names[0]], after[names[1]] == before[names[1]]) == (True, False)
