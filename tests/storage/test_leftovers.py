"""Temporary files of dead processes are removed; those of living ones and of other users are not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import leftovers
from storage.leftovers import TEMPORARY, remove_leftovers, temporary_below, temporary_file, temporary_folder
from storage.objects.artifacts import FolderArtifacts

HOLD = """
import sys, time
from pathlib import Path
from storage.leftovers import temporary_file, temporary_folder
with temporary_file(Path(sys.argv[1])) as (path, file), temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "inside").write_text("x")
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process with a temporary file and a temporary folder in this one."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    with holder(tmp_path) as dead:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
    left = set(tmp_path.iterdir())
    assert len(left) == 2
    with holder(tmp_path):
        held = set(tmp_path.iterdir()) - left
        assert remove_leftovers(temporary_below(tmp_path), dry=True) == 2
        assert remove_leftovers(temporary_below(tmp_path)) == 2
        assert set(tmp_path.iterdir()) == held
        assert remove_leftovers(temporary_below(tmp_path)) == 0


def test_only_our_own_names_are_considered(tmp_path: Path) -> None:
    (tmp_path / "nightjar-backup").mkdir()
    (tmp_path / "nightjar-backup" / "mine").write_text("x")
    (tmp_path / f"x{TEMPORARY}").write_text("x")
    assert list(temporary_below(tmp_path)) == []


def test_links_pipes_and_other_users_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("x")
    (tmp_path / leftovers.temporary_name()).symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / leftovers.temporary_name())
    assert remove_leftovers(temporary_below(tmp_path)) == 0
    (tmp_path / leftovers.temporary_name()).write_text("x")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert remove_leftovers(temporary_below(tmp_path)) == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_another_machines_file_stays_until_it_is_a_day_old(tmp_path: Path) -> None:
    path = tmp_path / f"{TEMPORARY}00000000-{'0' * 16}"
    path.write_text("x")
    assert remove_leftovers([path]) == 0
    old = time.time() - leftovers.SILENT_S - 60
    os.utime(path, (old, old))
    assert remove_leftovers([path]) == 1


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), temporary_file(tmp_path), temporary_folder(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_before_it_was_locked_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = leftovers._hold
    taken: list[Path] = []

    def late(descriptor: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            assert remove_leftovers(taken) == 1
        hold(descriptor)

    monkeypatch.setattr(leftovers, "_hold", late)
    with temporary_folder(tmp_path) as folder:
        assert folder.is_dir()
        assert folder not in taken


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), temporary_file(tmp_path / "absent"):
        pass


def test_an_object_in_progress_is_locked(tmp_path: Path) -> None:
    """The store of a second process treats it neither as an object nor as a leftover."""
    store = FolderArtifacts(tmp_path)
    store.put_bytes("results/a", b"x")
    with holder(tmp_path / "results"):
        assert list(store.list("")) == ["results/a"]
        assert remove_leftovers(temporary_below(tmp_path)) == 0
