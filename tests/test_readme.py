"""Documents match the code: queries are right on both databases; commands, options, settings and files exist."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text, update

from deployments.cli import main
from models.types import KEYPOINT_NAMES, Classifications, Poses
from storage.ledger.commit import commit_segment
from storage.sql.browse.marks import set_mark
from storage.sql.catalogue import show_model
from storage.sql.database import open_database, writing
from storage.sql.query import query
from storage.sql.questions import QUESTIONS
from storage.sql.tables import HAND_UP, archive_files
from tasks.analysis.due import analyse_history
from tasks.analysis.events import make_events
from tasks.analysis.recordings import arrange
from tasks.site.settings import OTHERS, Settings
from tasks.site_file.spec import SiteFile
from tests.storage.samples import make_model, make_report, make_video, must_claim, planned_batch, record_file

ROOT = Path(__file__).parents[1]
# Decisions and the changelog mention former commands and files.
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
ASKED = r"((?:[^\n]+\n)+)\n```sql\n(.*?)```"
QUERIES = re.findall(ASKED, (ROOT / "docs/queries.md").read_text(), re.DOTALL)
FRAMES = 100
AT = {name: number for number, name in enumerate(KEYPOINT_NAMES)}


def standing(x: float) -> np.ndarray:
    """(17, 2) an upright person, nose at y 100, wrists and hips at y 250."""
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
    """A made-up video of 100 frames.

    people: frame -> number of people in view; hands: frames in which one hand is up; step_px: of everybody, per frame
    falls_at: frame in which the first person begins to fall, to lie from 0.4 s later
    """

    name: str
    people: dict[int, int]
    hands: frozenset[int] = frozenset()
    undecodable: tuple[int, ...] = ()
    step_px: float = 0.0
    falls_at: int = FRAMES


FILMS = (
    # One person until 1 s, hand up twice with a pause of 1.2 s between; nobody until 3 s; then two.
    Film(
        "cam.mp4",
        dict.fromkeys(range(25), 1) | dict.fromkeys(range(75, FRAMES), 2),
        hands=frozenset({2, 4, *range(76, 81), 99}),
    ),
    # Empty before frame 40 and after frame 59, of which the last 20 could not be decoded; three people once.
    Film("door.mp4", dict.fromkeys(range(40, 60), 2) | {50: 3}, undecodable=tuple(range(80, FRAMES))),
    # Nobody at all.
    Film("yard.mp4", {}),
    # Somebody who walks all the time, and a quarter of it undecodable.
    Film("hall.mp4", dict.fromkeys([*range(40), *range(65, FRAMES)], 1), undecodable=tuple(range(40, 65)), step_px=3),
    # Somebody who raises a hand for 1.2 s, and falls at 2 s.
    Film("stairs.mp4", dict.fromkeys(range(FRAMES), 1), hands=frozenset(range(10, 41)), falls_at=50),
)
SITE = SiteFile.model_validate(
    {
        "cameras": [
            {"name": "hall", "files": "hall.mp4", "time_zone": "Europe/Berlin"},
            {"name": "stairs", "files": "stairs.mp4", "time_zone": "Europe/Berlin"},
        ],
        "zones": [{"camera": "hall", "name": "door", "polygon": [[0.3, 0.1], [0.5, 0.1], [0.5, 1.0], [0.3, 1.0]]}],
    }
)
STARTS = {
    "hall": datetime(2026, 11, 23, 21, 29, 58, tzinfo=UTC),
    "stairs": datetime(2026, 11, 23, 22, 10, 0, tzinfo=UTC),
}


@pytest.fixture
def night(engine: Engine) -> Engine:
    """A night on each database."""
    return processed(engine)


@pytest.fixture
def night_on_postgresql(pg_migrated_url: str) -> Iterator[Engine]:
    engine = open_database(pg_migrated_url)
    yield processed(engine)
    engine.dispose()


def processed(engine: Engine) -> Engine:
    """FILMS at 25 frames per second, by a pose model, and the first one by a classifier, too."""
    model_version_id = 0
    for number, film in enumerate(FILMS):
        video = make_video(sha256=sha256_of(number), frames=FRAMES)
        video_id, model_version_id, batch_id = planned_batch(engine, video, length=FRAMES)
        record_file(engine, "archive/", film.name, 1, "etag", video_id=video_id)
        report = make_report(FRAMES - len(film.undecodable), film.undecodable)
        assert commit_segment(engine, must_claim(engine, batch_id), poses_of(film), report, "results/one", "5" * 64)
    show_model(engine, "pose", model_version_id)
    with writing(engine) as connection:
        for camera, start_at in STARTS.items():
            place = {"camera": camera, "start_at": start_at, "time_zone": "Europe/Berlin"}
            connection.execute(update(archive_files).where(archive_files.c.key == f"{camera}.mp4").values(place))
    arrange(engine, 2.0)
    label(engine)
    assert not analyse_history(engine, {}, lease_s=60).failed
    assert not make_events(engine, SITE).failed
    return engine


def sha256_of(number: int) -> str:
    return f"{number:064x}"


def poses_of(film: Film) -> Poses:
    """Upright people; in `hands` the first one's wrist is above the nose."""
    rows = [(frame, person) for frame, people in sorted(film.people.items()) for person in range(people)]
    places = np.array([standing(100 + 200 * person + film.step_px * frame) for frame, person in rows]).reshape(
        -1, 17, 2
    )
    for row, (frame, person) in enumerate(rows):
        if frame in film.hands and person == 0:
            places[row, AT["left_wrist"], 1] = 50
        if frame > film.falls_at and person == 0:
            places[row] = falling(places[row], min((frame - film.falls_at) / 10, 1.0))
    frames = np.array([frame for frame, _ in rows], np.int64)
    return Poses(
        frame=frames,
        person=np.array([person for _, person in rows], np.int16),
        t_s=frames / 25,
        scores=np.linspace(0.5, 0.9, len(rows), dtype=np.float32),
        keypoints=places.astype(np.float32),
        keypoint_scores=np.full((len(rows), 17), 0.9, np.float32),
    )


def falling(upright: np.ndarray, share: float) -> np.ndarray:
    """(17, 2) between upright and lying with the feet in their place. share: 0 = upright, 1 = lies"""
    feet = upright[AT["left_ankle"], 1]
    lying = np.stack([upright[:, 0] + feet - upright[:, 1], np.full(17, feet - 10, np.float32)], axis=1)
    return upright * (1 - share) + lying * share


def label(engine: Engine) -> None:
    """A classifier's rows: a car from 0.8 s to 2.36 s, and for half a second at the end."""
    model = make_model("c" * 64, "car-classifier", "classification")
    _, model_version_id, batch_id = planned_batch(engine, make_video(sha256_of(0), FRAMES), length=FRAMES, model=model)
    frame = np.arange(FRAMES)
    car = ((frame >= 20) & (frame < 60)) | (frame >= 88)
    scores = np.full(FRAMES, 0.75, np.float32)
    rows = Classifications(frame, np.where(car, "car", "not_car"), frame / 25, scores)
    assert commit_segment(engine, must_claim(engine, batch_id), rows, make_report(FRAMES))
    show_model(engine, "classification", model_version_id)


EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "In which frames was a hand above the nose": [
        ("cam.mp4", 0.08, 0.16, 2),
        ("cam.mp4", 3.04, 3.96, 6),
        ("stairs.mp4", 0.4, 1.6, 31),
    ],
    "When was it crowded": [("cam.mp4", 3, 2), ("door.mp4", 2, 3), ("door.mp4", 1, 2)],
    "When was nobody in view": [
        (None, "cam.mp4", 0.96, 3.0),
        (None, "door.mp4", 0.0, 1.6),
        (None, "yard.mp4", 0.0, 4.0),
    ],
    # Two moments less than a second apart are one event; a single one is none.
    "Who raised a hand": [
        (None, "cam.mp4", 1, 3.04, 3.96, None),
        ("stairs", "stairs.mp4", 1, 0.4, 1.6, "2026-11-23T22:10:00.400Z"),
    ],
    # 192 to 320 px: frames 31 to 73 of the walker, who is outside from frame 74 on.
    "Who stayed longest in a zone": [("hall", "door", "hall.mp4", 1, 1.24, 1.72)],
    "How many people per hour": [("hall", "2026-11-23T21:00:00.000Z", 1), ("stairs", "2026-11-23T22:00:00.000Z", 1)],
    # A person out of view for two seconds keeps the number; one in a single frame has none.
    "How long was each person in view": [
        ("cam.mp4", 1, 0.0, 3.96, 3.96),
        ("hall.mp4", 1, 0.0, 3.96, 3.96),
        ("stairs.mp4", 1, 0.0, 3.96, 3.96),
    ],
    "How many different people": [("cam.mp4", 1), ("door.mp4", 2), ("hall.mp4", 1), ("stairs.mp4", 1)],
    # The first 40 frames of hall.mp4 are before half past ten on a clock there.
    "Who was at which camera at a time of day": [("hall", 1, "22:29:58", "22:29:59", 40)],
    "When did the picture show a car": [("cam.mp4", 0.8, 2.36, 40, 0.75)],
}


def test_the_document_has_its_queries() -> None:
    assert len(QUERIES) == 15


@pytest.mark.parametrize(("title", "sql"), QUERIES, ids=[title[:24] for title, _ in QUERIES])
def test_each_query_has_its_answer_on_both_databases(night: Engine, title: str, sql: str) -> None:
    columns, rows = query(night, sql)
    answer = [tuple(map(as_text, row)) for row in rows]
    for words, expected in EXPECTED.items():
        if title.startswith(words):
            assert answer == [tuple(map(about, row)) for row in expected]
            return
    for words, check in CHECKED.items():
        if title.startswith(words):
            check(night, [dict(zip(columns, row, strict=True)) for row in answer])
            return
    pytest.fail(f"No answer is known for: {title}")


def as_text(value: Any) -> Any:
    """PostgreSQL's times as SQLite has them."""
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z" if isinstance(value, datetime) else value


def about(value: Any) -> Any:
    return pytest.approx(value) if isinstance(value, float) else value


def assert_the_walker_is_fast(night: Engine, answer: list[dict[str, Any]]) -> None:
    """One person falls, one walks by 3 px per frame of 0.04 s, and the others stand."""
    assert [(row["video"], row["track"]) for row in answer[:2]] == [("stairs.mp4", 1), ("hall.mp4", 1)]
    falls, walks, stands = (row["speed_body_lengths_per_s"] for row in answer)
    assert falls > walks > 0.05
    assert walks < 1
    assert stands < 0.01
    mean = "SELECT avg(speed_px_per_s) FROM track_motion WHERE video = 'hall.mp4' AND NOT filled"
    assert next(query(night, mean)[1])[0] == pytest.approx(75, rel=0.05)


def assert_one_fall(night: Engine, answer: list[dict[str, Any]]) -> None:
    """The only one who falls does so from 2 s to 2.4 s and lies until the end. People who leave do not fall."""
    [fall] = answer
    assert (fall["camera"], fall["video"], fall["track"]) == ("stairs", "stairs.mp4", 1)
    assert 2.0 <= fall["from_s"] <= 2.4
    assert fall["to_s"] == pytest.approx(3.96)
    assert "2026-11-23T22:10:02.000Z" <= fall["from_at"] <= "2026-11-23T22:10:02.400Z"
    assert fall["score"] > 0.16


def assert_events_of_half_an_hour(night: Engine, answer: list[dict[str, Any]]) -> None:
    assert [(row["rule"], row["severity"], row["camera"], row["track"]) for row in answer] == [
        ("hand_raised", "info", "stairs", 1),
        ("fall", "critical", "stairs", 1),
    ]
    with writing(night) as connection:
        connection.execute(text("UPDATE recording_videos SET start_at = '2026-11-23 22:31:00.000Z' WHERE video_id = 5"))
    assert list(query(night, next(sql for title, sql in QUERIES if title.startswith("What happened")))[1]) == []


def assert_the_origin(night: Engine, answer: list[dict[str, Any]]) -> None:
    [found] = answer
    last = sha256_of(len(FILMS) - 1)
    assert (found["video"], found["ir_sha256"], found["device"]) == (last, "2" * 64, "CPU (test)")


def assert_marks_are_counted(night: Engine, answer: list[dict[str, Any]]) -> None:
    """Nobody has marked anything yet; then both events of a rule are."""
    assert answer == []
    [raised, again] = query(night, "SELECT event_key FROM events WHERE rule = 'hand_raised' ORDER BY video")[1]
    set_mark(night, raised[0], "right")
    set_mark(night, again[0], "wrong", "a broom")
    [row] = query(night, next(sql for title, sql in QUERIES if title.startswith("How often is a rule right")))[1]
    assert (row[0], len(row[1]), *row[2:]) == ("hand_raised", 8, 2, 1, 1, 0.5)


CHECKED: dict[str, Callable[[Engine, list[dict[str, Any]]], None]] = {
    "Who moved fastest": assert_the_walker_is_fast,
    "Did somebody fall": assert_one_fall,
    "What happened between": assert_events_of_half_an_hour,
    "What is the origin": assert_the_origin,
    "How often is a rule right": assert_marks_are_counted,
}


def panels() -> list[tuple[str, str]]:
    """Title and query of each panel of the dashboard, and of its list of cameras."""
    board = json.loads((ROOT / "docs/grafana/nightjar.json").read_text())
    lists = [(found["name"], found["query"]) for found in board["templating"]["list"]]
    return [(panel["title"], target["rawSql"]) for panel in board["panels"] for target in panel["targets"]] + lists


def as_grafana_sends_it(sql: str) -> str:
    """Expand macros and variables as Grafana's documentation says."""
    period = r"\1 BETWEEN '2026-11-23T00:00:00Z' AND '2100-11-24T00:00:00Z'"
    return re.sub(r"\$__timeFilter\(([^)]*)\)", period, sql).replace("${camera:sqlstring}", "'hall','stairs',''")


DASHBOARD: dict[str, Callable[[list[dict[str, Any]]], bool]] = {
    "People per hour": lambda rows: [(row["metric"], row["people"]) for row in rows] == [("hall", 1), ("stairs", 1)],
    "Events by rule": lambda rows: {row["rule"]: row["events"] for row in rows} == {"hand_raised": 1, "fall": 1},
    "Events": lambda rows: [row["rule"] for row in rows] == ["fall", "hand_raised"],
    "Coverage of the nights": lambda rows: sum(row["done"] for row in rows) > 400,
    "Speed of the fleet": lambda rows: {row["metric"] for row in rows} == {"worker-1 (CPU (test))"},
    "Not looked at": lambda rows: (
        [(row["camera"], row["video"], row["reason"], float(row["seconds"])) for row in rows]
        == [("hall", "hall.mp4", "undecodable", 1.0), (None, "door.mp4", "undecodable", 0.8)]
    ),
    "Last nights": lambda rows: len(rows) == len(FILMS) + 1,
    "camera": lambda rows: [list(row.values()) for row in rows] == [[""], ["hall"], ["stairs"]],
}


@pytest.mark.parametrize(("title", "sql"), panels(), ids=[title for title, _ in panels()])
def test_each_panel_of_the_dashboard_has_its_rows(night_on_postgresql: Engine, title: str, sql: str) -> None:
    columns, rows = query(night_on_postgresql, as_grafana_sends_it(sql))
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    assert DASHBOARD[title](found), found


def test_the_index_for_a_query_serves_its_exact_wording() -> None:
    """PostgreSQL uses a partial index only if the query has the same condition."""
    asked = [" ".join(sql.split()) for _, sql in QUERIES]
    assert sum(f" WHERE {HAND_UP} " in f"{sql} " for sql in asked) == 1


def test_the_readme_contains_six_of_the_queries() -> None:
    found = re.findall(ASKED, (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(found) == 6
    for title, sql in found:
        assert [question for question, known in QUERIES if sql == known and question.startswith(title.strip())], title


def test_the_readmes_first_screen_is_for_newcomers() -> None:
    """Its first screen: purpose, one picture, two commands, four lines of use."""
    screen = (ROOT / "README.md").read_text().split("\n## ")[0]
    commands = re.findall(r"^(make|\.venv/bin/nightjar) ", screen, re.MULTILINE)
    assert commands == ["make"] * 2 + [".venv/bin/nightjar"] * 4
    assert screen.count("![") == 1
    assert len(screen.splitlines()) < 30


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_documented_command_exists_with_its_options(path: Path) -> None:
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
def test_every_documented_variable_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bNIGHTJAR_[A-Z0-9_]+\b", path.read_text()))
    known = {f"NIGHTJAR_{name.upper()}" for name in Settings.model_fields}
    assert not {name for name in named - known if not name.startswith(OTHERS)}


def test_the_readme_names_every_document() -> None:
    linked = set(re.findall(r"\]\((docs/[a-z]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.stem)
def test_every_linked_file_exists(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_documented_modules_exist() -> None:
    for name in ("CONTRIBUTING.md", "docs/architecture.md"):
        named = re.findall(r"`((?:models|storage|tasks|flows|deployments)/[\w./-]+)`", (ROOT / name).read_text())
        assert len(named) > 5
        assert all((ROOT / path).exists() for path in named), named


def test_the_demo_uses_the_documents_queries() -> None:
    asked = [" ".join(statement.split()) for _, statement in QUERIES]
    assert len(QUESTIONS) == 3
    assert all(" ".join(statement.split()) in asked for statement in QUESTIONS.values())
