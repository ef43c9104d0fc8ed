"""The flow measures models, and the figures decide which one is recommended for a night."""

import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner

from deployments.cli import main
from flows.benchmark_model import benchmark_model
from models.types import NightjarError
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.benchmark import benchmark as benchmarking
from tasks.demo.film import render
from tasks.site.settings import read_settings
from tests.flows.conftest import register_tiny_model, spot_video
from tests.storage.sql.test_benchmarks import row

pytestmark = pytest.mark.usefixtures("prefect_server", "home")


def ask(sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(open_database(read_settings().database), sql)[1]]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return spot_video(tmp_path / "spots.mp4", 60)


@pytest.mark.slow
def test_each_model_gives_two_rows_and_all_one_chart(
    tiny_model: Path, tiny_classifier: Path, film: Path, home: Path
) -> None:
    for folder in (tiny_model, tiny_classifier):
        register_tiny_model(folder)
    speeds = benchmark_model(["tiny", "spotter", "tiny"], seconds=0.2, video=str(film))
    assert list(speeds) == ["tiny", "spotter"]
    found = ask(
        "SELECT name, what, frames_per_s, device, b.precision, requests > 0, memory_bytes > 1000000, machine, video,"
        " flow_run_id IS NOT NULL, load_1m >= 0, seconds >= 0.2"
        " FROM benchmark_results AS b JOIN model_versions USING (model_version_id) ORDER BY benchmark_result_id"
    )
    assert [row[:2] for row in found] == [(name, what) for name in speeds for what in ("model", "pipeline")]
    for name, what, frames_per_s, device, precision, *true, machine, video, _, _, _ in found:
        assert frames_per_s == speeds[name][what]
        assert device.startswith("CPU (")
        assert (precision, true) == ("f32", [1, 1])
        assert " GB, " in machine
        assert video == (None if what == "model" else "spots.mp4, 224x224, h264, 25 frames/s")
    assert all(row[-3:] == (1, 1, 1) for row in found)
    assert ask("SELECT (SELECT count(*) FROM poses), (SELECT count(*) FROM segments)") == [(0, 0)]
    [chart] = home.rglob("speeds.png")
    assert cv2.imread(str(chart)).shape[1] == 1600


def test_measuring_again_adds_rows_and_the_command_shows_earlier_ones(tiny_model: Path, film: Path) -> None:
    register_tiny_model(tiny_model)
    nothing = CliRunner().invoke(main, ["models", "--frames-per-second", "1"])
    assert "No speed was measured yet. Run 'nightjar benchmark MODEL'" in nothing.output
    for _ in range(2):
        result = CliRunner().invoke(main, ["benchmark", "tiny", "--seconds", "0.1", "--video", str(film)])
        assert result.exit_code == 0, result.output
        assert "Measured here" in result.output
        assert "to rows," in result.output
    assert ask("SELECT count(*) FROM benchmark_results") == [(4,)]
    listed = CliRunner().invoke(main, ["models", "--frames-per-second", "1"])
    assert listed.output.count("tiny") >= 3
    said = " ".join(listed.output.split())
    assert re.search(r"in f32: use tiny at 224, the only fast enough model\. .* above 1\.", said)
    too_fast = CliRunner().invoke(main, ["models", "--frames-per-second", "90000"])
    assert "no measured model reaches 90000 frames/s. The fastest, tiny at 224, reaches" in " ".join(
        too_fast.output.split()
    )


def test_without_a_video_one_is_rendered(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarking, "render_frames", lambda path: render(path, frames=4))
    register_tiny_model(tiny_model)
    benchmark_model(["tiny"], seconds=0.1)
    [(video,)] = ask("SELECT video FROM benchmark_results WHERE what = 'pipeline'")
    assert video == "film.mp4, 640x480, h264, 25 frames/s"


def test_the_table_separates_the_articles_figures() -> None:
    rows = {name: [row(1, 100.0), row(1, 80.0, "pipeline")] for name in ("posenet-075", "posenet-demo")}
    known, unknown = benchmarking.speed_table(rows)
    theirs = [name for name in known if "article" in name]
    assert len(theirs) == 1
    assert "Neural Compute Stick" in theirs[0]
    assert (known[theirs[0]], unknown[theirs[0]]) == (30, None)
    assert (known["model alone, frames/s"], known["video to rows, frames/s"]) == (100.0, 80.0)
    assert list(known)[:2] == ["model", "video to rows, frames/s"], "the most important columns are first"
    assert max(len(known), len(benchmarking.cost_table(rows)[0])) <= 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": ["nobody"]}, "Model 'nobody' does not exist"),
        ({"device": "TOASTER"}, "no device TOASTER here"),
        ({"video": "none.mp4"}, "The file 'none.mp4' does not exist"),
    ],
    ids=str,
)
def test_wrong_parameters_give_one_clear_error(
    tiny_model: Path, film: Path, options: dict[str, Any], words: str
) -> None:
    register_tiny_model(tiny_model)
    with pytest.raises(NightjarError, match=re.escape(words)):
        benchmark_model(**{"models": ["tiny"], "seconds": 0.1, "video": str(film), **options})
    assert ask("SELECT count(*) FROM benchmark_results") == [(0,)]


def test_every_parameter_is_in_the_form_and_on_the_command_line() -> None:
    options = {option.name for option in main.commands["benchmark"].params}
    assert options == set(benchmark_model.parameters.properties)
