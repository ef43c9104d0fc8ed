"""Nights whose decoders are killed, whose disk fails, or whose store refuses: none of it is a verdict on a video."""

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from flows.nightly_batch import BatchIncomplete
from models.types import AttemptError
from storage.objects.places import StoreError
from storage.objects.s3 import Bucket, S3Options
from storage.sandbox.parent import Sandbox
from tasks.site.settings import read_settings
from tasks.sweep.sweep import Options, sweep
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.test_nightly_batch import ask, assert_rows_are_right, run
from tests.s3_faults import FaultProxy, running

pytestmark = pytest.mark.usefixtures("prefect_server", "home")


@pytest.fixture
def archive(tmp_path: Path, tiny_model: Path) -> Path:
    """Two videos, of 60 and 45 frames; in segments of a second they are three and two."""
    register_tiny_model(tiny_model)
    folder = tmp_path / "archive"
    folder.mkdir()
    spot_video(folder / "one.mp4", 60)
    spot_video(folder / "two.mp4", 45, first=500)
    return folder


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.waiting.attempts.FIRST_PAUSE_S", 0.01)


def kill_at(monkeypatch: pytest.MonkeyPatch, asks: set[int], number: signal.Signals) -> list[int]:
    """Kill the decoder when it is given its n-th piece of work: of this archive, two probes and then five segments.

    Returns the killed ones' process ids, as they come to be.
    """

    def ask_and_kill(sandbox: Sandbox, *arguments: Any) -> None:
        give(sandbox, *arguments)
        if next(numbers) in asks and sandbox.pid:
            os.kill(sandbox.pid, number)
            killed.append(sandbox.pid)

    numbers, give = count(1), Sandbox._ask
    killed: list[int] = []
    monkeypatch.setattr(Sandbox, "_ask", ask_and_kill)
    return killed


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_decoder_that_is_killed_costs_time_and_no_row(
    archive: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """In the listing and in the segments, by the kernel's killer or by somebody's SIGTERM."""
    killed = kill_at(monkeypatch, {1, 3, 5, 6, 9}, number)
    report = run(archive, segment_s=1)
    assert len(killed) == 5
    assert (report.status, report.counts.frames_done, report.refused) == ("completed", 105, [])
    assert_rows_are_right("one.mp4", 60)
    assert_rows_are_right("two.mp4", 45, first=500)
    assert ask("SELECT max(tries) FROM segments")[0][0] > 1


def test_a_night_that_could_not_read_is_incomplete_and_the_next_one_reads(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killing:
        kill_at(killing, set(range(100)), signal.SIGKILL)
        with pytest.raises(BatchIncomplete, match="2 files could not be read"):
            run(archive)
    assert ask("SELECT status, files_quarantined FROM batches") == [("incomplete", 2)]
    [(reason,)] = ask("SELECT DISTINCT reason FROM quarantine")
    assert "was killed (signal 9)" in reason
    report = run(archive)
    assert (report.status, report.counts.frames_done, report.refused) == ("completed", 105, [])


def test_a_segment_that_was_given_up_is_never_completed_in_silence(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise AttemptError("cannot be read (Input/output error): check its disk")

    with monkeypatch.context() as failing:
        failing.setattr("tasks.batch.local.infer_segment", fail)
        with pytest.raises(BatchIncomplete, match="2 of 2 segments were given up after several attempts"):
            run(archive)
    report = run(archive)
    assert (report.status, report.counts.frames_done, report.refused) == ("completed", 105, [])


@pytest.fixture
def store(
    archive: Path, swift_options: S3Options, swift_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A proxy before the store that holds the archive, as s3://BUCKET; it refuses what the test says."""
    for path in archive.iterdir():
        Bucket(swift_bucket, swift_options).put_file(path.name, path)
    proxy = FaultProxy(str(swift_options.endpoint_url), 0.0)
    with running(proxy) as endpoint:
        monkeypatch.setenv("NIGHTJAR_S3_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("NIGHTJAR_S3_ACCESS_KEY_ID", str(swift_options.access_key))
        monkeypatch.setenv("NIGHTJAR_S3_SECRET_ACCESS_KEY", str(swift_options.secret_key))
        read_settings.cache_clear()
        yield proxy


@pytest.mark.slow
def test_an_archived_object_is_quarantined_and_read_when_it_is_restored(store: FaultProxy, swift_bucket: str) -> None:
    """It changes neither its size nor its ETag then."""
    store.refused["two.mp4"] = (403, "InvalidObjectState", "not valid for the object's storage class")
    report = run(f"s3://{swift_bucket}")
    assert (report.status, report.counts.frames_done) == ("completed", 60)
    [(key, reason)] = ask("SELECT key, reason FROM quarantine")
    assert (key, "Restore it" in reason) == ("two.mp4", True)
    store.refused.clear()
    report = run(f"s3://{swift_bucket}")
    assert (report.status, report.counts.frames_done, report.refused) == ("completed", 45, [])


@pytest.mark.slow
def test_an_archive_of_which_nothing_may_be_read_is_an_error(store: FaultProxy, swift_bucket: str) -> None:
    store.refused["*"] = (403, "AccessDenied", "Access Denied")
    with pytest.raises(StoreError, match=r"None of the 2 files of .* may be read"):
        run(f"s3://{swift_bucket}")
    store.refused.clear()
    assert run(f"s3://{swift_bucket}").status == "completed"


@pytest.mark.slow
def test_an_archive_that_is_empty_is_an_error_and_its_files_are_not_gone(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unmounted disk is an empty folder."""
    run(archive)
    archive.rename(tmp_path / "elsewhere")
    archive.mkdir()
    with pytest.raises(StoreError, match=r"no videos in .*, where there were 2\. Mount its disk"):
        run(archive)
    assert ask("SELECT count(*) FROM archive_files WHERE gone_at IS NOT NULL") == [(0,)]
    monkeypatch.setenv("PREFECT_API_URL", "")  # the session's server shows what other tests left
    report = sweep(read_settings(), Options(expect_within_h=26))
    assert ["no videos in" in line for line in report.wrong] == [True]


def test_renamed_and_removed_files_are_followed(archive: Path) -> None:
    run(archive)
    (archive / "one.mp4").rename(archive / "z.mp4")
    (archive / "two.mp4").unlink()
    report = run(archive)
    assert report.lines()["files"].endswith("2 no longer present")
    assert ask("SELECT video, gone_at IS NOT NULL FROM video_summary ORDER BY video") == [("two.mp4", 1), ("z.mp4", 0)]


def test_a_known_video_that_is_refused_keeps_its_name(
    store: FaultProxy, swift_bucket: str, tiny_classifier: Path
) -> None:
    """For a second model it has to be read again, and has been archived since."""
    assert run(f"s3://{swift_bucket}").status == "completed"
    register_tiny_model(tiny_classifier)
    read_settings().video_cache.rename(read_settings().video_cache.with_name("lost"))
    store.refused["two.mp4"] = (403, "InvalidObjectState", "not valid for the object's storage class")
    with pytest.raises(BatchIncomplete, match="1 files could not be read"):
        run(f"s3://{swift_bucket}", model="spotter")
    assert {row[0] for row in ask("SELECT video FROM video_summary")} == {"one.mp4", "two.mp4"}
