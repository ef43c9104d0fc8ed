"""A run over an archive in which nothing has changed: answered without Prefect, with the facts of a flow's run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from deployments import commands, prefect_server
from deployments.flow_calls import without_prefect
from models.types import NightjarError
from storage.ledger import batches
from storage.objects.places import UnreachableError
from storage.sql.database import open_database, writing
from storage.sql.query import query
from tasks.analysis.night import analyse_batch
from tasks.analysis.places import headers_to_read
from tasks.batch import unchanged
from tasks.batch.listing import read_archive
from tasks.batch.local import run_segments, set_up
from tasks.batch.night import NightKey, open_night
from tasks.batch.report import BatchReport
from tasks.batch.spec import NightSpec
from tasks.batch.steps import BatchIncomplete
from tasks.batch.unchanged import run_unchanged
from tasks.model.store import take_model
from tasks.site.owner import this_owner
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tasks.site_file.load import read_site_file
from tasks.text.progress import FrameProgress
from tests.ffmpeg import ffmpeg
from tests.flows.conftest import register_tiny_model, spot_video

HEAVY = {"prefect", "tensorflow", "openvino"}
VARYING = {"batch_id", "batch_key", "started_at", "finished_at", "flow_run_id", "owner"}


def ask(sql: str) -> list[dict[str, Any]]:
    names, rows = query(open_database(read_settings().database), sql)
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture
def spec(home: Path, tiny_model: Path, tmp_path: Path) -> NightSpec:
    """A completed batch of two films, one refused file and one file that is not a video."""
    register_tiny_model(tiny_model)
    archive = tmp_path / "archive"
    archive.mkdir()
    spot_video(archive / "one.mp4", 30)
    spot_video(archive / "two.mkv", 20, first=500)
    (archive / "broken.mp4").write_bytes(b"\0" * 100)
    (archive / "notes").write_text("no video")
    spec = NightSpec(str(archive), "tiny")
    process(spec)
    return spec


def process(spec: NightSpec) -> None:
    """Run the batch by the functions below the flow's tasks."""
    with open_site() as site:
        model_version_id, folder, manifest = take_model(site, spec.model)
        batch_id = batches.start_batch(site.engine, spec.archive, model_version_id, "local", this_owner())
    with open_night(NightKey(spec.archive, batch_id, model_version_id, folder, manifest)) as night:
        listing = read_archive(night, spec.segment_s)
        batches.expect_segments(night.site.engine, batch_id, listing.entries, listing.listed, listing.refused)
        run_segments(night, listing.entries, listing.probes, set_up(night, spec.runtime), FrameProgress(1))
        assert not analyse_batch(model_version_id).failed
        assert batches.finish_batch(night.site.engine, batch_id) == "completed"


def run(spec: NightSpec) -> BatchReport | None:
    with open_site() as site:
        return run_unchanged(site, spec)


def test_people_who_are_not_followed_yet_are_left_to_the_flow(spec: NightSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Poses that came late, such as by a sweep, and a newer tracker."""
    assert run(spec) is not None
    with open_site() as site, writing(site.engine) as connection:
        connection.execute(text("UPDATE segments SET awaits_analysis = true"))
    assert run(spec) is None
    analyse_batch(1)
    assert run(spec) is not None
    with open_site() as site, writing(site.engine) as connection:
        connection.execute(text("DELETE FROM event_runs"))  # as after an interrupted night
    assert run(spec) is None
    analyse_batch(1)
    assert run(spec) is not None
    monkeypatch.setattr("models.tracking.params.TRACKER_VERSION", 99)
    assert run(spec) is None


@pytest.mark.usefixtures("prefect_server")
def test_batch_and_report_equal_those_of_the_flow(spec: NightSpec) -> None:
    from flows.nightly_batch import nightly_batch

    (Path(spec.archive) / "two.mkv").unlink()
    answered = run(spec)
    assert answered is not None
    by_flow = nightly_batch(spec.archive, "tiny")
    _, here, there = ask("SELECT * FROM batches ORDER BY batch_id")
    assert {name: here[name] for name in here.keys() - VARYING} == {name: there[name] for name in here.keys() - VARYING}
    assert (here["flow_run_id"], there["flow_run_id"] is None) == (None, False)
    assert answered.lines() == {**by_flow.lines(), "files": f"{by_flow.lines()['files']}, 1 no longer present"}
    assert (answered.refused, answered.videos) == (by_flow.refused, by_flow.videos)
    assert (answered.counts, answered.status) == (by_flow.counts, "completed")
    assert ask("SELECT count(*) AS n FROM poses") == ask("SELECT sum(people) AS n FROM segments"), (
        "no row was written again"
    )


def add_film(spec: NightSpec) -> NightSpec:
    spot_video(Path(spec.archive) / "new.mp4", 10)
    return spec


def change_film(spec: NightSpec) -> NightSpec:
    spot_video(Path(spec.archive) / "one.mp4", 31)
    return spec


def repair_file(spec: NightSpec) -> NightSpec:
    spot_video(Path(spec.archive) / "broken.mp4", 10)
    return spec


def rename_film(spec: NightSpec) -> NightSpec:
    (Path(spec.archive) / "one.mp4").rename(Path(spec.archive) / "renamed.mp4")
    return spec


def replay_quarantine(spec: NightSpec) -> NightSpec:
    with open_site() as site:
        assert batches.requeue_quarantined(site.engine, spec.archive) == (1, 0)
    return spec


def lose_a_segment(spec: NightSpec) -> NightSpec:
    """As after a batch that was killed at its last segment."""
    engine = open_database(read_settings().database)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE segments SET status = 'planned', finished_at = NULL WHERE video_id = 1")
    return spec


def another_rate(spec: NightSpec) -> NightSpec:
    return replace(spec, frames_per_second=5.0)


def all_overlays(spec: NightSpec) -> NightSpec:
    return replace(spec, overlay="all")


def test_any_work_is_left_to_the_flow(spec: NightSpec, home: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for folder in (Path(spec.archive), home):
        shutil.copytree(folder, kept / folder.name)
    recorded = ask("SELECT * FROM batches")
    for change in (
        add_film,
        change_film,
        repair_file,
        rename_film,
        replay_quarantine,
        lose_a_segment,
        another_rate,
        all_overlays,
    ):
        assert run(change(spec)) is None, change.__name__
        assert ask("SELECT * FROM batches") == recorded, "the flow records the batch"
        for folder in (Path(spec.archive), home):
            shutil.rmtree(folder)
            shutil.copytree(kept / folder.name, folder)
    assert run(spec) is not None


def test_a_long_archive_is_listed_once_only(spec: NightSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "MOST_FILES", 2)
    monkeypatch.setattr(unchanged, "compare_archive", None)
    assert run(spec) is None


def test_errors_equal_those_of_the_flow_and_leave_no_running_batch(
    spec: NightSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NightjarError, match="Choose one of: tiny"):
        run(replace(spec, model="tyni"))
    monkeypatch.setattr(unchanged, "record_seen", raising(OSError("of the disk")))
    with pytest.raises(OSError, match="of the disk"):
        run(spec)
    monkeypatch.setattr(unchanged, "record_seen", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(spec)
    found = [(row["status"], row["error"]) for row in ask("SELECT * FROM batches ORDER BY batch_id")]
    assert found == [
        ("completed", None),
        ("crashed", "of the disk"),
        ("cancelled", "cancelled. What was done is kept. Run it again to continue"),
    ]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_work_that_appears_after_the_comparison_makes_the_batch_incomplete(
    spec: NightSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another process, between two statements. The next run does the work."""
    lose_a_segment(spec)
    with monkeypatch.context() as blind:
        blind.setattr(batches, "unfinished_videos", lambda *_: set())
        with pytest.raises(BatchIncomplete, match="1 of 1 segments"):
            run(spec)
    assert run(spec) is None
    assert [row["status"] for row in ask("SELECT status FROM batches ORDER BY batch_id")] == ["completed", "incomplete"]


def test_a_users_server_sees_every_run_and_the_flow_waits_for_outages(
    spec: NightSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert without_prefect(lambda: 1) == 1
    with monkeypatch.context() as away:
        away.setattr(unchanged, "compare_archive", raising(UnreachableError("the store is down", "Wait.")))
        assert commands._run_unchanged(spec) is None
    with monkeypatch.context() as running:
        running.setattr(prefect_server, "running_up_address", lambda: "http://127.0.0.1:4200")
        assert without_prefect(lambda: 1) is None
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert without_prefect(lambda: 1) is None


RUN = """
import json, sys
from deployments.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def test_the_command_answers_without_prefect_or_openvino(spec: NightSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """These imports, and Prefect's server, take most of the time of a run that does nothing."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    command = [sys.executable, "-c", RUN, "run", spec.archive, "--model", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, loaded = done.stdout.splitlines()
    said = dict(line.split(maxsplit=1) for line in lines)
    assert said["batch"] == "2, completed"
    assert (
        said["files"]
        == "3 listed, 0 new or changed, 1 in quarantine, 1 others ignored (see 'nightjar videos --ignored')"
    )
    assert said["segments"] == "nothing new, all results are in the database"
    assert not HEAVY & set(json.loads(loaded))
    assert not (read_settings().home / "prefect" / "prefect.db").exists(), "no Prefect server was prepared"


def test_a_creation_time_that_the_site_file_needs_is_read_from_the_header_by_the_next_run(
    home: Path, spec: NightSpec
) -> None:
    """The films of an earlier version, which did not look for it. They are neither read whole nor inferred again."""
    film = Path(spec.archive) / "one.mp4"
    inferred = ask("SELECT count(*) AS n, max(finished_at) AS last FROM segments")
    with open_site() as site, writing(site.engine) as connection:
        connection.execute(text("UPDATE videos SET creation_time = NULL, creation_time_read = false"))
        stamped = film.with_name("stamped.mp4")
        tags = ["-metadata", "creation_time=2026-07-01T12:00:00Z"]
        ffmpeg("-i", film, "-c", "copy", *tags, stamped)
        state = film.stat()
        stamped.replace(film)
        os.utime(film, ns=(state.st_atime_ns, state.st_mtime_ns))
        new = text("UPDATE archive_files SET size_bytes = :size WHERE key = 'one.mp4'")
        connection.execute(new, {"size": film.stat().st_size})
    rules = "[[cameras]]\nname = 'hall'\nfiles = '*.mp4'\nlayout = 'iphone'\n"
    (home / "nightjar.toml").write_text(f"{rules}[[cameras]]\nname = 'yard'\n")
    assert run(spec) is None  # the flow has to read it
    process_again(spec)
    found = {row["key"]: row for row in ask("SELECT key, camera, clock, start_at, no_clock FROM archive_files")}
    assert str(found["one.mp4"]["start_at"]).startswith("2026-07-01T12:00:00")
    assert (found["one.mp4"]["camera"], found["two.mkv"]["camera"]) == ("hall", "yard")
    assert ask("SELECT count(*) AS n, max(finished_at) AS last FROM segments") == inferred
    with open_site() as site:
        assert not headers_to_read(site.engine, read_site_file(site.settings), str(Path(spec.archive)))


def test_a_changed_site_file_is_applied_to_files_that_are_as_they_were(home: Path, spec: NightSpec) -> None:
    (home / "nightjar.toml").write_text("[[cameras]]\nname = 'hall'\n")
    run(spec)  # perhaps left to the flow, which makes the events of the renamed camera
    process_again(spec)
    assert {row["camera"] for row in ask("SELECT camera FROM archive_files")} == {"hall"}
    (home / "nightjar.toml").write_text("[[cameras]]\nnmae = 'hall'\n")
    with pytest.raises(NightjarError, match="Did you mean 'name'"):
        run(spec)


def test_a_site_file_with_mistakes_does_not_cost_a_night(
    home: Path, spec: NightSpec, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "nightjar.toml").write_text("[[cameras]]\nnmae = 'hall'\n")
    process_again(spec)
    assert "stay as they are" in caplog.text
    assert "Did you mean 'name'" in caplog.text


def process_again(spec: NightSpec) -> None:
    """List the archive as a batch does."""
    with open_site() as site:
        model_version_id, folder, manifest = take_model(site, spec.model)
        batch_id = batches.start_batch(site.engine, spec.archive, model_version_id, "local", this_owner())
    with open_night(NightKey(spec.archive, batch_id, model_version_id, folder, manifest)) as night:
        listing = read_archive(night, spec.segment_s)
        batches.expect_segments(night.site.engine, batch_id, listing.entries, listing.listed, listing.refused)
        batches.finish_batch(night.site.engine, batch_id)
