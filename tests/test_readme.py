"""The documents are true: queries give right answers on both databases; commands, options, settings and files exist."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from deployments.cli import main
from models.types import KEYPOINT_NAMES, Classifications, Poses
from storage.ledger.commit import commit_segment
from storage.sql.catalogue import record_file, show_model
from storage.sql.query import query
from storage.sql.questions import QUESTIONS
from storage.sql.tables import HAND_UP
from tasks.site.settings import OTHERS, Settings
from tests.storage.samples import make_model, make_report, make_video, must_claim, planned_batch

ROOT = Path(__file__).parents[1]
# Decisions and the changelog tell of commands and files as they were.
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
ASKED = r"((?:[^\n]+\n)+)\n```sql\n(.*?)```"
QUERIES = re.findall(ASKED, (ROOT / "docs/queries.md").read_text(), re.DOTALL)
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


@dataclass(frozen=True)
class Film:
    """A made-up video of 100 frames. people: frame -> how many are in view; hands: frames in which one hand is up"""

    name: str
    people: dict[int, int]
    hands: frozenset[int] = frozenset()
    undecodable: tuple[int, ...] = ()


FILMS = (
    # Alone till 1 s, hand up twice with a pause of 1.2 s between; nobody until 3 s; then two.
    Film(
        "cam.mp4",
        dict.fromkeys(range(25), 1) | dict.fromkeys(range(75, FRAMES), 2),
        hands=frozenset({2, 4, *range(76, 81), 99}),
    ),
    # Empty before frame 40 and after frame 59, of which the last 20 could not be decoded; three people once.
    Film("door.mp4", dict.fromkeys(range(40, 60), 2) | {50: 3}, undecodable=tuple(range(80, FRAMES))),
    # Nobody at all.
    Film("yard.mp4", {}),
    # Somebody all the time, and a quarter of it undecodable.
    Film("hall.mp4", dict.fromkeys([*range(40), *range(65, FRAMES)], 1), undecodable=tuple(range(40, 65))),
)


@pytest.fixture
def night(engine: Engine) -> Engine:
    """FILMS at 25 frames per second, by a pose model, and the first one by a classifier, too."""
    model_version_id = 0
    for number, film in enumerate(FILMS):
        video = make_video(sha256=sha256_of(number), frames=FRAMES)
        video_id, model_version_id, batch_id = planned_batch(engine, video, length=FRAMES)
        record_file(engine, "archive/", film.name, 1, "etag", video_id=video_id)
        report = make_report(FRAMES - len(film.undecodable), film.undecodable)
        assert commit_segment(engine, must_claim(engine, batch_id), poses_of(film), report, "results/one", "5" * 64)
    show_model(engine, "pose", model_version_id)
    label(engine)
    return engine


def sha256_of(number: int) -> str:
    return f"{number:064x}"


def poses_of(film: Film) -> Poses:
    """Upright people; in `hands` the first one's wrist is above the nose."""
    rows = [(frame, person) for frame, people in sorted(film.people.items()) for person in range(people)]
    places = np.array([standing(100 + 200 * person) for _, person in rows]).reshape(-1, 17, 2)
    for row, (frame, person) in enumerate(rows):
        if frame in film.hands and person == 0:
            places[row, AT["left_wrist"], 1] = 50
    frames = np.array([frame for frame, _ in rows], np.int64)
    return Poses(
        frame=frames,
        person=np.array([person for _, person in rows], np.int16),
        t_s=frames / 25,
        scores=np.linspace(0.5, 0.9, len(rows), dtype=np.float32),
        keypoints=places.astype(np.float32),
        keypoint_scores=np.full((len(rows), 17), 0.9, np.float32),
    )


def label(engine: Engine) -> None:
    """By a classifier: a car from 0.8 s to 2.36 s, and for half a second at the end."""
    model = make_model("c" * 64, "car-classifier", "classification")
    _, model_version_id, batch_id = planned_batch(engine, make_video(sha256_of(0), FRAMES), length=FRAMES, model=model)
    frame = np.arange(FRAMES)
    car = ((frame >= 20) & (frame < 60)) | (frame >= 88)
    scores = np.full(FRAMES, 0.75, np.float32)
    rows = Classifications(frame, np.where(car, "car", "not_car"), frame / 25, scores)
    assert commit_segment(engine, must_claim(engine, batch_id), rows, make_report(FRAMES))
    show_model(engine, "classification", model_version_id)


EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "When did somebody raise a hand": [("cam.mp4", 0.08, 0.16, 2), ("cam.mp4", 3.04, 3.96, 6)],
    "When was it crowded": [("cam.mp4", 3, 2), ("door.mp4", 2, 3), ("door.mp4", 1, 2)],
    "When was nobody in view": [
        ("cam.mp4", 0.96, 3.0),
        ("door.mp4", 0.0, 1.6),
        ("yard.mp4", 0.0, 4.0),
    ],
    "When did the picture show a car": [("cam.mp4", 0.8, 2.36, 40, 0.75)],
}


def test_there_are_five_questions() -> None:
    assert len(QUERIES) == 5


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
    assert (found["video"], found["ir_sha256"], found["device"]) == (sha256_of(3), "2" * 64, "CPU (test)")


def test_the_index_for_a_question_is_for_its_words() -> None:
    """PostgreSQL takes a partial index only where the question says the same."""
    asked = [" ".join(sql.split()) for _, sql in QUERIES]
    assert sum(f" WHERE {HAND_UP} " in f"{sql} " for sql in asked) == 1


def test_the_readme_asks_one_of_the_questions() -> None:
    [(title, sql)] = re.findall(ASKED, (ROOT / "README.md").read_text(), re.DOTALL)
    assert sql in dict(QUERIES).values()
    assert any(question.startswith(title.strip()) for question, _ in QUERIES)


def test_the_readme_begins_with_what_a_newcomer_needs() -> None:
    """Its first screen: purpose, one picture, two commands, four lines of use."""
    screen = (ROOT / "README.md").read_text().split("\n## ")[0]
    commands = re.findall(r"^(make|\.venv/bin/nightjar) ", screen, re.MULTILINE)
    assert commands == ["make"] * 2 + [".venv/bin/nightjar"] * 4
    assert screen.count("![") == 1
    assert len(screen.splitlines()) < 30


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_that_is_named_exists_with_its_options(path: Path) -> None:
    for command, rest in commands_in(path.read_text()):
        assert command in main.commands, command
        known = {option for parameter in main.commands[command].params for option in parameter.opts}
        known |= {option for parameter in main.commands[command].params for option in parameter.secondary_opts}
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)) <= known | {"--help"}, (command, rest)


def commands_in(text: str) -> list[tuple[str, str]]:
    """The command lines of a document, in code spans and in blocks: command, and what follows on its line."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    lines = [line.partition("  # ")[0] for block in blocks for line in block.splitlines()]
    calls = [re.search(r"(?:^|[\s/])nightjar ([a-z][a-z-]*)\b(.*)", line) for line in [*lines, *spans]]
    return [(call[1], call[2]) for call in calls if call]


def test_command_lines_are_found_in_spans_and_in_blocks() -> None:
    text = "run `nightjar sweep --verify`, or\n\n```sh\n.venv/bin/nightjar run A --wild   # --not this\n```\n"
    assert commands_in(text) == [("run", " A --wild "), ("sweep", " --verify")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bNIGHTJAR_[A-Z0-9_]+\b", path.read_text()))
    known = {f"NIGHTJAR_{name.upper()}" for name in Settings.model_fields}
    assert not {name for name in named - known if not name.startswith(OTHERS)}


def test_every_document_is_named_in_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[a-z]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.stem)
def test_every_file_that_is_linked_exists(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_documents_name_modules_that_exist() -> None:
    for name in ("CONTRIBUTING.md", "docs/architecture.md"):
        named = re.findall(r"`((?:models|storage|tasks|flows|deployments)/[\w./-]+)`", (ROOT / name).read_text())
        assert len(named) > 5
        assert all((ROOT / path).exists() for path in named), named


def test_the_demo_asks_what_the_document_asks() -> None:
    asked = [" ".join(statement.split()) for _, statement in QUERIES]
    assert len(QUESTIONS) == 3
    assert all(" ".join(statement.split()) in asked for statement in QUESTIONS.values())
