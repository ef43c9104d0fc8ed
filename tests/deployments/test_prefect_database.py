"""The migrated database with which new Prefect homes start."""

import sqlite3
from pathlib import Path

import pytest

from deployments import prefect_database
from deployments.prefect_database import DATABASE, place_database, write_template


def tables(path: Path) -> dict[str, int]:
    """Return the number of rows of each table."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


@pytest.mark.slow
def test_a_template_is_migrated_and_contains_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{tmp_path}/mine.db")
    write_template(tmp_path / "deep" / "template.db")
    found = tables(tmp_path / "deep" / "template.db")
    assert {"flow_run", "configuration", "block_document"} <= set(found)
    assert {name: rows for name, rows in found.items() if rows} == {"alembic_version": 1}
    assert [path.name for path in tmp_path.rglob("*.db")] == ["template.db"]


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file instead of the installation's migrated database."""
    path = tmp_path / "template.db"
    path.write_bytes(b"migrated")
    monkeypatch.setattr(prefect_database, "template_path", lambda: path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    return path


def test_a_new_home_gets_a_private_copy(tmp_path: Path, template: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert place_database(home)
    assert (home / DATABASE).read_bytes() == b"migrated"
    assert (home / DATABASE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == [DATABASE]


def test_an_existing_database_stays(tmp_path: Path, template: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"mine")
    assert not place_database(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"])
def test_a_database_configured_by_the_user_is_used(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "postgresql+asyncpg://127.0.0.1/prefect")
    assert not place_database(tmp_path)


def test_without_a_template_prefect_migrates(tmp_path: Path, template: Path) -> None:
    template.unlink()
    assert not place_database(tmp_path)


def test_a_home_that_takes_no_copy_is_left_to_prefect(tmp_path: Path, template: Path) -> None:
    """As on a full disk: the command must not end there."""
    assert not place_database(tmp_path / "absent")
