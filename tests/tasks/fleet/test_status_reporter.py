"""Reports of a run: while it works and waits, at its end, and when its device hangs."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.types import NightjarError
from storage.objects.artifacts import FolderArtifacts
from storage.objects.places import StoreError
from tasks.fleet import status_reporter
from tasks.fleet.messages import Done, Fault, Status, read_status, revoked_key
from tasks.fleet.status_reporter import EXIT_HUNG, StatusReporter

NAME = "0123456789abcdef"


class Store(FolderArtifacts):
    """A store that counts writes, and is down while `is_away`."""

    is_away, puts = False, 0

    def put_bytes(self, key: str, data: bytes) -> None:
        if self.is_away:
            raise StoreError("The store does not answer.", "Wait.")
        self.puts += 1
        super().put_bytes(key, data)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(status_reporter, "REPORT_EVERY_S", 0.05)
    return Store(tmp_path)


def told(store: Store, is_so: Callable[[Status], bool]) -> Status:
    deadline = time.monotonic() + 20
    while True:
        status = read_status(store, NAME)
        if status and is_so(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def test_it_reports_progress(store: Store) -> None:
    with StatusReporter(store, NAME, "pi-1", "CPU", 60) as reporter:
        reporter.ready("CPU (AMD)")
        assert not told(store, lambda status: status.ready).ended
        reporter.begin(0)
        assert told(store, lambda status: status.current == 0).device == "CPU (AMD)"
        before = told(store, lambda status: True).progress
        reporter.add(1)
        assert told(store, lambda status: status.frames == 1).progress > before
        reporter.done(Done(piece=0, key="k", sha256="a" * 64), 30.0)
        reporter.failed(Fault(piece=1, kind="other", reason="cut"))
        last = told(store, lambda status: bool(status.faults))
        assert (last.current, len(last.done), last.fastest_fps) == (None, 1, 30.0)
    assert told(store, lambda status: status.ended).error is None


def test_an_unchanged_status_is_not_written_again(store: Store) -> None:
    with StatusReporter(store, NAME, "pi-1", "CPU", 60):
        told(store, lambda status: True)
        puts = store.puts
        time.sleep(0.5)
        assert store.puts == puts


def test_an_error_is_the_final_status(store: Store) -> None:
    with pytest.raises(NightjarError), StatusReporter(store, NAME, "pi-1", "CPU", 60):
        raise NightjarError("the stick is gone")
    last = told(store, lambda status: status.ended)
    assert last.error == "the stick is gone"


def test_an_unexpected_error_is_reported_with_its_type(store: Store) -> None:
    with pytest.raises(SystemExit), StatusReporter(store, NAME, "pi-1", "CPU", 60):
        raise SystemExit(1)
    assert told(store, lambda status: status.ended).error == "SystemExit: 1"


def test_the_final_status_waits_for_the_store(store: Store) -> None:
    with StatusReporter(store, NAME, "pi-1", "CPU", 60) as reporter:
        told(store, lambda status: True)
        store.is_away = True
        reporter.ready("CPU")
        reporter.begin(3)
        time.sleep(0.2)
        status = read_status(store, NAME)
        assert status is not None
        assert status.current is None
        store.is_away = False
    last = told(store, lambda status: status.ended)
    assert (last.ready, last.current) == (True, None)


def test_it_learns_that_its_assignment_was_revoked(store: Store) -> None:
    with StatusReporter(store, NAME, "pi-1", "CPU", 60) as reporter:
        assert not reporter.revoked
        store.put_bytes(revoked_key(NAME), b"silent past its lease")
        deadline = time.monotonic() + 20
        while not reporter.revoked:
            assert time.monotonic() < deadline
            time.sleep(0.02)


HANG = """
import sys, time
from pathlib import Path
from storage.objects.artifacts import FolderArtifacts
from tasks.fleet import status_reporter as reporter
reporter.REPORT_EVERY_S = 0.05
class Slow(FolderArtifacts):
    def put_bytes(self, key, data):
        super().put_bytes(key, data)
        time.sleep(1.5 if sys.argv[3] == "fetching" else 0)
with reporter.StatusReporter(Slow(Path(sys.argv[1])), sys.argv[2], "pi-1", "MYRIAD", 1.0) as mine:
    if sys.argv[3] == "opening":
        time.sleep(60)
    mine.ready("MYRIAD")
    if sys.argv[3] == "between":
        time.sleep(2)
    elif sys.argv[3] == "fetching":
        with mine.fetching():
            mine.begin(0)
            time.sleep(4)
    else:
        mine.begin(0)
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("where", "code"), [("opening", EXIT_HUNG), ("working", EXIT_HUNG), ("between", 0), ("fetching", 0)]
)
def test_only_a_hanging_device_ends_the_process(store: Store, where: str, code: int) -> None:
    process = subprocess.run(
        [sys.executable, "-c", HANG, str(store.root), NAME, where], timeout=60, cwd=Path(__file__).parents[3]
    )
    assert process.returncode == code
    last = told(store, lambda status: status.ended)
    assert last.error == ("MYRIAD did not answer for 1 s" if code else None)
