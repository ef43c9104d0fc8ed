"""The README is true: its queries run on both databases, its commands, options, variables and files exist."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from deployments.cli import main
from models.types import KEYPOINT_NAMES, Classifications, Poses
from storage.catalogue import record_file, show_model
from storage.query import query
from storage.results import commit_segment
from storage.tables import HAND_UP, LYING
from tasks.settings import Settings
from tests.storage.samples import make_model, make_report, make_video, must_claim, planned_batch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
QUERIES = re.findall(r"([^\n]+)\n\n```sql\n(.*?)```", README, re.DOTALL)
FRAMES = 100
AT = {name: number for number, name in enumerate(KEYPOINT_NAMES)}


def standing(x: float) -> np.ndarray:
    """(17, 2) someone upright, nose at y 100, wrists and hips at y 250."""
    places = np.full((17, 2), (x, 250.0), np.float32)
    for name, y in {
        "nose": 100,
        "left_shoulder": 150,
        "right_shoulder": 150,
        "left_ankle": 400,
        "right_ankle": 400,
    }.items():
        places[AT[name], 1] = y
    return places


@pytest.fixture
def night(engine: Engine) -> Engine:
    """One video at 25 frames/s: alone till 1 s, hand up at frame 10; nobody until 3 s; then two, one of them lies."""
    frames, people, places = [], [], []
    for frame in [*range(25), *range(75, FRAMES)]:
        for person in range(1 if frame < 25 else 2):
            body = standing(100 + 200 * person)
            if frame == 10:
                body[AT["left_wrist"], 1] = 50
            if person == 1:
                body = body[:, ::-1].copy()
            frames.append(frame)
            people.append(person)
            places.append(body)
    poses = Poses(
        frame=np.array(frames, np.int64),
        person=np.array(people, np.int16),
        t_s=np.array(frames) / 25,
        scores=np.linspace(0.5, 0.9, len(frames), dtype=np.float32),
        keypoints=np.array(places, np.float32),
        keypoint_scores=np.full((len(frames), 17), 0.9, np.float32),
    )
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=FRAMES), length=FRAMES)
    record_file(engine, "archive/", "cam.mp4", 1, "etag", video_id=video_id)
    assert commit_segment(engine, must_claim(engine, batch_id), poses, make_report(FRAMES), "results/one", "5" * 64)
    show_model(engine, "pose", model_version_id)
    label(engine)
    return engine


def label(engine: Engine) -> None:
    """By a classifier: a car from 0.8 s to 2.36 s, and for half a second at the end."""
    model = make_model("c" * 64, "car-classifier", "classification")
    _, model_version_id, batch_id = planned_batch(engine, make_video(frames=FRAMES), length=FRAMES, model=model)
    frame = np.arange(FRAMES)
    car = ((frame >= 20) & (frame < 60)) | (frame >= 88)
    scores = np.full(FRAMES, 0.75, np.float32)
    rows = Classifications(frame, np.where(car, "car", "not_car"), frame / 25, scores)
    assert commit_segment(engine, must_claim(engine, batch_id), rows, make_report(FRAMES))
    show_model(engine, "classification", model_version_id)


EXPECTED = {
    "Who raised a hand": [("cam.mp4", 0.4, 0.4, 1)],
    "When was it crowded": [("cam.mp4", 3.0, 2)],
    "When was nobody in view": [("cam.mp4", 0.96, 3.0)],
    "When was a car in view": [("cam.mp4", 0.8, 2.36, 40, 0.75)],
    "Did somebody fall": [("cam.mp4", frame, frame / 25, 1) for frame in range(75, FRAMES)],
}


def test_there_are_six_questions() -> None:
    assert len(QUERIES) == 6


@pytest.mark.parametrize(("title", "sql"), QUERIES, ids=[title[:24] for title, _ in QUERIES])
def test_each_question_has_its_answer_on_both_databases(night: Engine, title: str, sql: str) -> None:
    columns, rows = query(night, sql)
    answer = [tuple(row) for row in rows]
    for words, expected in EXPECTED.items():
        if title.startswith(words):
            assert answer == [
                pytest.approx(row) if not isinstance(row[0], str) else (row[0], *map(pytest.approx, row[1:]))
                for row in expected
            ]
            return
    [row] = answer
    found = dict(zip(columns, row, strict=True))
    assert (found["video"], found["ir_sha256"], found["device"]) == ("a" * 64, "2" * 64, "CPU (test)")


def test_the_indexes_for_questions_are_for_these_words() -> None:
    """PostgreSQL takes a partial index only where the question says the same."""
    asked = [" ".join(sql.split()) for _, sql in QUERIES]
    for predicate in (HAND_UP, LYING):
        assert sum(f" WHERE {predicate} " in f"{sql} " for sql in asked) == 1


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    named = set(re.findall(r"^\| `nightjar ([a-z-]+)", README, re.MULTILINE))
    assert named == set(main.commands)
    for command in named:
        row = next(line for line in README.splitlines() if line.startswith(f"| `nightjar {command}"))
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
        options = {option for parameter in main.commands[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", row)) <= options


def test_every_variable_of_the_readme_is_a_setting_and_every_setting_is_in_it() -> None:
    table = README[README.index("| variable |") :].split("\n\n")[0]
    named = {
        name.removeprefix("NIGHTJAR_").removeprefix("_").lower() for name in re.findall(r"`(NIGHTJAR_\w+|_\w+)`", table)
    }
    assert named == set(Settings.model_fields)


@pytest.mark.parametrize("name", ["README.md", "docs/schema.md", "docs/decisions.md"])
def test_every_file_that_is_linked_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists() or (ROOT / "docs" / target).exists(), target


def test_the_code_map_names_files_that_exist() -> None:
    for line in re.findall(r"^\| `(\w+/)` \| (.*) \|$", README, re.MULTILINE):
        folder, text = line
        for name in re.findall(r"`(\w+\.py)`", text):
            assert (ROOT / folder / name).exists(), folder + name
