"""A database from before the first release: every command that opens it refuses it with advice."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments.cli import main
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.site.settings import read_settings
from tests.storage.older_database import make_older

COMMANDS = (
    *("batches", "batches --last", "batches --forget 1", "videos", "videos --ignored", "quarantine", "compare"),
    *("compare 1", "models", "models --show tiny", "models --unpin", "overlay one.mp4", "sql 'SELECT 1'", "doctor"),
    *("sweep", "sweep --dry-run", "run videos --model tiny", "up --archive videos --model tiny", "convert posenet-075"),
    *("benchmark tiny", "quantize tiny --archive videos", "evaluate tiny --coco coco.json --images videos"),
    *("finetune --pictures videos", "train-demo"),
)


@pytest.fixture
def older_url(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTJAR_DATABASE_URL", database_url)
    read_settings.cache_clear()
    engine = open_database(database_url)
    make_older(engine, "0023")
    engine.dispose()
    (tmp_path / "videos").mkdir()
    (tmp_path / "coco.json").write_text("{}")
    yield database_url
    read_settings.cache_clear()


def test_every_command_refuses_an_older_database(older_url: str) -> None:
    for command in COMMANDS:
        result = CliRunner().invoke(main, shlex.split(command))
        assert result.exit_code == 1, (command, result.output)
        told = " ".join((result.output + result.stderr).split())
        assert "A version from before the first release made this database" in told, (command, told)
        assert "run 'nightjar run' again. It fills the new database from the results in the store" in told
    engine = open_database(older_url)
    assert list(query(engine, "SELECT * FROM video_summary")[1]) == [(1, "aa")]
    engine.dispose()
