"""Nights with killed decoders, failing disks or refusing stores: none of these is the video's fault."""

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from models.types import AttemptError
from storage.objects.places import StoreError
from storage.objects.s3 import Bucket, S3Options
from storage.sandbox.parent import Sandbox
from tasks.batch.steps import BatchIncomplete
from tasks.site.settings import read_settings
from tasks.sweep.sweep import Options, sweep
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.test_nightly_batch import ask, assert_rows_are_right, run
from tests.s3_faults import FaultProxy, running

pytestmark = pytest.mark.usefixtures("prefect_server", "home")


@pytest.fixture
def archive(tmp_path: Path, tiny_model: Path) -> Path:
    """Two videos, of 60 and 45 frames: three and two segments of a second."""
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
    """Kill the decoder at its n-th request: for this archive, two probes and then five segments.

    Returns a list that receives the process ids of killed decoders.
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
def test_killed_decoders_cost_time_but_no_rows(
    archive: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """In the listing and in segments, by the kernel's OOM killer or by a SIGTERM."""
    killed = kill_at(monkeypatch, {1, 3, 5, 6, 9}, number)
    report = run(archive, segment_s=1)
    assert len(killed) == 5
    assert (report.status, report.counts.frames_done, report.refused) == ("completed", 105, [])
    assert_rows_are_right("one.mp4", 60)
    assert_rows_are_right("two.mp4", 45, first=500)
    assert ask("SELECT max(tries) FROM segments")[0][0] > 1


def test_a_night_with_read_errors_is_incomplete_and_the_next_one_reads(
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


@pytest.mark.slow
def test_a_batch_with_a_segment_given_up_is_never_completed(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """A proxy in front of the archive's store, s3://BUCKET; it refuses requests on the test's demand."""
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
def test_an_archived_object_is_read_after_it_is_restored(store: FaultProxy, swift_bucket: str) -> None:
    """Restoring it changes neither its size nor its ETag."""
    store.refused["two.mp4"] = (403, "InvalidObjectState", "not valid for the object's storage class")
    report = run(f"s3://{swift_bucket}")
    assert (report.status, report.counts.frames_done) == ("completed", 60)
    [(key, reason)] = ask("SELECT key, reason FROM quarantine")
    assert (key, "Restore it" in reason) == ("two.mp4", True)
    store.refused.clear()
    report = run(f"s3://{swift_bucket}")
    assert (report.status, report.counts.frames_done, report.refused) == ("completed", 45, [])


@pytest.mark.slow
def test_an_archive_without_read_permission_is_an_error(store: FaultProxy, swift_bucket: str) -> None:
    store.refused["*"] = (403, "AccessDenied", "Access Denied")
    with pytest.raises(StoreError, match=r"None of the 2 files of .* may be read"):
        run(f"s3://{swift_bucket}")
    store.refused.clear()
    assert run(f"s3://{swift_bucket}").status == "completed"


@pytest.mark.slow
def test_an_empty_archive_is_an_error_and_its_files_are_not_marked_missing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unmounted disk is an empty folder."""
    run(archive)
    archive.rename(tmp_path / "elsewhere")
    archive.mkdir()
    with pytest.raises(StoreError, match=r"no videos in .*, where there were 2\. Mount its disk"):
        run(archive)
    assert ask("SELECT count(*) FROM archive_files WHERE gone_at IS NOT NULL") == [(0,)]
    monkeypatch.setenv("PREFECT_API_URL", "")  # the session's server also has runs of other tests
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
    """A second model has to read it again, but it has been archived in the meantime."""
    assert run(f"s3://{swift_bucket}").status == "completed"
    register_tiny_model(tiny_classifier)
    read_settings().video_cache.rename(read_settings().video_cache.with_name("lost"))
    store.refused["two.mp4"] = (403, "InvalidObjectState", "not valid for the object's storage class")
    with pytest.raises(BatchIncomplete, match="1 files could not be read"):
        run(f"s3://{swift_bucket}", model="spotter")
    assert {row[0] for row in ask("SELECT video FROM video_summary")} == {"one.mp4", "two.mp4"}
