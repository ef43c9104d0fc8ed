"""Pages of models, trainings and evaluations, over rows and pictures of which the texts are hostile."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from httpx import Response
from pydantic import SecretStr
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from deployments.browse.context import Browse
from deployments.browse.pictures import media_type
from models.types import Epoch, Step
from storage.sql.benchmarks import BenchmarkRow, record_benchmark
from storage.sql.catalogue import register_model
from storage.sql.database import Database, migrate, open_database
from storage.sql.evaluations import Evaluation, record_evaluation
from storage.sql.trainings import (
    PredictionRow,
    TrainingPlan,
    fail_training,
    finish_training,
    record_epoch,
    start_training,
)
from tasks.site.artifact_keys import evaluation_sheet_key, failure_key, training_picture_key
from tasks.site.settings import Settings
from tasks.site.stores import artifact_store
from tests.chromium import complaints, needs_chromium, resize
from tests.deployments.browse.conftest import Serve, client_of, open_browse
from tests.storage.samples import make_model

HOSTILE = "<img src=x onerror=alert(1)> \"'&\u202e\U0001f697.jpg"
PROTOCOL = {"truth_sha256": "t" * 64, "images_sha256": "i" * 64, "mode": "multi", "pictures": HOSTILE}
EVALUATION = Evaluation(
    "p" * 64, json.dumps(PROTOCOL), "multi", 80, 86, 0.41, 0.242, 0.5, 0.2, 0.3, 0.61, 26.0, "CPU (X)", "f32"
)
BENCHMARK = BenchmarkRow(
    1, "model", "CPU (X)", "f32", "here", "X", "2026.4", 3.0, 90, 30.0, 30.0, 40.0, 50.0, 2, 10**9, 54.0, 10**8, 0.2
)
MEASURED: dict[str, Any] = {
    "best_epoch": 2, "accuracy": 0.7, "accuracy_low": 0.4, "accuracy_high": 0.9, "precision": 0.75, "recall": 0.6,
    "roc_auc": 0.8, "roc_auc_low": 0.5, "roc_auc_high": 0.9, "threshold": 0.5, "average_precision": 0.8,
    "ir_accuracy": 0.7, "ir_labels_changed": 0, "true_positives": 3, "false_negatives": 2, "true_negatives": 4,
    "false_positives": 1,
}  # fmt: skip


def picture(number: int, suffix: str = ".jpg") -> bytes:
    image = np.full((40, 60, 3), 20 * number, np.uint8)
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


def predictions() -> list[PredictionRow]:
    """Ten test pictures at a threshold of 0.5: three are wrong, of which the second is a part of its file."""
    scores = [0.9, 0.8, 0.7, 0.05, 0.4, 0.1, 0.2, 0.3, 0.4, 0.85]
    return [
        PredictionRow(
            f"{number:064x}",
            "1,2,30,40" if number == 9 else "",
            f"folder/{number} {HOSTILE}",
            "mine",
            "car" if number < 5 else "not_car",
            "test",
            score,
        )
        for number, score in enumerate(scores)
    ]


def write_training(engine: Database, key: str, *, data: str = "{}") -> int:
    params = json.dumps({"backbone": "mobilenet_0_25", "epochs": 3, "dense": [64, 32]})
    plan = TrainingPlan(key * 32, "car-classifier", "experiment-1", params, data, 50, 30, 10)
    run, _ = start_training(engine, plan, None)
    for number in (1, 2, 3):
        steps = [Step(number, 10 * (number - 1) + step, 1 / (10 * number + step), 0.9) for step in range(1, 11)]
        record_epoch(engine, run, Epoch(number, 10 * number, 1 / number, 0.9, 1.5 / number, 0.8, 0.25), steps)
    return run


def filled(settings: Settings) -> Browse:
    """Return a home with two completed trainings, the first with pictures of its failures, and one that failed; a model
    that was evaluated and measured, with a contact sheet."""
    engine = open_database(settings.database)
    migrate(engine)
    model = register_model(engine, make_model("a" * 64, "movenet-multipose"))
    record_evaluation(engine, model, EVALUATION)
    record_evaluation(engine, model, dataclasses.replace(EVALUATION, protocol_sha256="s" * 64, mode="single", ap=0.9))
    record_benchmark(engine, dataclasses.replace(BENCHMARK, model_version_id=model, worker=HOSTILE))
    classifier = register_model(engine, make_model("c" * 64, "car-classifier", "classification"))
    notes = json.dumps({"folders": [HOSTILE], "counts": ["set class"], "notes": [HOSTILE]})
    first, second = write_training(engine, "k", data=notes), write_training(engine, "m")
    finish_training(engine, first, {**MEASURED, "model_version_id": classifier}, predictions())
    finish_training(engine, second, {**MEASURED, "threshold": 0.45}, predictions())
    fail_training(engine, write_training(engine, "f"), f"the loss is nan {HOSTILE}")
    artifacts = artifact_store(settings)
    for number, name in ((3, ""), (9, "1,2,30,40"), (4, "")):
        artifacts.put_bytes(failure_key("k" * 32, f"{number:064x}", name), picture(number))
    artifacts.put_bytes(training_picture_key("k" * 32, "near_misses"), picture(1, ".png"))
    artifacts.put_bytes(evaluation_sheet_key("a" * 64, "p" * 64), picture(2, ".png"))
    engine.dispose()
    return open_browse(settings)


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    """The filled home, shared: do not change it."""
    return filled(Settings(home=tmp_path_factory.mktemp("models") / "home", _env_file=None))


@pytest.fixture(scope="module")
def client(browse: Browse) -> TestClient:
    return client_of(browse)


def test_postgresql_gives_the_same_pages(settings: Settings, client: TestClient, pg_url: str) -> None:
    other = client_of(filled(settings.model_copy(update={"database_url": SecretStr(pg_url)})))
    for path in ("/training/1?beside=2", "/evaluation/1"):
        one, two = client.get(path), other.get(path)
        assert one.status_code == two.status_code == 200
        assert without_times(one) == without_times(two)
    assert other.get("/models").status_code == 200
    assert other.get("/training/1/failures/2.jpg").content == picture(9)


def without_times(page: Response) -> list[str]:
    """Return the lines of a page but those with a duration, and without instants."""
    lines = page.text.splitlines()
    return [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "", line) for line in lines if "took" not in line.casefold()]


def test_an_empty_site_says_which_commands_fill_it(settings: Settings) -> None:
    answer = client_of(open_browse(settings)).get("/models")
    assert answer.status_code == 200
    for command in ("convert movenet-multipose", "finetune --pictures", "evaluate MODEL", "benchmark MODEL"):
        assert f"<code>nightjar {command}" in answer.text
    assert "movenet-thunder" in answer.text  # of the reference


def test_models_have_their_figures_and_origin(client: TestClient) -> None:
    page = client.get("/models").text
    assert "measured here, CPU" in page
    assert "AP 0.242 at 30.0 frames/s" in page
    assert "other images than the reference" in page
    for link in ("/training/1", "/training/2", "/evaluation/1", "/evaluation/2"):
        assert f'href="{link}"' in page
    assert "3" * 64 in page  # sha256 of the source weights


@pytest.mark.parametrize("path", ["/models", "/training/1", "/training/1?beside=2", "/training/3", "/evaluation/1"])
def test_texts_are_never_markup(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "<img src=x" not in answer.text
    assert "&lt;img src=x" in answer.text
    assert "\u202e" not in answer.text
    assert "style=" not in answer.text


def test_a_training_has_curves_confusion_and_failures(client: TestClient) -> None:
    page = client.get("/training/1").text
    assert page.count('role="img"') == 4
    for text in ("Loss of each step", "Measures by threshold", "labelled a car", "mobilenet_0_25", "run-1"):
        assert text in page
    assert [f"/training/1/failures/{number}.jpg" in page for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "near_misses.png" in page


def test_a_training_without_stored_pictures_names_its_failures(client: TestClient) -> None:
    page = client.get("/training/2").text
    assert "kept no single pictures" in page
    assert "/failures/1.jpg" not in page


def test_a_failed_training_says_why(client: TestClient) -> None:
    page = client.get("/training/3").text
    assert "the loss is nan" in page
    assert "Failures" not in page


def test_two_trainings_are_compared_as_by_the_command(client: TestClient, browse: Browse) -> None:
    before = sorted(browse.site.artifacts.list(""))
    page = client.get("/training/1?beside=2&failure=2").text
    assert "run 1, validation" in page
    assert "run 2, validation" in page
    assert "same as run 1" in page  # of the test sets
    assert "wrong in run 2 (0.850)" in page
    assert sorted(browse.site.artifacts.list("")) == before


def test_pictures_are_sent_by_number(client: TestClient) -> None:
    for number, value in ((1, 3), (2, 9), (3, 4)):  # by their distance from the threshold: 0.45, 0.35, 0.1
        answer = client.get(f"/training/1/failures/{number}.jpg")
        assert answer.content == picture(value)
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/training/1/near_misses.png").headers["Content-Type"] == "image/png"
    assert client.get("/evaluation/1/images.png").content == picture(2, ".png")


@pytest.mark.parametrize(
    "path",
    [
        "/training/0", "/training/4", "/training/x", "/training/-1", f"/training/{'9' * 5000}", "/training/²",
        "/training/1?beside=x", "/training/1?beside=99", "/training/1?failure=²", "/evaluation/9", "/evaluation/x",
        "/training/1/failures/0.jpg", "/training/1/failures/4.jpg", "/training/1/failures/x.jpg",
        "/training/2/failures/1.jpg", "/training/3/failures/1.jpg", "/training/1/model.keras.png",
        "/training/1/confusion.png", "/training/1/..%2fnear_misses.png", "/evaluation/2/images.png",
    ],
)  # fmt: skip
def test_anything_else_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "content",
    [b"", b"<html><script>alert(1)</script>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(20),
     b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\x7f\xff\xff\xff" * 2],
)  # fmt: skip
def test_the_store_is_not_trusted(content: bytes) -> None:
    """Refuse all but JPEG and PNG of a sane size, also under their names."""
    with pytest.raises(HTTPException):
        media_type(content)


def test_something_else_than_a_picture_is_not_sent(settings: Settings) -> None:
    browse = filled(settings)
    client, content = client_of(browse), b"<html><script>alert(1)</script>"
    browse.site.artifacts.put_bytes(failure_key("k" * 32, f"{3:064x}", ""), content)
    answer = client.get("/training/1/failures/1.jpg")
    assert answer.status_code == 404
    assert content not in answer.content
    large = Path(browse.site.artifacts.url(failure_key("k" * 32, f"{3:064x}", "")))
    with large.open("r+b") as file:
        file.truncate(10**12)
    assert client.get("/training/1/failures/1.jpg").status_code == 404


@needs_chromium
def test_failures_are_clicked_through_by_keyboard(browse: Browse, serve: Serve, browser: webdriver.Chrome) -> None:
    def shown() -> tuple[str, str, str]:
        image = browser.find_element(By.ID, "failure-picture")
        WebDriverWait(browser, 20).until(
            lambda driver: driver.execute_script("return arguments[0].naturalWidth", image) == 60
        )
        text = browser.find_element(By.ID, "failure-number").text
        return str(image.get_attribute("src")).rpartition("/")[2], text, browser.current_url.partition("?")[2]

    resize(browser, 1280)
    browser.get(f"{serve(browse)}/training/1")
    assert shown()[:2] == ("1.jpg", "1 of 3")
    page = browser.find_element(By.TAG_NAME, "body")
    page.send_keys(Keys.ARROW_RIGHT)
    assert shown() == ("2.jpg", "2 of 3", "failure=2#failures")
    page.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert shown()[:2] == ("3.jpg", "3 of 3")
    name = browser.find_element(By.ID, "failure-name").text
    assert "<img src=x" in name
    page.send_keys(Keys.ARROW_LEFT)
    assert shown()[0] == "2.jpg"
    browser.find_element(By.CSS_SELECTOR, "[data-number='1']").send_keys(Keys.ENTER)
    assert shown()[0] == "1.jpg"
    browser.find_element(By.ID, "failure-next").send_keys(Keys.ENTER)
    assert shown()[0] == "2.jpg"
    browser.find_element(By.ID, "beside").send_keys(Keys.ARROW_DOWN)  # chooses an option, and no picture
    assert shown()[0] == "2.jpg"
    browser.get(f"{browser.current_url}")  # the address of a picture opens it without a key
    assert shown()[0] == "2.jpg"
    assert complaints(browser) == []
