"""The files below a folder, through links to folders as well. Opens no file.

A link to a folder is followed wherever it leads, with a note, unless it leads back to a folder that contains it.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple, cast

from models.datasets.picture import PictureError

MOST_VISITS = 8
"""Visits of one real folder by different links: links that lead to each other would multiply without end."""
_NAMED = 5

_Identity = tuple[int, int]
_Visit = tuple[Path, tuple[_Identity, ...]]


class FolderFiles(NamedTuple):
    """Result of `list_files`.

    files: parents before children, each folder by name
    notes: links followed and links not followed, for users
    """

    files: list[Path]
    notes: list[str]


def list_folders(folder: Path) -> list[Path]:
    """Folders and links to folders directly below, by name. Raises PictureError."""
    if not folder.is_dir():
        raise PictureError(f"{folder} is not a folder. Check the path.")
    return sorted(path for path in folder.iterdir() if path.is_dir())


def list_files(folder: Path) -> FolderFiles:
    """List every file below a folder except hidden ones (.DS_Store, ._00001.jpg) and those in hidden folders.

    Raises PictureError where a folder is missing or may not be read.
    """
    list_folders(folder)
    walk = _Walk()
    pending: list[_Visit] = [(folder, (_identity(folder),))]
    while pending:
        parent, chain = pending.pop()
        pending += reversed(walk.visit(parent, chain))
    return FolderFiles(walk.files, walk.notes())


class _Walk:
    """State of one listing: files found, and links seen on the way."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self._followed: list[str] = []
        self._refused: list[str] = []
        self._visits: Counter[_Identity] = Counter()

    def visit(self, parent: Path, chain: tuple[_Identity, ...]) -> list[_Visit]:
        """Collect the files of `parent` and return the folders to visit next.

        chain: the identities of `parent` and of every folder above it, as walked
        """
        folders = []
        for path in _entries(parent):
            if not path.is_dir():
                self.files.append(path)
            elif self._may_enter(path, chain):
                folders.append((path, (*chain, _identity(path))))
        return folders

    def _may_enter(self, path: Path, chain: tuple[_Identity, ...]) -> bool:
        identity = _identity(path)
        if not path.is_symlink():
            return True
        self._visits[identity] += 1
        if identity in chain or self._visits[identity] > MOST_VISITS:
            self._refused.append(f"{path} (leads to {path.readlink()})")
            return False
        self._followed.append(f"{path} to {path.readlink()}")
        return True

    def notes(self) -> list[str]:
        return [
            *_summary("links to folders were followed", self._followed),
            *_summary("links to folders were not followed, because they lead in a circle", self._refused),
        ]


def _summary(what: str, links: list[str]) -> list[str]:
    more = ", …" if len(links) > _NAMED else ""
    return [f"{len(links)} {what}: {', '.join(links[:_NAMED])}{more}"] if links else []


def _entries(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        where = cast(str, error.filename)
        raise PictureError(f"{where} cannot be listed ({error.strerror}). Correct its permissions.") from error
    return [path for path in paths if not path.name.startswith(".")]


def _identity(folder: Path) -> _Identity:
    found = folder.stat()
    return found.st_dev, found.st_ino
