"""Files that only their owner reads: film names, poses and pictures of people. No database, no store."""

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def be_private() -> None:
    """Give every file that this process, its libraries and its children make from now on to its owner alone."""
    os.umask(OTHERS)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for its owner alone."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file for its owner alone, or close one that is there."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _close_one(path)


def tighten(folder: Path, names: Collection[str]) -> None:
    """Close these entries of a folder to everybody else; and the folder, where it holds nothing but them.

    A folder that a person named may hold other people's things, and stays as it is then.
    """
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        found = {entry.name for entry in folder.iterdir()}
        for name in found & set(names):
            _close(folder / name)
        if found and found <= set(names):
            _close_one(folder)


def _close(path: Path) -> None:
    """A folder's own mode comes last, so that an interrupted walk is repeated; nobody reaches into a closed one."""
    if path.is_symlink() or not _is_open(path):
        return
    for place, _, files in os.walk(path, topdown=False):
        for each in (*(Path(place) / name for name in files), Path(place)):
            _close_one(each)
    _close_one(path)


def _is_open(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return bool(path.lstat().st_mode & OTHERS)
    return False


def _close_one(path: Path) -> None:
    """Leave files of another user, and files that are gone meanwhile."""
    with suppress(FileNotFoundError, PermissionError):
        info = path.lstat()
        if info.st_mode & OTHERS and not stat.S_ISLNK(info.st_mode) and info.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(info.st_mode) & ~OTHERS)
