"""Pictures become a classifier that labels a night; the training is killed, fails and is started again."""

import csv
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from deployments.cli import main
from flows import finetune_classifier as flow
from flows.finetune_classifier import finetune_classifier
from flows.nightly_batch import nightly_batch
from models.car_classifier import train as finetune
from models.car_classifier.checkpoint import save_state
from models.car_classifier.params import FinetuneParams
from models.types import NightjarError
from storage.sql import trainings
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.site.settings import read_settings
from tests.videos import make_video

pytestmark = pytest.mark.usefixtures("prefect_server", "home")
FAST: dict[str, Any] = {"backbone": "mobilenet_0_25", "epochs": 3, "batch_size": 8, "learning_rate": 0.01}


def ask(sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(open_database(read_settings().database), sql)[1]]


def picture(car: bool, seed: int) -> np.ndarray:
    """(64, 64, 3) BGR: grey blocks, different in each picture; cars have red at the bottom, others green at the top."""
    blocks = np.random.default_rng(seed).integers(0, 80, (8, 8, 1)).repeat(3, axis=2)
    blocks[slice(4, 8) if car else slice(0, 4), :, 2 if car else 1] += 170
    return blocks.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """40 cars, 40 others, and one file that is not a picture."""
    folder = tmp_path / "pictures"
    for car, name in ((True, "car"), (False, "not_car")):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            cv2.imwrite(str(folder / name / f"{number:02d}.png"), picture(car, 1000 * car + number))
    (folder / "car" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a backbone, whose features distinguish these colours."""
    from models.car_classifier.network import build_base

    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    build_base("mobilenet_0_25", None, seed=3).inner.save_weights(path)
    return path


def run(pictures: Path, weights: Path, **options: Any) -> int:
    return finetune_classifier(folders=[str(pictures)], weights=str(weights), **{**FAST, **options})


@pytest.mark.slow
def test_pictures_become_a_model_that_labels_a_night(pictures: Path, weights: Path, tmp_path: Path) -> None:
    assert run(pictures, weights, epochs=15, learning_rate=0.05) == 1
    [row] = ask(
        "SELECT status, preset, pictures_train, pictures_validation, pictures_test, accuracy, best_epoch > 0, m.name,"
        " m.task FROM training_runs JOIN model_versions AS m USING (model_version_id)"
    )
    status, preset, *counts, accuracy, kept, name, task = row
    assert (status, preset, counts, kept, name, task) == (
        *("completed", "experiment-1", [40, 24, 16]),
        *(1, "car-classifier", "classification"),
    )
    assert accuracy >= 0.9
    [failures] = ask("SELECT count(*) FROM training_failures")
    [wrong] = ask("SELECT false_positives + false_negatives FROM training_runs")
    assert failures == wrong
    assert ask("SELECT split, count(*), count(score) FROM training_predictions GROUP BY split ORDER BY split") == [
        *(("test", 16, 16), ("train", 40, 0), ("validation", 24, 24)),
    ]
    [(threshold, manifest)] = ask(
        "SELECT threshold, manifest FROM training_runs JOIN model_versions USING (model_version_id)"
    )
    assert json.loads(manifest)["decode_params"]["threshold"] == threshold
    assert ask("SELECT ir_accuracy - accuracy, ir_labels_changed, ir_largest_difference < 0.01 FROM training_runs") == [
        (0.0, 0, 1)
    ]
    assert ask("SELECT count(*), min(epoch), max(epoch), max(step) FROM training_epochs") == [(15, 1, 15, 75)]
    assert ask("SELECT count(*) FROM training_steps") == [(75,)]
    [(data, params)] = ask("SELECT data, params FROM training_runs")
    assert "broken.jpg" in json.dumps(json.loads(data)["notes"])
    assert json.loads(params)["batch_size"] == 8

    (tmp_path / "archive").mkdir()
    street = [picture(car, 5000 + number) for number, car in enumerate([True] * 20 + [False] * 20)]
    make_video(tmp_path / "archive" / "street.mp4", pictures=[np.ascontiguousarray(each[..., ::-1]) for each in street])
    report = nightly_batch(str(tmp_path / "archive"), "run-1", overlay="none", frames_per_second=5)
    labels = ask("SELECT frame, label FROM classifications ORDER BY frame")
    assert [frame for frame, _ in labels] == list(range(0, 40, 5))
    right = sum((label == "car") == (frame < 20) for frame, label in labels)
    assert right >= 7, labels
    assert report.counts.people == 8
    lineage = "SELECT t.training_run_id FROM training_runs AS t JOIN model_versions AS m USING (model_version_id)"
    assert ask(lineage) == [(1,)]


@pytest.mark.slow
def test_a_training_is_not_repeated_and_another_seed_is_another_run(
    pictures: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(pictures, weights)
    before = ask("SELECT * FROM training_runs")
    with monkeypatch.context() as patched:
        patched.setattr(finetune, "finetune", lambda *_, **__: pytest.fail("it was trained again"))
        assert run(pictures, weights) == first
    assert ask("SELECT * FROM training_runs") == before
    assert run(pictures, weights, seed=2) == first + 1


@pytest.mark.slow
def test_a_stopped_training_resumes_and_ends_with_equal_bytes(
    pictures: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pictures, weights, name="in-one-go")
    save = save_state

    def killed(state: Any, identity: str, path: Path) -> None:
        save(state, identity, path)
        if len(state.epochs) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finetune, "save_state", killed)
        with pytest.raises(BaseException, match=r"^Cancelled\. What was done is kept"):
            run(pictures, weights, name="in-two")
    assert ask("SELECT status FROM training_runs WHERE name = 'in-two'") == [("failed",)]
    run(pictures, weights, name="in-two")
    losses = "SELECT epoch, loss, validation_loss FROM training_epochs JOIN training_runs USING (training_run_id)"
    once, twice = (ask(f"{losses} WHERE name = '{name}' ORDER BY epoch") for name in ("in-one-go", "in-two"))
    assert len(once) == 3
    assert once == twice
    versions = ask("SELECT ir_sha256 FROM model_versions WHERE name IN ('in-one-go', 'in-two')")
    assert len(set(versions)) == 1, "the same bytes"
    assert len(ask("SELECT 1 FROM training_runs")) == 2


def test_epochs_are_in_sql_at_once_and_the_page_before_completion(
    pictures: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    original = trainings.record_epoch
    state = "SELECT status, (SELECT count(*) FROM training_epochs) FROM training_runs"

    def recorded(*arguments: Any) -> None:
        original(*arguments)
        seen.extend(ask(state))

    monkeypatch.setattr(trainings, "record_epoch", recorded)
    monkeypatch.setattr(flow, "create_markdown_artifact", lambda *_, **__: seen.extend(ask(state)))
    run(pictures, weights)
    assert seen == [("running", 1), ("running", 2), ("running", 3), ("running", 3)]
    assert ask(state) == [("completed", 3)]


@pytest.mark.slow
def test_names_other_than_utf8_do_not_end_a_training(pictures: Path, weights: Path) -> None:
    """One file is skipped, one is a copy, and twenty are used."""
    name = os.fsdecode("Käfer".encode("latin-1"))
    (pictures / "car" / f"{name}.jpg").write_bytes(b"\xff\xd8\xff")
    (pictures / "car" / f"{name}.png").write_bytes((pictures / "car" / "00.png").read_bytes())
    for number in range(20):
        (pictures / "car" / f"{number + 10:02d}.png").rename(pictures / "car" / f"{name}-{number}.png")
    run(pictures, weights)
    assert ask("SELECT status FROM training_runs") == [("completed",)]
    assert ask("SELECT count(*) FROM training_predictions WHERE picture LIKE '%udce4%'") == [(20,)]


@pytest.mark.slow
def test_few_cars_are_found_by_a_low_threshold_with_a_warning(
    pictures: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    monkeypatch.setattr(flow, "create_markdown_artifact", lambda text, **_: pages.append(text))
    for number in range(15, 40):
        (pictures / "car" / f"{number:02d}.png").unlink()
    for number in range(40, 120):
        cv2.imwrite(str(pictures / "not_car" / f"{number}.png"), picture(False, number))
    run(pictures, weights, epochs=5, learning_rate=0.01)
    [(threshold, recall, at_half)] = ask(
        "SELECT threshold, recall, (SELECT count(*) FROM training_predictions WHERE split = 'test' AND score >= 0.5)"
        " FROM training_runs"
    )
    assert at_half == 0, "otherwise the test shows nothing"
    assert threshold < 0.5
    assert recall > 0.5
    assert "**Nothing was called a car at a threshold of 0.5; " in pages[0]
    assert "--class-weights balanced" in pages[0]
    assert re.search(r"\| pictures: not\\_car \| 2\d \| \d\.\d{4} \| ", pages[0])
    compared = CliRunner().invoke(main, ["compare", "1"])
    assert "WARNING: Nothing was called a car at a threshold of 0.5." in compared.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folders": None}, "No pictures were given"),
        ({"folders": None, "stanford": "somewhere"}, "Give both --stanford and --devkit"),
        ({"folders": ["nowhere"]}, "nowhere"),
        ({"weights": "none.h5"}, "The file 'none.h5' does not exist"),
    ],
)
def test_wrong_parameters_give_one_clear_error(
    pictures: Path, weights: Path, options: dict[str, Any], words: str
) -> None:
    given = {"folders": [str(pictures)], "weights": str(weights), **FAST, **options}
    with pytest.raises(NightjarError, match=re.escape(words)):
        finetune_classifier(**given)
    assert ask("SELECT count(*) FROM training_runs") == [(0,)]


def test_a_class_without_pictures_is_an_error(pictures: Path, weights: Path) -> None:
    for path in (pictures / "not_car").iterdir():
        path.unlink()
    with pytest.raises(NightjarError, match="none of not_car"):
        run(pictures, weights)


@pytest.mark.slow
def test_a_nan_loss_is_reported_and_fails_the_run(
    pictures: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "_loss_and_accuracy", lambda *_: (float("nan"), 0.5))
    with pytest.raises(NightjarError, match=r"loss of step 1 .* is nan"):
        run(pictures, weights)
    [(status, error)] = ask("SELECT status, error FROM training_runs")
    assert status == "failed"
    assert "is nan" in error


@pytest.mark.slow
def test_trainings_are_compared_side_by_side(pictures: Path, weights: Path) -> None:
    one, two = run(pictures, weights), run(pictures, weights, preset="experiment-3", batch_size=16)
    asked = ["compare", str(two), str(one)]
    _, *rows = csv.reader(CliRunner().invoke(main, [*asked, "--format", "csv"]).output.splitlines())
    found = {label: values for label, *values in rows}
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    assert re.search(r"preset\W+experiment-3\W+experiment-1", result.output)
    assert found["preset"] == ["experiment-3", "experiment-1"]
    assert found["batch size"] == ["16", "8"]
    assert found["dropout"] == ["0.3", "0"]
    assert "learning rate" not in found, "equal parameters are omitted"
    assert "fails on" in result.output
    [side_by_side] = re.findall(r"side by side: (\S+)", result.output)
    assert cv2.imread(side_by_side) is not None
    assert found["model of that name now"][0] == "this model"
    assert found["model of that name now"][1].startswith("another one")
    assert found["test set"] == ["16 pictures", f"same as run {two}"]
    assert "The test sets differ" not in result.output
    other = run(pictures, weights, seed=5)
    result = CliRunner().invoke(main, ["compare", str(one), str(other)])
    assert "The test sets differ" in result.output
    assert re.search(rf"16 pictures, \d+ of run {one}", result.output)
    listed = CliRunner().invoke(main, ["compare"])
    assert "3 rows" in listed.output
    missing = CliRunner().invoke(main, ["compare", "77"])
    assert missing.exit_code == 1
    assert "no training run 77" in missing.output


def test_every_parameter_is_in_the_form_and_on_the_command_line() -> None:
    fields = {field.name for field in dataclasses.fields(FinetuneParams)} - {"shares"}
    options = {option.name for option in main.commands["finetune"].params}
    assert fields <= set(finetune_classifier.parameters.properties)
    assert fields <= options
    assert options - {"folders"} <= set(finetune_classifier.parameters.properties)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_weights_are_trained_on_real_pictures(data: Path, tmp_path: Path) -> None:
    """98 % on a split without leaks, and the car of a real video is found."""
    run_id = finetune_classifier(
        stanford=str(data / "cars/stanford_train"),
        devkit=str(data / "cars/devkit"),
        caltech=str(data / "cars/caltech256"),
        weights=str(data / "keras/mobilenet_0_25_224_notop.h5"),
        backbone="mobilenet_0_25",
    )
    [(accuracy, notes)] = ask(f"SELECT accuracy, data FROM training_runs WHERE training_run_id = {run_id}")
    assert accuracy >= 0.98
    assert "in two splits" not in notes
