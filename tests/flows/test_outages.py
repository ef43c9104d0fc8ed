"""A night whose database, store or Prefect is down, at its start or later: it waits and continues."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, event

import flows.nightly_batch as nightly
from flows.nightly_batch import nightly_batch
from models.types import NightjarError
from storage.ledger import batches
from storage.objects.artifacts import FolderArtifacts
from storage.objects.places import UnreachableError
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.site.settings import read_settings
from tasks.waiting import retry
from tests.chaos.environment import settings_of
from tests.chaos.processes import Database, clean_environment
from tests.flows.conftest import has_spot, register_tiny_model, spot_video
from tests.s3_faults import FaultProxy, running
from tests.servers_prefect import PrefectServer, running_prefect
from tests.servers_s3 import free_port, new_bucket, running_s3

NIGHTJAR = Path(sys.executable).with_name("nightjar")
FRAMES = 30


@contextmanager
def night(folder: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """`nightjar run` over the archive; its output is in the file `said`."""
    command = [str(NIGHTJAR), "run", str(folder / "archive"), "--model", "tiny", "--overlay", "none"]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(folder: Path, words: str, process: "subprocess.Popen[bytes]") -> str:
    """Wait until the output contains the words, and return it."""
    deadline = time.monotonic() + 120
    while words not in (said := (folder / "said").read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_that_starts_before_its_servers_waits_for_each(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "one.mp4", FRAMES)
    with ExitStack() as held:
        database = Database()
        held.callback(database.remove)
        database.start()
        prefect = PrefectServer(tmp_path / "prefect", f"sqlite+aiosqlite:///{tmp_path}/prefect.db")
        s3 = held.enter_context(running_s3("rclone"))
        gate = FaultProxy(str(s3.options.endpoint_url), 0.0)
        port = free_port()
        environment = {
            **clean_environment(),
            "PREFECT_API_URL": prefect.api_url,
            "NIGHTJAR_HOME": str(tmp_path / "home"),
            "NIGHTJAR_DATABASE_URL": database.url,
            "NIGHTJAR_ARTIFACTS": f"s3://{new_bucket(s3.options)}/nightjar",
            "NIGHTJAR_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "NIGHTJAR_S3_ACCESS_KEY_ID": str(s3.options.access_key),
            "NIGHTJAR_S3_SECRET_ACCESS_KEY": str(s3.options.secret_key),
        }
        with settings_of(environment), running(gate, port):
            register_tiny_model(tiny_model)
        database.kill()
        process = held.enter_context(night(tmp_path, environment))
        wait_for(tmp_path, "Retrying for at most 30 min", process)
        database.start()
        wait_for(tmp_path, f"127.0.0.1:{port} does not answer", process)
        held.enter_context(running(gate, port))
        wait_for(tmp_path, f"No Prefect server answers at {prefect.api_url}", process)
        prefect.start()
        held.callback(prefect.kill)
        assert process.wait(180) == 0, (tmp_path / "said").read_text()
        said = (tmp_path / "said").read_text()
        assert said.count("The outage ended after ") == 2, "one wait for database and store, one for Prefect"
        assert "Traceback" not in said
        with settings_of(environment):
            assert rows() == [("one.mp4", sum(map(has_spot, range(FRAMES))))]


def rows() -> list[tuple[Any, ...]]:
    engine = open_database(read_settings().database)
    columns = "SELECT video, count(*) FROM poses JOIN video_summary USING (video_id, model_version_id)"
    found = [tuple(row) for row in query(engine, f"{columns} GROUP BY video ORDER BY video")[1]]
    engine.dispose()
    return found


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """Settings of a site whose database is down."""
    url = f"postgresql://nightjar:hunter2@127.0.0.1:{free_port()}/nightjar"
    return {**clean_environment(), "NIGHTJAR_HOME": str(tmp_path / "home"), "NIGHTJAR_DATABASE_URL": url}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_the_wait(tmp_path: Path, nobody: dict[str, str], number: signal.Signals, code: int) -> None:
    with night(tmp_path, nobody) as process:
        wait_for(tmp_path, "Retrying for at most", process)
        process.send_signal(number)
        assert process.wait(10) == code
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_the_wait_is_limited_and_ends_in_one_clear_error(tmp_path: Path, nobody: dict[str, str]) -> None:
    with night(tmp_path, {**nobody, "NIGHTJAR_OUTAGE_S": "2"}) as process:
        assert process.wait(60) == 1
    lines = (tmp_path / "said").read_text().splitlines()
    assert lines[0].startswith("postgresql+psycopg://nightjar:***@127.0.0.1")
    assert lines[0].endswith(". Retrying for at most 2.0 s.")
    assert lines[-1].startswith("Error: postgresql+psycopg://nightjar:***@127.0.0.1")
    assert len(lines) == 2


class Outages:
    """Faults of database and store: the first call of each kind, then by chance.

    The first call fails for any order of threads, so that every night has a fault of each kind.
    `seen`: the number of faults per kind.
    """

    def __init__(self, seed: int) -> None:
        self.chance, self.seen = random.Random(seed), Counter[str]()

    def begin(self, connection: object) -> None:
        if self.fails("database", 0.1):
            raise sqlite3.OperationalError("database is locked")

    def call(self, name: str) -> None:
        if self.fails(name, 0.25):
            raise UnreachableError("The store does not answer.", "Wait.")

    def fails(self, kind: str, chance: float) -> bool:
        fails = not self.seen[kind] or self.chance.random() < chance
        self.seen[kind] += fails
        return fails


@pytest.mark.usefixtures("prefect_server", "home")
@pytest.mark.parametrize(("seed", "films"), [pytest.param(1, 3, marks=pytest.mark.slow), (2, 1)])
def test_a_local_night_continues_after_any_outage(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, seed: int, films: int
) -> None:
    """Every transaction and every call of the store may fail, at any point of the night."""
    register_tiny_model(tiny_model)
    (tmp_path / "archive").mkdir()
    for number in range(films):
        spot_video(tmp_path / "archive" / f"{number}.mp4", FRAMES, first=100 * number)
    outages = Outages(seed)
    monkeypatch.setattr(retry, "TRY_EVERY_S", 0.001)
    for name in ("put_file", "put_bytes", "get_file", "get_bytes", "exists"):
        plain = getattr(FolderArtifacts, name)

        def faulty(*args: Any, name: str = name, plain: Any = plain, **kwargs: Any) -> Any:
            outages.call(name)
            return plain(*args, **kwargs)

        monkeypatch.setattr(FolderArtifacts, name, faulty)
    event.listen(Engine, "begin", outages.begin)
    try:
        report = nightly_batch(str(tmp_path / "archive"), model="tiny", segment_s=1, overlay="sample")
    finally:
        event.remove(Engine, "begin", outages.begin)
    assert report.status == "completed"
    assert report.listing.new == films
    assert outages.seen["database"] > 3
    assert {"put_file", "put_bytes", "get_file"} <= set(+outages.seen)
    monkeypatch.undo()
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    read_settings.cache_clear()
    expected = [sum(has_spot(100 * number + frame) for frame in range(FRAMES)) for number in range(films)]
    assert rows() == [(f"{number}.mp4", expected[number]) for number in range(films)]
    engine = open_database(read_settings().database)
    assert [tuple(row) for row in query(engine, "SELECT count(*) FROM batches")[1]] == [(1,)]
    engine.dispose()


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_local_night_continues_when_prefect_is_restarted(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each task of a night asks the server for permission to start."""
    register_tiny_model(tiny_model)
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "one.mp4", FRAMES)
    monkeypatch.setattr(nightly, "CLIENT_RETRIES", 0)
    expect = batches.expect_segments
    with running_prefect(tmp_path / "prefect", f"sqlite+aiosqlite:///{tmp_path}/prefect.db") as server:

        def expect_and_restart(*args: Any) -> Any:
            monkeypatch.setattr(batches, "expect_segments", expect)
            server.kill()
            Thread(target=server.start).start()
            return expect(*args)

        monkeypatch.setattr(batches, "expect_segments", expect_and_restart)
        report = nightly_batch(str(tmp_path / "archive"), model="tiny", overlay="none")
    assert report.status == "completed"
    assert "Retrying for at most 30 min" in caplog.text
    assert rows() == [("one.mp4", sum(map(has_spot, range(FRAMES))))]


@pytest.mark.usefixtures("prefect_server", "home")
def test_a_wrong_name_is_not_waited_for(tmp_path: Path, tiny_model: Path) -> None:
    register_tiny_model(tiny_model)
    begun = time.monotonic()
    with pytest.raises(NightjarError, match="Model 'absent' does not exist"):
        nightly_batch(str(tmp_path), model="absent")
    assert time.monotonic() - begun < 30
