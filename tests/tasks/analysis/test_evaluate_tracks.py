"""`nightjar evaluate-tracks`: sequences of MOTChallenge, and archives with their truth."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments.cli import main
from models.synthetic.truth import coco_truth
from models.synthetic.video import Actor, Scene
from tasks.analysis.evaluate_tracks import evaluate_sequence
from tasks.site.settings import read_settings
from tests.servers_postgres import write_migrated


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation without a row."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    for name in ("NIGHTJAR_DATABASE_URL", "NIGHTJAR_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    read_settings.cache_clear()
    write_migrated(tmp_path / "home" / "nightjar.db")
    yield tmp_path / "home"
    read_settings.cache_clear()


# IDF1 at IoU 0.5 of the package trackers 2.6.1 on the same files: ByteTrack.
BYTETRACK = {"TUD-Campus": 0.603, "TUD-Stadtmitte": 0.760}


@pytest.mark.real_data
@pytest.mark.parametrize("name", BYTETRACK)
def test_tracks_of_public_detections(data: Path, name: str) -> None:
    assert evaluate_sequence(data / "tracking" / name).idf1 >= BYTETRACK[name]


def answer(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["evaluate-tracks", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_figures_of_a_sequence_are_printed_one_per_line(tmp_path: Path) -> None:
    boxes = [(frame, number, 50 * number + frame, 20) for frame in range(1, 31) for number in (1, 4)]
    (tmp_path / "gt.txt").write_text("".join(f"{f},{n},{x},{y},20,60,1,-1,-1,-1\n" for f, n, x, y in boxes))
    seen = [box for box in boxes if box[0] not in (10, 11, 12)]
    (tmp_path / "det.txt").write_text("".join(f"{f},-1,{x},{y},20,60,0.9,-1,-1,-1\n" for f, _, x, y in seen))
    printed = answer(str(tmp_path)).splitlines()
    assert printed[:3] == ["IDF1 1.000", "HOTA 1.000", "MOTA 1.000"]
    assert printed[-2:] == ["people 2", "tracks 2"]


@pytest.mark.usefixtures("home")
def test_an_archive_by_its_own_keypoints(tmp_path: Path) -> None:
    scene = Scene(9, (Actor("walk", x_m=-1, heading_deg=90, speed_m_s=1.0), Actor(x_m=0.8, z_m=5)), (160, 120))
    people = [scene.frame(number / 5)[1] for number in range(8)]
    about = [{"frame": number, "t_s": number / 5} for number in range(8)]
    truth = tmp_path / "a.mp4.truth.json"
    truth.write_text(json.dumps(coco_truth(people, (120, 160), extra=about)))
    assert answer(str(tmp_path), "--true-keypoints").startswith("IDF1 1.000\n")


@pytest.mark.usefixtures("home")
def test_folders_and_models_that_are_refused(tmp_path: Path) -> None:
    for arguments, said in (
        ((str(tmp_path),), "Give a folder"),
        ((str(tmp_path / "absent"),), "Give a folder"),
    ):
        result = CliRunner().invoke(main, ["evaluate-tracks", *arguments])
        assert result.exit_code == 1
        assert said in result.output
    (tmp_path / "a.mp4.truth.json").write_text(
        json.dumps(coco_truth([], (2, 2)) | {"images": [{"id": 0, "width": 2, "height": 2, "t_s": 0.0}]})
    )
    for options, said in (([], "No batch has completed yet"), (["--model", "nobody"], "does not exist")):
        result = CliRunner().invoke(main, ["evaluate-tracks", str(tmp_path), *options])
        assert result.exit_code == 1
        assert said in result.output
