"""A night with a classifier: labels next to keypoints, sampled or all frames, every row of its own frame."""

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner

from deployments.cli import main
from flows.convert_model import convert_model
from flows.nightly_batch import nightly_batch
from models.types import NightjarError
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.batch.report import BatchReport
from tasks.site.settings import read_settings
from tests.flows.conftest import has_spot, register_tiny_model, spot_video

pytestmark = pytest.mark.usefixtures("prefect_server", "home")


def ask(sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(open_database(read_settings().database), sql)[1]]


@pytest.fixture
def archive(tmp_path: Path, tiny_model: Path, tiny_classifier: Path) -> Path:
    """60 frames at 25 frames/s, a keyframe every ten; every seventh frame has no spot."""
    register_tiny_model(tiny_model)
    register_tiny_model(tiny_classifier)
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "one.mp4", 60)
    return tmp_path / "archive"


def run(archive: Path, **options: Any) -> BatchReport:
    return nightly_batch(str(archive), **{"model": "spotter", "overlay": "none", "segment_s": 1, **options})


ROWS = "SELECT frame, label, t_s, score FROM classifications ORDER BY model_version_id, frame"


def test_every_frame_has_the_label_of_its_own_picture(archive: Path) -> None:
    report = run(archive)
    rows = ask(ROWS)
    assert [row[0] for row in rows] == list(range(60))
    assert [row[1] for row in rows] == ["spot" if has_spot(frame) else "empty" for frame in range(60)]
    assert all(t_s == pytest.approx(frame / 25) and score > 0.99 for frame, _, t_s, score in rows)
    assert ask("SELECT count(*) FROM segments WHERE status = 'done'")[0][0] >= 2
    assert report.lines()["labels"] == "60 rows, one per processed frame"
    assert report.videos == [{"video": "one.mp4", "labels": 60, "frames": 60, "done": 60, "not done": ""}]
    assert run(archive).lines()["segments"] == "nothing new, all results are in the database"
    assert ask(ROWS) == rows
    intervals = ask("SELECT label, from_s, to_s, frames FROM label_intervals ORDER BY from_s LIMIT 3")
    assert [row[0] for row in intervals] == ["spot", "empty", "spot"]
    assert [row[3] for row in intervals] == [6, 1, 6]
    assert intervals[0][1:3] == pytest.approx((0.0, 0.2))


def test_labels_and_keypoints_are_stored_next_to_each_other(archive: Path) -> None:
    run(archive)
    run(archive, model="tiny")
    shown = ask("SELECT task, model, people, labels FROM video_summary ORDER BY task")
    spots = sum(has_spot(frame) for frame in range(60))
    assert shown == [("classification", "spotter", None, 60), ("pose", "tiny", spots, None)]
    both = """
        SELECT count(*) FROM classifications AS c JOIN poses AS p ON p.video_id = c.video_id AND p.frame = c.frame
        WHERE c.label = 'spot'"""
    assert ask(both) == [(spots,)]


@pytest.mark.slow
def test_another_sampling_rate_is_another_version(archive: Path) -> None:
    """Two per second of 60 frames: the frames nearest to each half second, in any segment; versions are not mixed."""
    report = run(archive, frames_per_second=2)
    rows = ask(ROWS)
    assert [row[0] for row in rows] == [0, 12, 25, 37, 50]
    assert [row[1] for row in rows] == ["spot" if has_spot(row[0]) else "empty" for row in rows]
    assert (report.counts.frames_done, report.counts.people, report.counts.missing) == (60, 5, 0)
    assert run(archive, frames_per_second=2).counts.expected == 0
    whole = run(archive)
    assert (whole.counts.people, whole.counts.frames_done) == (60, 60)
    versions = """
        SELECT frames_per_second, count(*) FROM model_versions JOIN classifications USING (model_version_id)
        GROUP BY frames_per_second ORDER BY frames_per_second IS NULL"""
    assert ask(versions) == [(2.0, 5), (None, 60)]
    assert ask("SELECT labels FROM video_summary") == [(60,)], "the version that was completed last is shown"
    chosen = ask("SELECT version_sha256, model_version_id FROM model_versions WHERE frames_per_second = 2")[0]
    assert CliRunner().invoke(main, ["models", "--show", chosen[0]]).exit_code == 0
    assert "chosen by hand. The rows of this run are in classifications" in run(archive).lines()["views"]
    assert ask("SELECT labels, model_version_id FROM video_summary") == [(5, chosen[1])], "a person's choice stays"
    assert ask("SELECT count(DISTINCT ir_sha256) FROM model_versions WHERE name = 'spotter'") == [(1,)]


def test_one_frame_per_minute_leaves_segments_without_a_row(archive: Path) -> None:
    report = run(archive, frames_per_second=0.02)
    assert ask(ROWS)[0][0] == 0
    assert len(ask(ROWS)) == 1
    assert (report.status, report.counts.frames_done) == ("completed", 60)


@pytest.mark.slow
def test_a_sampled_version_is_selected_by_hash_or_rate(archive: Path) -> None:
    run(archive, frames_per_second=2)
    [(sha256,)] = ask("SELECT version_sha256 FROM model_versions WHERE frames_per_second = 2")
    assert run(archive, model=sha256[:12]).counts.expected == 0
    assert run(archive, model=sha256[:12], frames_per_second=2).counts.expected == 0
    with pytest.raises(NightjarError, match=re.escape("processes 2 frames per second, not 5")):
        run(archive, model=sha256[:12], frames_per_second=5)


def test_poses_are_sampled(archive: Path) -> None:
    run(archive, model="tiny", frames_per_second=5)
    assert [row[0] for row in ask("SELECT DISTINCT frame FROM poses ORDER BY frame")] == [
        frame for frame in range(0, 60, 5) if has_spot(frame)
    ]


def test_the_picture_and_the_overlay_show_the_label(archive: Path) -> None:
    report = run(archive, overlay="all")
    sheet = cv2.imread(report.pictures.sheet_url)
    assert sheet is not None
    [url] = report.pictures.overlays.values()
    film = cv2.VideoCapture(url)
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == 60


def test_the_command_line_classifies(archive: Path) -> None:
    words = ["run", str(archive), "--model", "spotter", "--frames-per-second", "5", "--overlay", "none"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "12 rows, one per processed frame" in result.output
    assert "spotter" in CliRunner().invoke(main, ["models"]).output
    assert CliRunner().invoke(main, ["run", "x", "--model", "y", "--frames-per-second", "0"]).exit_code == 2


@pytest.mark.slow
@pytest.mark.cases
def test_a_foreign_classifier_labels_films_as_keras_does(cases: Path, tmp_path: Path) -> None:
    """Rescaling(1/255) is found in the file."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("bright.mp4", "dark.mp4"):
        shutil.copyfile(cases / "classifier" / name, folder / name)
    convert_model("bright", str(cases / "classifier/bright.keras"), labels="dark,bright")
    run(folder, model="bright")
    found = ask(
        "SELECT v.video, label, min(score) FROM classifications JOIN video_summary AS v USING (video_id)"
        " GROUP BY v.video, label ORDER BY v.video"
    )
    assert [row[:2] for row in found] == [("bright.mp4", "bright"), ("dark.mp4", "dark")]
    assert found[0][2] == pytest.approx(0.9999, abs=1e-3)


def test_the_intervals_command_stops_flicker(archive: Path) -> None:
    run(archive)
    runner, rows = CliRunner(), ask(ROWS)
    intervals = "SELECT label, frames FROM label_intervals ORDER BY from_s"
    flickering = ask(intervals)
    assert len(flickering) > 10
    said = runner.invoke(main, ["intervals", "spotter"], catch_exceptions=False).output
    assert said == "An interval of spotter ends where the label changes\n"
    answer = runner.invoke(main, ["intervals", "spotter", "--enter", "0.9", "--leave", "0.5", "--min-duration", "1"])
    assert "An interval of spot begins at a probability of 0.9, ends below 0.5, and lasts 1 s at least" in answer.output
    assert ask(intervals) == [("empty", 60)]  # a spot lasts six frames at 25 frames/s
    assert ask(ROWS) == rows
    refused = runner.invoke(main, ["intervals", "spotter", "--enter", "0.4", "--leave", "0.5"])
    assert refused.exit_code == 1
    assert "the first no smaller than the second" in refused.output
    runner.invoke(main, ["intervals", "spotter", "--off"], catch_exceptions=False)
    assert ask(intervals) == flickering
