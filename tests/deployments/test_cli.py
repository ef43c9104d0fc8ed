"""The command as a user types it."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from deployments.cli import main
from models.types import ModelVersion
from storage.sql.catalogue import register_model
from storage.sql.database import open_database
from tasks.site.settings import read_settings
from tests.servers_postgres import write_migrated

NIGHTJAR = Path(sys.executable).with_name("nightjar")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    read_settings.cache_clear()
    yield tmp_path / "home"
    read_settings.cache_clear()


def nightjar(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_help_answers_in_under_a_second() -> None:
    """Measured: 0.4 s of CPU time on a quiet machine. Importing Prefect, OpenVINO or TensorFlow takes 2 to 5 s more."""
    best_s = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([NIGHTJAR, "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best_s = min(best_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "nightjar convert movenet-multipose" in done.stdout
    assert best_s < 1


def test_help_imports_nothing_that_costs_time() -> None:
    slow = {"prefect", "openvino", "sqlalchemy", "cv2", "numpy", "rich"}
    code = f"import sys, deployments.cli; print(*{slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help(command: str) -> None:
    result = nightjar(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def a_model() -> None:
    engine = open_database(write_migrated(read_settings().home / "nightjar.db"))
    version = ModelVersion("1" * 64, "posenet-[x]", "pose", "2" * 64, "weights", "3" * 64, "tfjs-graph", "FP16", "{}")
    register_model(engine, version)
    engine.dispose()


def test_sql_in_every_format(tmp_path: Path) -> None:
    a_model()
    question = "SELECT name, model_version_id, 0.5 AS half, NULL AS empty FROM model_versions"
    assert "posenet-[x]" in nightjar("sql", question).output
    assert nightjar("sql", question, "--format", "csv").output.splitlines() == [
        "name,model_version_id,half,empty",
        "posenet-[x],1,0.5,",
    ]
    assert json.loads(nightjar("sql", question, "--format", "json").output) == [
        {"name": "posenet-[x]", "model_version_id": 1, "half": 0.5, "empty": None}
    ]
    assert nightjar("sql", question, "--format", "parquet", "--output", "a.parquet").exit_code == 0
    assert pq.read_table("a.parquet").to_pylist()[0]["half"] == 0.5
    assert nightjar("sql", question, "--format", "csv", "--output", "a.csv").exit_code == 0
    assert Path("a.csv").read_text().startswith("name,")


def test_an_empty_answer_keeps_its_columns() -> None:
    a_model()
    nightjar("sql", "SELECT frame, score FROM poses", "--format", "parquet", "--output", "none.parquet")
    assert pq.read_table("none.parquet").column_names == ["frame", "score"]
    assert "0 rows" in nightjar("sql", "SELECT frame FROM poses").output


def test_sql_ends_at_its_limits_and_names_the_options() -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    for option, value in (("--timeout", "0.2"), ("--max-rows", "5"), ("--max-mb", "1")):
        result = nightjar("sql", endless, "--format", "csv", option, value)
        assert result.exit_code == 1
        assert option in result.stderr


@pytest.mark.parametrize(
    "statement", ["DELETE FROM videos", "SELECT 1; DROP TABLE videos", "SELEC 1", "SELECT * FROM nowhere"]
)
def test_sql_is_read_only_with_errors_of_one_line(statement: str) -> None:
    a_model()
    result = nightjar("sql", statement)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
    assert "1 row" in nightjar("sql", "SELECT * FROM model_versions").output


def test_models_and_the_one_that_the_views_show() -> None:
    a_model()
    assert "->" not in nightjar("models").output
    assert "-> by hand" in nightjar("models", "--show", "posenet-[x]").output
    unpinned = nightjar("models", "--unpin").output
    assert "->" in unpinned
    assert "by hand" not in unpinned
    assert nightjar("models", "--unpin", "--show", "posenet-[x]").exit_code == 1
    result = nightjar("models", "--show", "nobody")
    assert (result.exit_code, "Model 'nobody' does not exist" in result.output) == (1, True)


def test_lists_are_empty_at_first() -> None:
    for command in ("videos", "batches", "quarantine", "models"):
        result = nightjar(command)
        assert (result.exit_code, "0 rows" in result.output) == (0, True), result.output


def test_doctor_reports_a_healthy_site(home: Path) -> None:
    result = nightjar("doctor")
    assert result.exit_code == 0, result.output
    for word in ("openvino", "CPU", "sqlite", "read back", "264"):
        assert word in result.output


def test_doctor_reports_problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NIGHTJAR_ARTIFACTS", str(tmp_path / "file" / "store"))
    monkeypatch.setenv("NIGHTJAR_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:1/none")
    read_settings.cache_clear()
    result = nightjar("doctor")
    assert result.exit_code == 1
    assert result.output.count(" wrong ") == 2
    assert "hunter2" not in result.output


def test_site_check_shows_what_each_file_of_a_new_archive_resolves_to(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive" / "2026-03-01" / "22" / "back door"
    archive.mkdir(parents=True)
    (archive / "14.07.mp4").touch()
    text = '[site]\ntime_zone = "Europe/Berlin"\n[[cameras]]\nlayout = "frigate"\n'
    home.mkdir()
    (home / "nightjar.toml").write_text(text)
    result = nightjar("site", "check", str(tmp_path / "archive"))
    assert result.exit_code == 0, result.output
    assert "camera 'back door', 1 file, clock from the path" in result.output
    assert "2026-03-01 23:14:07 CET" in result.output
    assert "No archive is known yet." in nightjar("site", "check").output


def test_site_check_and_doctor_report_a_mistake_with_the_nearest_key(home: Path) -> None:
    home.mkdir()
    (home / "nightjar.toml").write_text("[[cameras]]\nlayuot = 'frigate'\n[site]\nzone = 1\n")
    for command in (["site", "check"], ["doctor"]):
        result = nightjar(*command)
        assert result.exit_code == 1
        said = " ".join(result.output.split())  # a table wraps where the path is long
        assert "Did you mean 'layout'?" in said
        assert "[site]: the key 'zone' is not known. Known keys: time_zone, recording_gap_s." in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "/videos", "--model", "posenet-075"], "127.0.0.1:1"),
        (["convert", "posenet-075", "--source", "/no/such/file"], "127.0.0.1:1"),
    ],
)
def test_an_unavailable_database_is_reported_before_prefect_starts(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTJAR_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:1/none")
    monkeypatch.setenv("NIGHTJAR_OUTAGE_S", "0")  # a night would wait for the server
    read_settings.cache_clear()
    begun = time.monotonic()
    result = nightjar(*arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert words in result.output
    assert "hunter2" not in result.output
    assert time.monotonic() - begun < 20


def test_a_wrong_setting_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTJAR_LEASE_S", "soon")
    read_settings.cache_clear()
    result = nightjar("videos")
    assert result.exit_code == 1
    assert result.output.startswith("Error: NIGHTJAR_LEASE_S")


def test_demo_reports_a_missing_folder_before_anything_is_fetched() -> None:
    result = nightjar("demo", "--videos", "/no/such/folder")
    assert (result.exit_code, "make demo VIDEOS=" in result.output) == (1, True)


def test_the_module_runs_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run([NIGHTJAR, "videos"], capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
