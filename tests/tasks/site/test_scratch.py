"""Scratch folders: removed after their process has ended; a full disk is reported with its folder."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.leftovers import temporary_name
from storage.objects.places import StoreError
from tasks.site import scratch
from tasks.site.scratch import ScratchError, clean_up, lacked_room, scratch_folder
from tasks.site.settings import Settings

FILL = """
import sys
from pathlib import Path
from tasks.site.scratch import scratch_folder
from models.types import NightjarError
try:
    with scratch_folder("fuzz") as folder:
        Path(sys.argv[1]).write_text(str(folder))
        try:
            (folder / "large").write_bytes(bytes(64 << 20))
        except OSError as error:
            raise RuntimeError(f"a library says: {error}") from None
except NightjarError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(autouse=True)
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR for this test only."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def leftover(folder: Path) -> Path:
    path = folder / f"{temporary_name('nightjar-overlay-')}{scratch.SUFFIX}"
    path.mkdir(parents=True)
    (path / "overlay.mp4").write_bytes(b"x")
    return path


def test_a_scratch_folder_is_private_and_removed_at_its_end(tmpdir: Path) -> None:
    with scratch_folder("overlay") as folder:
        assert folder.parent == tmpdir
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "x").write_text("x")
    assert list(tmpdir.iterdir()) == []


def test_the_next_scratch_folder_removes_leftovers(tmpdir: Path) -> None:
    left = leftover(tmpdir)
    (tmpdir / "nightjar-overlay-of-my-holidays").mkdir()
    with scratch_folder("overlay") as first, scratch_folder("overlay") as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not left.exists()
    assert [path.name for path in tmpdir.iterdir()] == ["nightjar-overlay-of-my-holidays"]


def test_every_folder_with_temporary_files_is_tidied(tmpdir: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", _env_file=None)  # type: ignore[call-arg]
    left = [leftover(tmpdir)]
    store = tmp_path / "home" / "artifacts"
    for folder in (settings.model_cache, settings.download_cache / "x", tmp_path / "home" / "spool", store / "results"):
        folder.mkdir(parents=True)
        left.append(folder / temporary_name())
        left[-1].write_bytes(b"x")
    assert clean_up(settings, store, dry=True) == 5
    assert clean_up(settings) == 4
    assert clean_up(settings, store) == 1
    assert not any(path.exists() for path in left)


def run_on_a_small_disk(folder: Path, size: str, before: str, note: Path) -> "subprocess.CompletedProcess[str]":
    """Run FILL with TMPDIR on a separate file system, which disappears with the process. before: a shell command"""
    python = f"{sys.executable} -c '{FILL}' {note}"
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && {before} && exec {python}"
    command = [str(shutil.which("unshare")), "--user", "--map-root-user", "--mount", "sh", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode and ("Operation not permitted" in done.stderr or "permission denied" in done.stderr):
        pytest.skip(f"no private file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done


def test_a_disk_that_fills_up_is_reported_with_its_folder(tmpdir: Path, tmp_path: Path) -> None:
    done = run_on_a_small_disk(tmpdir, "4m", "true", tmp_path / "note")
    assert done.stdout.startswith(f"ScratchError No space is left in '{tmpdir}', the folder for temporary files")
    assert "TMPDIR" in done.stdout
    assert (tmp_path / "note").read_text().startswith(f"{tmpdir}/nightjar-fuzz-")


def test_a_full_disk_is_reported_before_anything_starts(tmpdir: Path, tmp_path: Path) -> None:
    """Python by itself would use another folder, as a last resort the current one."""
    fill = f"head -c 3500k /dev/zero > {tmpdir}/film"
    done = run_on_a_small_disk(tmpdir, "4m", fill, tmp_path / "note")
    assert done.stdout.startswith(f"ScratchError No space is left in '{tmpdir}'")
    assert not (tmp_path / "note").exists()


def test_a_disk_without_room_for_one_more_folder_is_full(tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(ScratchError, match=f"No space is left in '{tmpdir}'"), scratch_folder("overlay"):
        pass


def test_a_missing_folder_is_reported(tmpdir: Path) -> None:
    tmpdir.rmdir()
    with pytest.raises(ScratchError, match=r"folder for temporary files\. Set TMPDIR to"), scratch_folder("model"):
        pass


def test_other_errors_are_unchanged(tmpdir: Path) -> None:
    store = StoreError("No space left on device at '/elsewhere/results'.", "Free some space.")
    for error in (store, OSError(errno.ENOSPC, "No space left on device", "/elsewhere/x"), ValueError("a bug")):
        with pytest.raises(type(error)) as raised, scratch_folder("model"):
            raise error
        assert raised.value is error


def test_a_childs_error_is_recognised(tmpdir: Path) -> None:
    assert lacked_room(RuntimeError("failed: OSError: [Errno 28] No space left on device"), tmpdir)
    assert lacked_room(OSError(errno.EDQUOT, "quota", str(tmpdir / "x")), tmpdir)
