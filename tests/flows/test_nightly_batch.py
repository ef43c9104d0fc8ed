"""The night, end to end: real videos, real inference, real Prefect, SQLite and PostgreSQL, folders and S3."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from deployments.cli import main
from flows.convert_model import convert_model
from flows.nightly_batch import nightly_batch
from models.types import KEYPOINT_NAMES, NightjarError, Rows
from storage.sql.database import open_database, writing
from storage.sql.query import query
from tasks.batch.overlays import VideoRenderer
from tasks.batch.report import BatchReport
from tasks.batch.steps import BatchIncomplete
from tasks.runs.names import named_after
from tasks.site import scratch
from tasks.site.settings import ReadLimits, read_settings
from tests.flows.conftest import has_spot, register_tiny_model, spot, spot_picture, spot_video
from tests.models import onnx_models
from tests.recordings import record
from tests.servers_s3 import S3Server, new_bucket
from tests.tiny_model import CELL
from tests.videos import make_video

pytestmark = pytest.mark.usefixtures("prefect_server", "home")


def ask(sql: str) -> list[tuple[Any, ...]]:
    _, rows = query(open_database(read_settings().database), sql)
    return [tuple(row) for row in rows]


def run(archive: Path | str, **options: Any) -> BatchReport:
    options = {"model": "tiny", "overlay": "none", **options}
    return nightly_batch(str(archive), **options)


@pytest.fixture
def archive(tmp_path: Path, tiny_model: Path) -> Path:
    """Two valid videos, of 60 and 45 frames, with a keyframe every ten."""
    register_tiny_model(tiny_model)
    folder = tmp_path / "archive"
    (folder / "cam2").mkdir(parents=True)
    spot_video(folder / "one.mp4", 60)
    spot_video(folder / "cam2" / "two.mkv", 45, first=500)
    return folder


def followed() -> list[list[tuple[Any, ...]]]:
    """Tracks and motion of all videos, without ids."""
    return [
        [row[:-2] for row in ask(f"SELECT * FROM {view} ORDER BY video, track, {column}")]
        for view, column in (("track_summary", "first_frame"), ("track_motion", "frame"))
    ]


def assert_rows_are_right(video: str, frames: int, first: int = 0) -> None:
    """Every row belongs to the frame that shows its spot, and every frame with a spot has its row."""
    rows = ask(
        "SELECT frame, person, t_s, nose_x, nose_y FROM poses JOIN video_summary USING (video_id, model_version_id)"
        f" WHERE video = '{video}' ORDER BY frame"
    )
    expected = [number for number in range(frames) if has_spot(first + number)]
    assert [row[0] for row in rows] == expected
    for frame, person, t_s, x, y in rows:
        column, row = spot(first + frame)
        assert (person, t_s) == (0, pytest.approx(frame / 25, abs=1e-4))
        assert (x, y) == (pytest.approx((column + 0.5) * CELL, abs=1), pytest.approx((row + 0.5) * CELL, abs=1))


def test_videos_become_rows_once_and_only_new_ones_are_processed(archive: Path) -> None:
    report = run(archive)
    assert (report.status, report.counts.frames_done, report.listing.new) == ("completed", 105, 2)
    assert report.lines()["views"].endswith("with the rows of this run")
    assert_rows_are_right("one.mp4", 60)
    assert_rows_are_right("cam2/two.mkv", 45, first=500)

    again = run(archive / ".." / archive.name)
    assert (again.counts.expected, again.listing.new, again.status) == (0, 0, "completed")

    spot_video(archive / "three.avi", 30, first=700, codec="mpeg4", options={}, b_frames=0)
    shutil.copy(archive / "one.mp4", archive / "renamed copy.mp4")
    third = run(archive)
    assert (third.counts.frames_expected, third.counts.frames_done, third.listing.new) == (30, 30, 2)
    assert_rows_are_right("three.avi", 30, first=700)
    assert ask("SELECT count(*) FROM videos") == [(3,)], "a renamed copy is the same video"


def test_the_segment_length_does_not_change_the_rows(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses = "SELECT sha256, poses.* FROM poses JOIN videos USING (video_id) ORDER BY sha256, frame, person"
    columns_without_ids = lambda rows: [(row[0], *row[3:]) for row in rows]  # noqa: E731
    run(archive, segment_s=600)
    assert ask("SELECT count(*) FROM segments") == [(2,)]
    whole, people = columns_without_ids(ask(poses)), followed()
    assert ask("SELECT count(*), count(DISTINCT video_id) FROM analyses WHERE status = 'done'") == [(2, 2)]
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "second home"))
    read_settings.cache_clear()
    register_tiny_model(_cached_model(tmp_path))
    run(archive, segment_s=1)
    assert ask("SELECT count(*) FROM segments")[0][0] >= 4
    assert columns_without_ids(ask(poses)) == whole
    assert followed() == people


def test_a_full_tmpdir_loses_only_the_pictures(
    archive: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scratch, "LEAST_BYTES", 1 << 60)
    report = run(archive, overlay="all")
    assert (report.status, report.counts.frames_done, report.pictures.overlays) == ("completed", 105, {})
    assert f"No space is left in '{tempfile.gettempdir()}'" in caplog.text


def _cached_model(tmp_path: Path) -> Path:
    return next(path.parent for path in (tmp_path / "home").rglob("model.xml"))


BAD = {
    "empty.mp4": lambda folder: (folder / "empty.mp4").touch(),
    "text.mp4": lambda folder: (folder / "text.mp4").write_text("this is no video " * 100),
    'it\'s "quoted"\nand broken.mp4': lambda folder: (folder / 'it\'s "quoted"\nand broken.mp4').write_bytes(
        b"\0" * 999
    ),
}


def test_bad_files_are_quarantined_with_a_reason_and_the_rest_continues(archive: Path) -> None:
    for make in BAD.values():
        make(archive)
    (archive / "cut.mp4").write_bytes((archive / "one.mp4").read_bytes()[:-2000])
    (archive / "notes.txt").write_text("not a video, by its name")
    report = run(archive)
    assert (report.status, report.counts.frames_done) == ("completed", 105)
    reasons = dict(ask("SELECT key, reason FROM quarantine"))
    assert set(reasons) == {*BAD, "cut.mp4"}
    assert all(len(reason) > 20 for reason in reasons.values())
    assert report.listing.ignored == 1
    again = run(archive)
    assert (again.listing.new, again.listing.refused, again.counts.expected) == (0, 4, 0)


@pytest.mark.slow
def test_growing_recordings_are_skipped_and_grown_ones_counted_once(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content decides which files are read, and a partial recording is superseded by the complete one."""
    whole = spot_video(archive / "whole.ts", 40).read_bytes()
    (archive / "whole.ts").unlink()
    recording = archive / "cam.m2t"
    recording.write_bytes(whole[: len(whole) * 2 // 3 // 188 * 188])
    (archive / "notes.txt").write_text("a text")
    (archive / "clip").write_bytes((archive / "one.mp4").read_bytes())
    (archive / "unknown.bin2").write_bytes(b"\x01\x02" * 100)

    def write_on(_seconds: float) -> None:
        with recording.open("ab") as file:
            file.write(whole[recording.stat().st_size : recording.stat().st_size + 188])

    monkeypatch.setattr("storage.objects.archive.sleep", write_on)
    report = run(archive)
    assert (report.listing.listed, report.listing.growing, report.listing.ignored) == (4, ["cam.m2t"], 2)
    assert "1 still being written" in report.lines()["files"]
    monkeypatch.setattr("storage.objects.archive.sleep", lambda _: None)
    part = run(archive).counts.frames_expected
    assert 0 < part < 40
    recording.write_bytes(whole)
    assert run(archive).counts.frames_expected == 40
    assert ask("SELECT frames FROM video_summary WHERE video = 'cam.m2t'") == [(40,)]
    assert ask("SELECT count(*) FROM video_summary") == [(3,)]
    listed = CliRunner().invoke(main, ["videos", "--ignored"]).output
    assert "notes.txt" in listed
    assert "unknown data" in listed


def test_a_slow_file_is_left_for_the_next_run_without_delaying_others(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_bytes = (archive / "one.mp4").stat().st_size
    asked: list[int] = []

    def wall_s(_: ReadLimits, size: int) -> float:
        asked.append(size)
        return (size != slow_bytes) * 600.0

    with monkeypatch.context() as patched:
        patched.setattr(ReadLimits, "wall_s", wall_s)
        with pytest.raises(BatchIncomplete):
            run(archive)
    assert asked.count(slow_bytes) == 1, "once per night is enough"
    [(key, reason)] = ask("SELECT key, reason FROM quarantine")
    assert (key, "The next run reads it again" in reason) == ("one.mp4", True)
    assert ask("SELECT frames_done FROM batch_summary") == [(45,)]
    again = run(archive)
    assert (again.status, again.counts.frames_done, ask("SELECT key FROM quarantine")) == ("completed", 60, [])


def test_bytes_after_a_film_are_reported(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (archive / "one.mp4").open("ab") as file:
        file.write(bytes(30_000_000))
    report = run(archive)
    assert (report.status, report.counts.frames_done) == ("completed", 105)
    [note] = report.account.note_lines()
    assert note == "one.mp4: 30.0 MB of its 30.0 MB are after the last frame and belong to no stream"
    assert note in caplog.text
    assert ask("SELECT unused_bytes FROM videos ORDER BY unused_bytes") == [(0,), (30_000_000,)]


@pytest.mark.slow
def test_a_recording_with_a_rewritten_header_is_counted_once(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read during a pause, refused in mid-frame, read when finished; another film of the same name is kept."""
    monkeypatch.setattr("storage.objects.archive.sleep", lambda _: None)
    pictures = [spot_picture(number) for number in range(80)]
    recording, finished = archive / "cam.flv", tmp_path / "cam.flv"
    coding = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1", "-pix_fmt", "yuv420p")
    part = record(finished, pictures[:60], 40, *coding)
    recording.write_bytes(part)
    taken = run(archive).counts.frames_done - 105
    assert 0 < taken <= 40
    recording.write_bytes(finished.read_bytes()[: len(part) + 20])
    assert "truncated" in " ".join(str(refusal) for refusal in run(archive).refused)
    recording.write_bytes(finished.read_bytes())
    assert run(archive).counts.frames_done == 60
    assert ask("SELECT frames FROM video_summary WHERE video NOT IN ('one.mp4', 'cam2/two.mkv')") == [(60,)]
    assert_rows_are_right("cam.flv", 60)
    record(recording, pictures[20:], 40, *coding)
    run(archive)
    shown = ask("SELECT v.frames FROM current_videos AS v WHERE v.container = 'flv' ORDER BY v.video_id")
    assert shown == [(60,), (60,)], "both recordings are real"


@pytest.mark.cases
def test_unusual_timestamps_and_streams_are_in_the_account(archive: Path, cases: Path) -> None:
    for name in ("vfr_one_equal.webm", "clock_set.mkv", "thumb_first_unmarked.mkv", "single_tick.mp4"):
        shutil.copy(cases / "video" / name, archive / name)
    report = run(archive)
    assert report.status == "completed"
    said = " | ".join(report.account.note_lines())
    assert "vfr_one_equal.webm: time stamps of 1 frame repaired" in said
    assert "clock_set.mkv: its clock jumped" in said
    assert "thumb_first_unmarked.mkv: stream 1 used, of 2 video streams" in said
    assert ask("SELECT start_frame, stop_frame, frames FROM time_repairs WHERE clock_s IS NULL") == [(20, 21, 1)]
    assert ask("SELECT fps FROM video_summary WHERE video = 'single_tick.mp4'") == [(None,)]


def test_a_new_database_is_filled_from_the_store(
    database_url: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old database is from before the first release: it is refused, and following the advice is sufficient."""
    poses = "SELECT sha256, frame, person, t_s, nose_x FROM poses JOIN videos USING (video_id) ORDER BY 1, 2, 3"
    run(archive)
    before = ask(poses)
    workers = ask("SELECT worker, wall_s FROM segments ORDER BY segment_id")
    old = open_database(read_settings().database)
    with writing(old) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0023'")
    refused = CliRunner().invoke(main, ["run", str(archive), "--model", "tiny"])
    assert refused.exit_code == 1
    assert "Move this file aside, then run 'nightjar run' again" in refused.stderr

    monkeypatch.setenv("NIGHTJAR_DATABASE_URL", database_url)
    read_settings.cache_clear()
    assert run(archive).status == "completed"
    assert len(before) > 80
    assert ask(poses) == before
    assert ask("SELECT worker, wall_s FROM segments ORDER BY segment_id") == workers, (
        "they were loaded, not processed again"
    )


@pytest.fixture
def underway(archive: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """`nightjar run` as a user starts it, on a long video in 38 segments, when the first of them is done."""
    spot_video(archive / "long.mp4", 900, first=3)
    process = subprocess.Popen(
        [Path(sys.executable).with_name("nightjar"), "run", str(archive), "--model", "tiny", "--segment-s", "1"],
        cwd=home.parent,
        env={name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not _done_segments(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
def test_the_next_run_continues_a_killed_one(archive: Path, home: Path, underway: subprocess.Popen[bytes]) -> None:
    helpers = psutil.Process(underway.pid).children(recursive=True)
    underway.send_signal(signal.SIGKILL)
    underway.wait()
    done = _done_segments(home)
    assert 0 < done < 38, "killed in the middle"
    _, left = psutil.wait_procs(helpers, timeout=20)
    assert len(helpers) >= 2
    assert not left, "Prefect's server and the decoder end with the run"

    report = run(archive, segment_s=1)
    assert report.status == "completed"
    assert report.counts.expected <= 38 + 6 - done
    assert_rows_are_right("long.mp4", 900, first=3)
    assert_rows_are_right("one.mp4", 60)
    statuses = ask("SELECT status, count(*) FROM batches GROUP BY status ORDER BY status")
    assert statuses == [("completed", 1), ("crashed", 1)], "no batch is left running"


@pytest.mark.slow
def test_ctrl_c_ends_a_run_at_once_without_counting_a_try(home: Path, underway: subprocess.Popen[bytes]) -> None:
    os.killpg(underway.pid, signal.SIGINT)  # as a terminal does
    assert underway.wait(timeout=30) == 130
    assert ask("SELECT status FROM batches") == [("cancelled",)]
    assert ask("SELECT count(*) FROM segments WHERE status = 'leased' OR (status = 'planned' AND tries > 0)") == [(0,)]


def _done_segments(home: Path) -> int:
    if not (home / "nightjar.db").exists():
        return 0
    try:
        return int(ask("SELECT count(*) FROM segments WHERE status = 'done'")[0][0])
    except NightjarError:
        return 0


def test_a_corrupt_frame_is_counted_and_the_rest_is_used(archive: Path) -> None:
    from tests.videos import damage

    damage(archive / "one.mp4", archive / "damaged.mp4", packet=25)
    report = run(archive)
    [(done, undecodable)] = ask("SELECT frames_done, frames_undecodable FROM video_summary WHERE video = 'damaged.mp4'")
    assert report.status == "completed"
    assert done + undecodable == 60
    assert 1 <= undecodable <= 10


@pytest.mark.slow
@pytest.mark.real_data
def test_a_night_over_the_bad_videos(archive: Path, data: Path) -> None:
    """One is quarantined; the decoder returns 49 frames of the corrupted one, and marks one of them as corrupt."""
    report = run(data / "badvideo")
    assert report.status == "completed"
    assert [row["key"] for row in report.refused] == ["pixeltable_bad_video.mp4"]
    lost = dict(ask("SELECT video, frames_undecodable FROM video_summary"))
    assert {key: count for key, count in lost.items() if count} == {"decord_corrupted.mp4": 2}
    assert ask("SELECT frames, frames_done FROM video_summary WHERE video = 'decord_corrupted.mp4'") == [(50, 48)]


def test_overlays_and_the_picture_are_in_the_store(archive: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    blurred: list[bool] = []
    still = VideoRenderer.still

    def recorded(self: VideoRenderer, number: int, rows: Rows) -> NDArray[np.uint8] | None:
        blurred.append(self.blur_faces)
        return still(self, number, rows)

    monkeypatch.setattr(VideoRenderer, "still", recorded)
    report = run(archive, overlay="all")
    assert blurred == [True, True], "nobody has asked for the faces on the picture"
    assert Path(report.pictures.sheet_url).read_bytes().startswith(b"\x89PNG")
    assert set(report.pictures.overlays) == {"one.mp4", "cam2/two.mkv"}
    with av.open(report.pictures.overlays["one.mp4"]) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(stream)) == 60


def test_overlays_of_a_finished_archive_are_drawn_once(archive: Path) -> None:
    import av

    run(archive)
    report = run(archive, overlay="all")
    assert (report.status, report.counts.expected) == ("completed", 0)
    assert set(report.pictures.overlays) == {"one.mp4", "cam2/two.mkv"}
    drawn = {url: Path(url).stat().st_mtime_ns for url in report.pictures.overlays.values()}
    frames = []
    for url in drawn:
        with av.open(url) as container:
            frames.append(sum(1 for _ in container.decode(video=0)))
    assert sorted(frames) == [45, 60]
    again = run(archive, overlay="all").pictures.overlays
    assert {url: Path(url).stat().st_mtime_ns for url in again.values()} == drawn


def test_a_night_on_postgresql_and_s3(
    archive: Path, pg_url: str, swift_server: S3Server, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same night with rows in PostgreSQL, artifacts in S3, and the archive itself in S3."""
    from storage.objects.s3 import make_client

    options = swift_server.options
    bucket, videos = new_bucket(options), new_bucket(options)
    client = make_client(options)
    for path in archive.rglob("*.m*"):
        client.upload_file(str(path), videos, f"tonight/{path.relative_to(archive).as_posix()}")
    client.put_object(Bucket=videos, Key='tonight/../evil\'s "name".mp4', Body=b"not a video at all")
    for name, value in {
        "NIGHTJAR_DATABASE_URL": pg_url,
        "NIGHTJAR_ARTIFACTS": f"s3://{bucket}/nightjar",
        "NIGHTJAR_S3_ENDPOINT_URL": options.endpoint_url,
        "NIGHTJAR_S3_ACCESS_KEY_ID": options.access_key,
        "NIGHTJAR_S3_SECRET_ACCESS_KEY": options.secret_key,
    }.items():
        monkeypatch.setenv(name, str(value))
    read_settings.cache_clear()
    register_tiny_model(tiny_model)
    report = run(f"s3://{videos}/tonight", overlay="sample")
    assert (report.status, report.counts.frames_done) == ("completed", 105)
    assert_rows_are_right("one.mp4", 60)
    assert [row[0] for row in ask("SELECT key FROM quarantine")] == ['../evil\'s "name".mp4']
    [(key, sha256)] = ask("SELECT result_key, result_sha256 FROM segments ORDER BY segment_id LIMIT 1")
    body = client.get_object(Bucket=bucket, Key=f"nightjar/{key}")["Body"].read()
    assert hashlib.sha256(body).hexdigest() == sha256
    assert report.pictures.sheet_url.startswith(f"s3://{bucket}/nightjar/")
    again = run(f"s3://{videos}/tonight")
    assert (again.counts.expected, again.listing.new) == (0, 0)


def test_missing_segments_fail_the_batch(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are not leased and cannot be claimed: the batch is not complete."""
    from storage.ledger import leases as ledger

    claim = ledger.claim
    monkeypatch.setattr(ledger, "claim", lambda *args: None)
    with pytest.raises(BatchIncomplete, match="2 of 2 segments"):
        run(archive)
    monkeypatch.setattr(ledger, "claim", claim)
    assert run(archive).status == "completed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nobody"}, "Model 'nobody' does not exist. Choose one of: tiny"),
        ({"device": "MYRIAD"}, "no device MYRIAD"),
        ({"archive": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_wrong_parameters_give_one_clear_error(archive: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(NightjarError, match=words):
        run(**{"archive": archive, **options})
    assert ask("SELECT count(*) FROM batches WHERE status = 'running'") == [(0,)]


def test_a_model_that_was_tampered_with_is_not_run(archive: Path, home: Path) -> None:
    stored = next((home / "artifacts" / "models").rglob("model.bin"))
    stored.write_bytes(b"\0" * stored.stat().st_size)
    with pytest.raises(NightjarError, match=r"The sha256 of model\.bin is .*, the manifest says"):
        run(archive)


def test_prefect_shows_progress_tables_and_the_picture(archive: Path) -> None:
    import asyncio

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    (archive / "empty.mp4").touch()
    report = run(archive)
    [(flow_run_id,)] = ask("SELECT flow_run_id FROM batches")

    async def artifacts() -> dict[str, Any]:
        """Read the run's artifacts: unfiltered, the server returns no more than 200 of all runs."""
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
        async with get_client() as client:
            return {str(found.key): found.data for found in await client.read_artifacts(artifact_filter=of_run)}

    found = asyncio.run(artifacts())
    assert set(found) == {"frames", "batch-videos", "batch-quarantine", "batch-report"}
    assert found["frames"] == 100
    assert "empty.mp4" in str(found["batch-quarantine"])
    videos = json.loads(found["batch-videos"])
    pages = dict(ask("SELECT video, substr(sha256, 1, 16) FROM video_summary"))
    linked = {name: f"[{name}]({report.pages.url}/video/{page})" for name, page in pages.items()}
    assert [(row["video"], row["frames"], row["done"], row["not done"]) for row in videos] == [
        (linked["cam2/two.mkv"], 45, 45, ""),
        (linked["one.mp4"], 60, 60, ""),
    ]
    assert f"batch {report.batch_id}, tiny: completed" in found["batch-report"]
    assert found["batch-report"].count("data:image/jpeg;base64,") == 2, "the picture and the chart of the night"
    assert f"| {linked['one.mp4']} | 52 | 60 |" in found["batch-report"], "people first: 52 of 60 frames have a spot"
    assert f"- [one.mp4, frame {report.pictures.frames[0].frame}](" in found["batch-report"]
    assert report.pictures.sheet_url not in found["batch-report"]
    assert "| device | frames/s | frames | segments | retries | lost | throttling |" in found["batch-report"]
    assert "| most | 1 in view at 0:00 of " in found["batch-report"]
    assert "| film | 4.2 s |" in found["batch-report"]
    assert "| count | for example | reason |" in found["batch-report"]
    assert all(len(row) <= 7 for row in videos)
    assert "not estimated, as no device was measured before" in found["batch-report"]
    assert Path(report.chart_url).read_bytes() == report.chart
    assert report.chart.startswith(b"\x89PNG")
    assert len(found["batch-report"]) < 400_000


def test_a_run_is_named_after_its_purpose_unless_a_name_was_typed() -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    @flow(flow_run_name=named_after(lambda given: f"look at {given['archive']}"), persist_result=False)
    def look(archive: str) -> None:
        """A replacement that does nothing."""

    given = {"archive": "the yard"}
    with get_client(sync_client=True) as client:
        named = {}
        for name in ("Monday again", "beta-lyrae", None):
            flow_run = client.create_flow_run(look, parameters=given, name=name)
            run_flow(look, flow_run=flow_run, parameters=given)
            named[name] = client.read_flow_run(flow_run.id).name
    assert named == {"Monday again": "Monday again", "beta-lyrae": "look at the yard", None: "look at the yard"}


@pytest.mark.slow
def test_the_second_night_is_estimated_from_the_first(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Within a factor of three; the best of three nights, because the machine may be busy."""
    first = run(archive, segment_s=1)
    assert ask("SELECT estimated_s FROM batches") == [(None,)]
    assert "never measured here: 105 frames by 1 device" in caplog.text
    assert "not estimated" in first.lines()["time"]
    wrong = []
    for night in range(3):
        spot_video(archive / f"night {night}.mp4", 120, first=1000 * night + 1000)
        report = run(archive, segment_s=1)
        batch = report.account.batch
        assert batch.estimated_s is not None
        wrong.append(max(batch.took_s / batch.estimated_s, batch.estimated_s / batch.took_s))
        assert "than estimated (" in report.lines()["time"] or "as estimated (" in report.lines()["time"]
        if wrong[-1] < 3:
            break
    assert min(wrong) < 3
    assert "Estimated duration: about " in caplog.text
    [(mine,)] = ask("SELECT DISTINCT worker FROM segments")
    assert f"frames by {mine}/CPU (" in caplog.text


@pytest.mark.slow
def test_the_newest_batch_is_shown_completely(archive: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`nightjar batches --last`: from the database and the store only."""
    run(archive)
    report = run(archive / "cam2")
    result = CliRunner().invoke(main, ["batches", "--last"])
    assert result.exit_code == 0
    said = dict(line.split(maxsplit=1) for line in result.output.splitlines() if line[:1].isalpha())
    assert said["batch"].startswith(f"{report.batch_id}, completed, local, ")
    assert said["segments"] == "nothing new, all results are in the database"
    spot_video(archive / "cam2" / "three.mp4", 30, first=700)
    report = run(archive / "cam2")
    result = CliRunner().invoke(main, ["batches", "--last"])
    said = dict(line.split(maxsplit=1) for line in result.output.splitlines() if line[:1].isalpha())
    assert said["frames"].startswith("30 expected, 30 loaded")
    assert "estimated" in said["time"]
    assert "/CPU: 30 frames, " in said["device"]
    assert said["chart"] == report.chart_url
    assert Path(said["chart"]).exists()
    assert "three.mp4" in result.output
    assert "one.mp4" not in result.output
    newest = CliRunner().invoke(main, ["batches", "--last", "2"])
    assert (newest.output.count("completed"), newest.exit_code) == (2, 0)


@pytest.mark.slow
@pytest.mark.real_data
def test_a_night_with_openpose(data: Path, tmp_path: Path) -> None:
    """A wide input, BGR order, another decoder, and people in a street."""
    source = data / "openpose/human-pose-estimation-0001-FP16-INT8/human-pose-estimation-0001.xml"
    version = convert_model("openpose", str(source))
    assert convert_model("openpose", str(source.parent)) == version
    (tmp_path / "archive").mkdir()
    shutil.copy(data / "videos/mmpose_demo.mp4", tmp_path / "archive")
    report = run(tmp_path / "archive", model="openpose")
    assert report.status == "completed"
    assert ask("SELECT frames, frames_done FROM video_summary") == [(5, 5)]
    # A woman on the right, near, walking away: her left side is on the left.
    near = "left_hip_x BETWEEN 800 AND right_hip_x AND left_hip_y BETWEEN 340 AND 440 AND left_knee_y > left_hip_y + 30"
    assert ask(f"SELECT frame, count(*) FROM poses WHERE {near} GROUP BY frame") == [(frame, 1) for frame in range(5)]
    assert ask("SELECT min(people), max(people) FROM (SELECT count(*) AS people FROM poses GROUP BY frame)") == [(5, 6)]
    ((decoder, source),) = ask(
        "SELECT json_extract(manifest, '$.decoder'), source_format FROM model_versions JOIN segments"
        " USING (model_version_id)"
    )
    assert (decoder, source) == ("openpose", "openvino-ir")


@pytest.mark.slow
@pytest.mark.real_data
def test_a_night_with_movenet_in_the_archives_aspect_ratio(data: Path, tmp_path: Path) -> None:
    """A wide street through 192x320: people at the same positions as through another size, in another version."""
    source = str(data / "movenet/multipose")
    wide = convert_model("movenet-multipose", source, size="192x320")
    assert convert_model("movenet-wide", source, size="256x448") != wide
    (tmp_path / "archive").mkdir()
    shutil.copy(data / "videos/mmpose_demo.mp4", tmp_path / "archive")
    for model in ("movenet-multipose", "movenet-wide"):
        assert run(tmp_path / "archive", model=model).status == "completed"
    assert ask("SELECT DISTINCT frames_done FROM video_summary") == [(5,)]
    both = ask(
        "SELECT a.frame, min(abs(a.left_hip_x - b.left_hip_x) + abs(a.left_hip_y - b.left_hip_y))"
        " FROM poses AS a JOIN model_versions AS m ON m.model_version_id = a.model_version_id"
        " JOIN poses AS b ON b.frame = a.frame AND b.model_version_id <> a.model_version_id"
        " WHERE m.name = 'movenet-multipose' AND a.person = 0 GROUP BY a.frame"
    )
    assert [frame for frame, _ in both] == list(range(5))
    assert max(apart for _, apart in both) < 15


@pytest.mark.slow
def test_a_night_with_models_in_onnx(tmp_path: Path) -> None:
    """RTMO's rows and a pose head's anchors, of a film whose red square wanders: one person per frame, where it is."""
    cells = [(5, 2 + number % 12) for number in range(30)]
    (tmp_path / "archive").mkdir()
    pictures = [onnx_models.picture((192, 256), [cell]) for cell in cells]
    make_video(tmp_path / "archive/red.mp4", pictures=pictures)
    for name, write in (("my-rtmo", onnx_models.write_rtmo), ("my-yolo", onnx_models.write_yolo)):
        convert_model(name, str(write(tmp_path / f"{name}.onnx")))
        report = run(tmp_path / "archive", model=name, overlay="all")
        assert (report.status, report.counts.people) == ("completed", 30)
        rows = ask(
            "SELECT frame, nose_x, nose_y, left_hip_x, left_hip_y, right_ankle_x, score FROM poses"
            f" JOIN model_versions USING (model_version_id) WHERE name = '{name}' ORDER BY frame"
        )
        assert [row[0] for row in rows] == list(range(30))
        for cell, (_, *found, ankle, score) in zip(cells, rows, strict=True):
            keypoints = onnx_models.person(*cell)
            expected = [*keypoints[KEYPOINT_NAMES.index("nose")], *keypoints[KEYPOINT_NAMES.index("left_hip")]]
            assert found == pytest.approx(expected, abs=0.01)
            assert ankle is None
            assert score > 0.9
    assert ask("SELECT name, source_format FROM model_versions ORDER BY name") == [
        ("my-rtmo", "onnx"),
        ("my-yolo", "onnx"),
    ]
