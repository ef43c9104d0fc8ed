"""Listings fit a terminal of 80 columns and give programs everything; hostile names affect neither."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from sqlalchemy import Engine

from deployments import listings
from deployments.answers import Column, Format, print_table, write_listing, write_text
from deployments.cli import main
from deployments.commands import list_models
from deployments.listings import ListingTable
from models.evaluation.reference import read_reference
from models.text import visible
from storage.ledger.batches import finish_batch
from storage.ledger.commit import commit_segment
from storage.ledger.due_analyses import Due
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.benchmarks import record_benchmark
from storage.sql.catalogue import RecordedFile, record_unreadable, register_model, show_model, show_when_complete
from storage.sql.database import open_database
from storage.sql.evaluations import record_evaluation
from storage.sql.listings import MODELS, input_size, read_listing
from tasks.site.settings import read_settings
from tests.servers_postgres import write_migrated
from tests.storage.analysed import analyse_made_up
from tests.storage.samples import (
    make_model,
    make_poses,
    make_report,
    make_video,
    must_claim,
    planned_batch,
    record_file,
)
from tests.storage.sql.test_benchmarks import row as benchmark
from tests.storage.sql.test_evaluations import ONE as EVALUATED

NIGHTJAR = Path(sys.executable).with_name("nightjar")
ALL = {name: value for name, value in vars(listings).items() if isinstance(value, ListingTable)}
HOSTILE = [
    "a\\[/b].mp4",
    "[red]x[/].mp4",
    "[link=https://evil.example]x[/link].mp4",
    "\x1b[2J\x1b[31m\x1b]0;title\x07.mp4",
    "two\nlines\r.mp4",
    "evil\u202egpj.mp4",
    "\x9b31m.mp4",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "a/folder/that/is/so/long/" * 6 + "x.mp4",
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fill(engine: Engine) -> None:
    """A film, batches of two models, and every hostile name, as a film or as a quarantined file."""
    video_id, version, batch_id = planned_batch(engine, make_video(frames=40))
    show_when_complete(engine, "pose", version)
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 20), make_report(20))
    finish_batch(engine, batch_id)
    long, model = make_video("b" * 64, frames=10_000_000), make_model("9" * 64, "movenet-multipose-int8")
    planned_batch(engine, long, length=long.frames, model=model)
    record_file(engine, "/mnt/archive/", HOSTILE[3], 9, "e", video_id=video_id)
    for key in HOSTILE:
        record_unreadable(
            engine, RecordedFile("/mnt/archive/" + key, key, 9, "e"), f"{key} holds no video stream: remove it " * 3
        )


@pytest.fixture
def filled(engine: Engine) -> Engine:
    fill(engine)
    return engine


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    read_settings.cache_clear()
    engine = open_database(write_migrated(tmp_path / "home" / "nightjar.db"))
    fill(engine)
    engine.dispose()
    yield tmp_path / "home"
    read_settings.cache_clear()


@pytest.mark.parametrize("name", ALL)
def test_a_listing_fits_80_columns(filled: Engine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")  # no bold headings, which are escapes, too
    listing, terminal = ALL[name], Terminal()
    columns, rows = read_listing(filled, listing.listing)
    assert set(listing.narrow) <= set(columns)
    assert 5 <= len(listing.narrow) <= 6 or name == "IGNORED"
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", terminal)
        write_listing(columns, rows, listing.narrow, Format())
    lines = terminal.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= 80
    headings = " ".join(lines[0].split())
    assert headings == " ".join(str(column.heading) for column in listing.narrow.values()), "none is cut"
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("command", ["models", "videos", "batches", "quarantine", "compare"])
def test_csv_and_json_have_every_column_of_a_listing(home: Path, command: str) -> None:
    text = CliRunner().invoke(main, [command, "--format", "csv"], catch_exceptions=False).output
    named = json.loads(CliRunner().invoke(main, [command, "--format", "json"], catch_exceptions=False).output)
    head, *rows = csv.reader(io.StringIO(text))
    assert len(head) > 8 or command == "quarantine"
    assert [list(row) for row in named] == [head] * len(rows)
    assert [["" if value is None else str(value) for value in row.values()] for row in named] == rows
    wide = CliRunner().invoke(main, [command, "--wide"], catch_exceptions=False).output
    assert all(name in wide.splitlines()[0] for name in head)


def test_the_tracks_of_a_video_fit_80_columns_or_the_reason_is_given(home: Path) -> None:
    def ask(*options: str) -> Result:
        return CliRunner().invoke(main, ["tracks", *options], catch_exceptions=False, env={"COLUMNS": "80"})

    site = open_database(f"sqlite:///{home}/nightjar.db")
    assert "No run has read a video 'nothing.mp4'" in ask("nothing.mp4").output
    assert "This video is not analysed yet. Run 'nightjar analyze'." in ask("a" * 64).output
    version = register_analysis(site, "e" * 64, "{}")
    assert show_first_analysis(site, version)
    analyse_made_up(site, Due(1, 1, 0), version)
    found = ask("a" * 64)
    assert "2 rows" in found.stdout
    assert max(map(cell_len, found.stdout.splitlines())) <= 80
    rows = json.loads(ask("a" * 64, "--format", "json").stdout)
    assert [(row["track"], row["frames"], row["duration_s"]) for row in rows] == [(1, 20, 0.76), (2, 20, 0.76)]
    site.dispose()


def test_piped_output_has_plain_newlines_and_complete_cells(home: Path) -> None:
    def shell(command: str) -> bytes:
        environment = os.environ | {"NIGHTJAR_HOME": str(home)}
        return subprocess.run(command, shell=True, capture_output=True, check=True, env=environment).stdout

    assert shell(f"{NIGHTJAR} sql 'SELECT count(*) FROM videos' --format csv | tail -n 1") == b"2\n"
    assert visible(HOSTILE[-1]).encode() in shell(f"{NIGHTJAR} quarantine")


def measure(engine: Engine) -> None:
    """Two sizes of a model on one device with both figures, and one model that was evaluated only."""
    wide = dataclasses.replace(make_model("7" * 64, "movenet-multipose-int8"), manifest=manifest_of(192, 320))
    for number, model in enumerate((wide, make_model("8" * 64, "movenet-multipose-int8"), make_model("6" * 64))):
        model_version_id = register_model(engine, model)
        protocol = json.dumps({"truth_sha256": "a" * 64, "images_sha256": "b"})
        found = dataclasses.replace(EVALUATED, protocol=protocol, ap=0.24 + number / 100, inferences_per_s=None)
        record_evaluation(engine, model_version_id, found)
        if number < 2:
            for speed in (benchmark(model_version_id, 12345.6), benchmark(model_version_id, 99.9, "pipeline")):
                record_benchmark(engine, dataclasses.replace(speed, device="CPU (AMD EPYC 9R14 96-Core Processor)"))


def manifest_of(height: int, width: int) -> str:
    return json.dumps({"input": {"shape": [1, height, width, 3], "layout": "NHWC"}})


def test_models_are_shown_side_by_side_in_80_columns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_database(read_settings().database)
    measure(engine)
    engine.dispose()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal):
        list_models(None, False, 10.0, Format())
    lines = terminal.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= 80
    own, projects = lines[lines.index("Measured here") :], lines[lines.index("Measured by Nightjar's project") :]
    shown = " ".join(" ".join(own[: -len(projects)]).split())
    for words in ("0.240", "0.250", "0.260", "12,346", "99.9", "192x320", "posenet-075", "80 images with 86 people"):
        assert words in shown
    for model in read_reference().models:
        assert any(line.split()[:2] == [model.model, model.size] and f"{model.ap:.3f}" in line for line in projects)
    advised = " ".join(" ".join(projects).split())
    assert "On a PC, take movenet-multipose" in advised
    assert "On a Neural Compute Stick, take posenet-075" in advised
    assert read_reference().images in advised, "no figure without its protocol"


def test_programs_get_the_size_of_a_model(home: Path) -> None:
    engine = open_database(read_settings().database)
    measure(engine)
    engine.dispose()
    named = json.loads(CliRunner().invoke(main, ["models", "--format", "json"], catch_exceptions=False).output)
    assert {one["version"]: one["size"] for one in named}["7" * 12] == "192x320"


@pytest.mark.parametrize(
    ("manifest", "size"),
    [
        (manifest_of(353, 353), "353"),
        ('{"input": {"shape": [1, 3, 256, 456], "layout": "NCHW"}}', "256x456"),
        ("{}", ""),
        ("[]", ""),
        ('{"input": {"shape": [1, 3], "layout": "NCHW"}}', ""),
        ('{"input": {"shape": "abcd", "layout": "NCHW"}}', ""),
        ("no JSON", ""),
    ],
)
def test_the_size_is_read_from_any_manifest(manifest: str, size: str) -> None:
    assert input_size(manifest) == size


def test_the_shown_version_is_reported(home: Path) -> None:
    assert "The views show this pose model: posenet-075" in CliRunner().invoke(main, ["models"]).output
    assert "chosen by hand" in CliRunner().invoke(main, ["models", "--show", "posenet-075"]).output


@pytest.mark.parametrize("statement", ["SELECT key FROM archive_files", "SELECT key, reason FROM quarantine"])
def test_a_hostile_name_cannot_change_a_table(home: Path, statement: str) -> None:
    done = CliRunner().invoke(main, ["sql", statement], catch_exceptions=False)
    assert done.exit_code == 0
    assert all(line.isprintable() for line in done.output.splitlines())
    assert "\\[/b].mp4" in done.output
    assert "[red]x[/].mp4" in done.output


# Values


def written(columns: list[str], rows: list[list[Any]], chosen: Format) -> str:
    file = io.StringIO()
    write_text(columns, rows, chosen, file)
    return file.getvalue()


def test_json_is_valid_for_any_value() -> None:
    row = [Decimal("2"), Decimal("2.5"), math.nan, math.inf, b"\x00\xff", datetime(2026, 11, 27, tzinfo=UTC), None, [1]]
    names = [f"c{number}" for number in range(len(row))]
    [found] = json.loads(written(names, [row], Format("json")), parse_constant=pytest.fail)
    assert list(found.values()) == [2, 2.5, None, None, "00ff", "2026-11-27T00:00:00+00:00", None, [1]]
    assert json.loads(written(names, [], Format("json"))) == []


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=5))
def test_texts_survive_csv_and_json(rows: list[list[str]]) -> None:
    found = list(csv.reader(io.StringIO(written(["a", "b"], rows, Format("csv")), newline="")))
    assert found == [["a", "b"], *rows]
    named = json.loads(written(["a", "b"], rows, Format("json")))
    assert [[row["a"], row["b"]] for row in named] == rows


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_with_spreadsheet_nothing_is_evaluated(text: str) -> None:
    plain = list(csv.reader(io.StringIO(written(["a"], [[text]], Format("csv")), newline="")))
    safe = list(csv.reader(io.StringIO(written(["a"], [[text]], Format("csv", spreadsheet=True)), newline="")))
    assert plain[1] == [text]
    assert safe[1][0].startswith("'")
    assert safe[1][0].replace("'", "") == text.replace("'", "")
    assert written(["a"], [[-1], [-0.5], ["a-b"]], Format("csv", spreadsheet=True)) == "a\n-1\n-0.5\na-b\n"


@pytest.mark.parametrize("text", ["a;=1+1", 'a";=1+1', "a\t=1", "  =1", "＝1+1", "x\n=1", 'x;"=1"'])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_begins_like_a_formula_with_any_separator(text: str, delimiter: str) -> None:
    safe = written(["=a", "b"], [[text, text]], Format("csv", spreadsheet=True))
    for row in csv.reader(io.StringIO(safe, newline=""), delimiter=delimiter):
        for cell in row:
            assert not cell.lstrip(' "').startswith(("=", "＝"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(HOSTILE)


@settings(max_examples=60)
@given(st.sampled_from(sorted(ALL)), st.sampled_from(["table", "wide", "csv", "json"]), st.lists(TEXTS, max_size=3))
def test_no_text_controls_the_terminal_in_any_listing(name: str, form: Any, texts: list[str]) -> None:
    """Every text column of every listing contains it, in every format."""
    narrow = {name: column for name, column in ALL[name].narrow.items() if column.show is None}
    terminal, rows = Terminal(), [[text] * len(narrow) for text in texts]
    with contextlib.redirect_stdout(terminal), pytest.MonkeyPatch.context() as patched:
        patched.setenv("TERM", "dumb")  # no bold headings, which are escapes, too
        chosen = Format("table", wide=True) if form == "wide" else Format(form)
        write_listing(list(narrow), rows, narrow, chosen)
    lines = terminal.getvalue().split("\n")
    assert all(visible(line) == line for line in lines)
    if form == "csv":
        assert len(lines) == len(rows) + 2
    if form == "json":
        assert [list(row.values()) for row in json.loads(terminal.getvalue())] == rows


@given(st.lists(st.text(max_size=30), max_size=3))
def test_json_contains_every_text_in_printable_characters(texts: list[str]) -> None:
    found = written(["a\u202e"], [[text] for text in texts], Format("json"))
    assert json.loads(found) == [{"a\u202e": text} for text in texts]
    assert all(visible(line) == line for line in found.split("\n"))


def test_json_keeps_letters_of_all_languages() -> None:
    rows = [["日本 שלום \\ué 👨\u200d👩 \\\\u202e"]]
    assert rows[0][0].replace("\\", "\\\\") in written(["a"], rows, Format("json"))


def test_a_thousand_rows_are_shown_and_all_counted() -> None:
    file = io.StringIO()
    print_table({"n": Column("n")}, ([number] for number in range(1500)), file)
    assert file.getvalue().endswith("\n999\nthe first 1,000 of 1,500 rows\n")


@given(st.text())
def test_external_text_is_one_printable_line(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & {"\x1b", "\n", "\r", "\x9b", "\u202e", "\u2066", "\u200f", "\u2028", "\x85"}
    assert visible(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "Eingang Nord 1.mp4",
        "日本\u3000庭.mkv",
        "שלום.mp4",
        "می\u200cخواهم.mp4",
        "👨\u200d👩\u200d👧.mp4",
        "e\u0301.mp4",
        "a\u00a0b",
    ],
)
def test_names_of_every_language_are_shown_unchanged(name: str) -> None:
    assert visible(name) == name


def test_the_list_shows_a_persons_choice(filled: Engine) -> None:
    show_model(filled, "pose", register_model(filled, make_model("9" * 64)))
    shown = {row.version: row.shown for row in read_listing(filled, MODELS)[1]}
    assert shown == {"1" * 12: "", "9" * 12: "-> by hand"}
