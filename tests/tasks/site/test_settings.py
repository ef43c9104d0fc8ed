"""Settings come from the environment and .env, have defaults under one folder, and never print a secret."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.sql.database import open_database
from tasks.site.settings import Settings, SettingsError, prepare_prefect, read_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    yield
    read_settings.cache_clear()


def test_by_default_everything_is_in_one_folder(tmp_path: Path) -> None:
    settings = Settings()
    home = tmp_path / ".nightjar"
    assert settings.database == f"sqlite:///{home / 'nightjar.db'}"
    assert settings.artifacts_location == str(home / "artifacts")
    assert all(
        path.is_relative_to(home) for path in (settings.model_cache, settings.video_cache, settings.download_cache)
    )
    assert not home.exists(), "settings open and create nothing"


@pytest.mark.parametrize("name", ["a?b", "50%", "100%3F", "a#b&c=d", "naïve 東京", "a?mode=ro"])
def test_a_home_with_any_name_contains_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / name))
    open_database(read_settings().database).dispose()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert (tmp_path / name / "nightjar.db").is_file()


def test_the_environment_overrides_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("NIGHTJAR_HOME=/from-file\nNIGHTJAR_ARTIFACTS=s3://bucket/prefix\nOTHER=1\n")
    monkeypatch.setenv("NIGHTJAR_HOME", "/from-environment")
    settings = read_settings()
    assert settings.home == Path("/from-environment")
    assert settings.artifacts_location == "s3://bucket/prefix"


def test_printed_settings_contain_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTJAR_DATABASE_URL", "postgresql://user:hunter2@host/db")
    monkeypatch.setenv("NIGHTJAR_S3_SECRET_ACCESS_KEY", "hunter3")
    settings = read_settings()
    assert "hunter" not in repr(settings) + str(settings)
    assert "hunter2" in settings.database


def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTJAR_S3_CHECKSUM_MODE", "sometimes")
    monkeypatch.setenv("NIGHTJAR_CACHE_BYTES", "-1")
    with pytest.raises(
        SettingsError,
        match=r"NIGHTJAR_CACHE_BYTES.*NIGHTJAR_S3_CHECKSUM_MODE|NIGHTJAR_S3_CHECKSUM_MODE.*NIGHTJAR_CACHE_BYTES",
    ):
        read_settings()


def test_the_users_prefect_settings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/mine")
    monkeypatch.delenv("PREFECT_SERVER_ANALYTICS_ENABLED", raising=False)
    prepare_prefect(Settings())
    assert os.environ["PREFECT_HOME"] == "/mine"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_prefects_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "so that it is put back as it was")
    monkeypatch.delenv("PREFECT_HOME")
    prepare_prefect(Settings())
    folder = Path(os.environ["PREFECT_HOME"])
    assert folder == tmp_path / ".nightjar" / "prefect"
    assert folder.stat().st_mode & 0o077 == 0
