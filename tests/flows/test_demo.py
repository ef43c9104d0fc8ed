"""The demo, end to end, and the regression test of accuracy: the whole pipeline against an exact ground truth."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.demo import run_demo
from flows.convert_model import convert_model
from flows.nightly_batch import nightly_batch
from flows.train_demo_model import train_demo_model
from models.synthetic.truth import coco_truth, people_of
from storage.video.probe import probe_video
from tasks.demo.accuracy import measure_archive
from tasks.demo.archive import BROKEN, CLIPS, TRUTH_SUFFIX, render_archive
from tasks.model.convert import SHIPPED
from tasks.model.names import DEMO_MODEL
from tasks.site.site import open_site
from tasks.training import demo_model as training
from tests.conftest import ROOT

# The shipped model's accuracy on the demo's archive when it was shipped, from stored rows. A change that loses more
# than 0.02 of it, anywhere between the video file and SQL, is a regression; an improvement raises the figure.
# Up to 0.2.0 each rendering of the archive differed a little: AP was 0.624 to 0.627, PCK 0.844 to 0.854.
BAR_AP, BAR_PCK, MAY_DROP = 0.635, 0.843, 0.02


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive: six videos of synthetic people with their truth, and a broken one."""
    folder = tmp_path_factory.mktemp("people") / "demo"
    assert render_archive(folder) == [*CLIPS, BROKEN]
    return folder


def test_the_archive_has_all_kinds_of_scenes_and_ground_truth(rendered: Path) -> None:
    rotations, uneven, containers = set(), 0, set()
    for name, clip in CLIPS.items():
        video, index = probe_video(rendered / name)
        truth = json.loads((rendered / f"{name}{TRUTH_SUFFIX}").read_text())
        assert (video.width, video.height) == clip.scene.size
        assert [image["t_s"] for image in truth["images"]] == pytest.approx(index.timestamps_s.tolist(), abs=2e-3)
        assert {(image["width"], image["height"]) for image in truth["images"]} == {clip.scene.size}
        rotations.add(video.rotation)
        containers.add(video.container)
        steps = index.timestamps_s[1:] - index.timestamps_s[:-1]
        uneven += bool(steps.max() > 1.4 * steps.min())
    assert (rotations, uneven, len(containers)) == ({0, 90}, 1, 2)
    assert render_archive(rendered) == [], "existing videos are not rendered again"


RENDER_SOME = """
import sys
from pathlib import Path
from tasks.demo import archive
archive.CLIPS = {name: archive.CLIPS[name] for name in sys.argv[2:]}
archive.render_archive(Path(sys.argv[1]))
"""


def test_another_process_renders_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    """Two demos once differed in their figures and pictures. MALLOC_PERTURB_: glibc fills new memory with it."""
    names = "yard.mkv", "telephone.mp4"
    env = os.environ | {"MALLOC_PERTURB_": "85", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", RENDER_SOME, str(tmp_path), *names], env=env, check=True)
    for name in names:
        for file in (name, f"{name}{TRUTH_SUFFIX}"):
            assert (tmp_path / file).read_bytes() == (rendered / file).read_bytes(), file


def test_ground_truth_survives_a_round_trip(rendered: Path) -> None:
    truth = json.loads(next(rendered.glob(f"*{TRUTH_SUFFIX}")).read_text())
    people = people_of(truth)
    assert len(people) == len(truth["images"])
    assert coco_truth(people, (240, 320))["annotations"] == truth["annotations"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "home")
def test_the_accuracy_on_the_archive_does_not_drop(rendered: Path) -> None:
    convert_model(DEMO_MODEL)
    report = nightly_batch(str(rendered), DEMO_MODEL, overlay="none")
    assert report.status == "completed"
    assert [row["key"] for row in report.refused] == [BROKEN]
    with open_site() as site:
        accuracy = measure_archive(site, rendered, DEMO_MODEL)
    assert accuracy.frames == sum(len(clip.times_s) for clip in CLIPS.values())
    assert accuracy.ap >= BAR_AP - MAY_DROP
    assert accuracy.pck_box >= BAR_PCK - MAY_DROP


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_demo_answers_three_questions_and_a_second_run_adds_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_demo()
    first = capsys.readouterr().out
    raised, nobody, crowded = (
        first.split(words)[1].split("rows\n")[0] for words in ("raise a hand", "nobody", "crowded?")
    )
    assert "telephone.mp4" in raised
    assert "corridor.mp4" in nobody
    assert "yard.mkv" in crowded
    assert "truncated" in first
    assert re.search(r"^page +http://127\.0\.0\.1:4270/night/1 \(run 'nightjar browse'\)$", first, re.MULTILINE)
    assert not (home / "artifacts" / "overlays").exists(), "nobody has asked for one"
    run_demo()
    second = capsys.readouterr().out
    assert "0 rendered, 7 already present" in second
    assert "already converted" in second
    assert "nothing new" in second
    measured = [re.findall(r"^  (\d+ frames, as stored: .*|PCK .*)$", said, re.MULTILINE) for said in (first, second)]
    assert measured[0] == measured[1]
    frames, ap, pck = re.findall(r"^(\d+) frames|AP (0\.\d+)|box\) (0\.\d+)", "\n".join(measured[0]))
    assert int(frames[0]) == sum(len(clip.times_s) for clip in CLIPS.values())
    assert float(ap[1]) >= BAR_AP - MAY_DROP
    assert float(pck[2]) >= BAR_PCK - MAY_DROP


def test_the_figures_of_the_quantised_shipped_model_are_on_its_card() -> None:
    model = json.loads((SHIPPED / "model.json").read_text())
    weights = model["weightsManifest"][0]["weights"]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir() if path.is_file()) <= 1_500_000
    assert {weight["quantization"]["dtype"] for weight in weights} == {"uint16"}
    card, measured = (
        (SHIPPED / training.CARD_FILE).read_text(),
        json.loads((SHIPPED / "training" / "accuracy.json").read_text()),
    )
    for name in ("ap", "ap50", "ap75", "pck_box", "pck_torso"):
        assert f"| {' | '.join(f'{row[name]:.3f}' for row in measured.values())} |" in card, name


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_training_ends_in_a_model_that_converts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps only: the model has learnt nothing, but passes through every stage."""
    measure = training.measure_posenet
    monkeypatch.setattr("flows.train_demo_model.measure_posenet_task", lambda model: measure(model, frames=4))
    folder = train_demo_model(minutes=5, steps=30, folder=str(tmp_path / "training"))
    assert (home / "artifacts" / "training" / "posenet-demo" / "losses.png").read_bytes().startswith(b"\x89PNG")
    report: dict[str, Any] = json.loads((Path(folder).parent / training.REPORT_FILE).read_text())
    assert report["steps"] == 30
    assert "synthetic people only" in (Path(folder) / training.CARD_FILE).read_text()
    convert_model("posenet-young", folder)
