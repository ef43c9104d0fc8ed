"""Files are readable by their owner only: new ones always, older ones after the next opening."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.objects.artifacts import open_artifacts
from storage.objects.s3 import S3Options
from storage.private import be_private, tighten
from storage.sql.database import migrate, open_database
from tasks.site.settings import read_settings
from tasks.site.site import open_site

NIGHTJAR = Path(sys.executable).with_name("nightjar")


def open_to_others(folder: Path) -> list[str]:
    """Every file and folder in it that other users may read, write or enter; links have no mode of their own."""
    paths = [folder, *folder.rglob("*")]
    return [str(path) for path in paths if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_database_is_private_from_its_first_byte(tmp_path: Path) -> None:
    """Also its log, which contains the same rows, and under any umask of the process."""
    os.umask(0o000)
    engine = open_database(f"sqlite:///{tmp_path}/here/nightjar.sqlite")
    migrate(engine)
    names = {path.name for path in (tmp_path / "here").iterdir()}
    assert names == {"nightjar.sqlite", "nightjar.sqlite-wal", "nightjar.sqlite-shm"}
    assert open_to_others(tmp_path / "here") == []
    engine.dispose()


def test_an_older_database_becomes_private_but_not_a_users_folder(tmp_path: Path) -> None:
    path = tmp_path / "nightjar.sqlite"
    tmp_path.chmod(0o755)
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE other (x)")
    path.chmod(0o664)
    open_database(f"sqlite:///{path}").dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_an_artifact_is_private_under_any_umask(tmp_path: Path) -> None:
    os.umask(0o000)
    open_artifacts(str(tmp_path / "store"), S3Options()).put_bytes("results/a/b.parquet", b"rows")
    assert open_to_others(tmp_path / "store") == []


def test_only_our_own_files_become_private(tmp_path: Path) -> None:
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "cache" / "models" / "script").touch(mode=0o755)
    (tmp_path / "holiday.mp4").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "elsewhere", tmp_path / "holiday.mp4"):
        path.chmod(0o755)
    tighten(tmp_path, {"cache", "spool", "locks"})
    closed = {path.name for path in tmp_path.rglob("*") if not path.stat().st_mode & 0o077}
    assert closed == {"cache", "models", "script"}
    assert stat.S_IMODE((tmp_path / "cache/models/script").stat().st_mode) == 0o700
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755, "it contains other files"
    (tmp_path / "holiday.mp4").unlink()
    (tmp_path / "elsewhere").rmdir()
    tighten(tmp_path, {"cache", "spool", "locks"})
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_private_folder_is_not_walked_again(tmp_path: Path) -> None:
    """A store of a hundred thousand files is walked only once."""
    (tmp_path / "results").mkdir(mode=0o700)
    (tmp_path / "results" / "a").touch(mode=0o644)
    tighten(tmp_path, {"results"})
    assert stat.S_IMODE((tmp_path / "results" / "a").stat().st_mode) == 0o644


def test_missing_files_are_no_error(tmp_path: Path) -> None:
    tighten(tmp_path / "nowhere", {"results"})
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").write_bytes(b"rows")
    tighten(tmp_path / "file", {"results"})
    assert (tmp_path / "file").read_bytes() == b"rows"


@pytest.fixture
def older_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home created under the usual umask, with files of each kind."""
    os.umask(0o022)
    home = tmp_path / ".nightjar"
    for name in ("artifacts/results/a/b.parquet", "cache/videos/x.mp4", "spool/y.parquet", "training/classifier/z.npz"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"rows")
    sqlite3.connect(home / "nightjar.db").execute("CREATE TABLE other (x)")
    monkeypatch.setenv("NIGHTJAR_HOME", str(home))
    read_settings.cache_clear()
    yield home
    read_settings.cache_clear()


def test_an_older_home_becomes_private_when_a_site_is_opened(older_home: Path) -> None:
    assert open_to_others(older_home)
    with open_site():
        (older_home / "cache" / "new").touch()
    assert open_to_others(older_home) == []


def test_a_store_elsewhere_becomes_private_too(
    older_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "disk" / "store"
    store.parent.mkdir()
    (older_home / "artifacts").rename(store)
    monkeypatch.setenv("NIGHTJAR_ARTIFACTS", str(store))
    read_settings.cache_clear()
    with open_site():
        pass
    assert open_to_others(store) == []
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o755


def test_a_command_creates_only_private_files(older_home: Path) -> None:
    """The whole command under a umask of 0, so that Nightjar sets each file's mode."""
    done = subprocess.run([NIGHTJAR, "quarantine", "--replay", "/videos"], umask=0, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert open_to_others(older_home) == []


def test_children_inherit_the_umask() -> None:
    be_private()
    made = subprocess.run([sys.executable, "-c", "import os; print(os.umask(0))"], capture_output=True, text=True)
    assert made.stdout.strip() == str(0o077)
