"""Files that only their owner may read: film names, poses and pictures of people. No database, no store."""

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def be_private() -> None:
    """Make files that this process, its libraries and its children create from now on readable to the owner only."""
    os.umask(OTHERS)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, accessible to the owner only."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file, or close an existing one, so that only the owner can read it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _close_one(path)


def tighten(folder: Path, names: Collection[str]) -> None:
    """Close these entries of a folder to other users, and the folder itself if it contains nothing else.

    A folder that a user named may contain other files, and then keeps its mode.
    """
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        found = {entry.name for entry in folder.iterdir()}
        for name in found & set(names):
            _close(folder / name)
        if found and found <= set(names):
            _close_one(folder)


def _close(path: Path) -> None:
    """Close a path and all below it. A folder's own mode comes last, so that an interrupted walk is repeated."""
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
    """Close one path. Files of other users and files that disappeared meanwhile are left alone."""
    with suppress(FileNotFoundError, PermissionError):
        info = path.lstat()
        if info.st_mode & OTHERS and not stat.S_ISLNK(info.st_mode) and info.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(info.st_mode) & ~OTHERS)
