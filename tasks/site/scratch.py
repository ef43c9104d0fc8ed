"""Scratch folders in the machine's folder for temporary files (TMPDIR). No SQL: edge workers import this."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from storage.leftovers import remove_leftovers, temporary_below, temporary_folder
from storage.objects.places import StoreError
from tasks.site.settings import Settings, temporary_root

LEAST_BYTES = 1 << 20  # with less free space a disk counts as full
SUFFIX = ".scratch"
NAME = re.compile(r"nightjar-[a-z]+-[0-9a-f]{8}-[0-9a-f]{16}\.scratch")
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXT = "No space left on device"  # in messages of libraries and the sandbox's child


class ScratchError(StoreError):
    """The folder for temporary files is full or cannot be used."""


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Create a folder for this process and remove it at the end. Folders of killed processes are removed first.

    purpose: a word for the folder's name
    Raises ScratchError if the disk is full, also if the body fails because of it.
    """
    root = temporary_root()
    remove_leftovers(scratch_folders(root))
    if _is_full(root):
        raise _full(root)
    with ExitStack() as held:
        try:
            folder = held.enter_context(temporary_folder(root, f"nightjar-{purpose}-", SUFFIX))
        except OSError as error:
            raise _unusable(root, error) from error
        try:
            yield folder
        except Exception as error:
            if lacked_room(error, folder):
                raise _full(root) from error
            raise


def lacked_room(error: BaseException, folder: Path) -> bool:
    """Return True if the scratch folder's disk is full. Libraries and children report it as text."""
    if isinstance(error, StoreError):  # it names its own path
        return isinstance(error, ScratchError) or str(folder) in str(error)
    if isinstance(error, OSError) and error.errno in FULL and error.filename:
        return str(folder) in os.fsdecode(error.filename)
    return FULL_TEXT in str(error) or _is_full(folder)


def _is_full(folder: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(folder).free < LEAST_BYTES
    return False


def _full(root: Path) -> ScratchError:
    return ScratchError(
        f"No space is left in {str(root)!r}, the folder for temporary files.",
        "Free some space there, or set TMPDIR to a folder with more room.",
    )


def _unusable(root: Path, error: OSError) -> ScratchError:
    if error.errno in FULL:
        return _full(root)
    return ScratchError(
        f"{error.strerror} at {str(root)!r}, the folder for temporary files.",
        "Set TMPDIR to a folder that exists and that you may write.",
    )


def scratch_folders(root: Path) -> list[Path]:
    """List all scratch folders of this machine, of all processes."""
    with suppress(OSError):
        return [path for path in root.iterdir() if NAME.fullmatch(path.name)]
    return []


def clean_up(settings: Settings, artifacts: Path | None = None, dry: bool = False) -> int:
    """Remove the temporary files of killed processes on this machine. Returns their number.

    artifacts: the artifact store if it is a folder, which takes as long as a listing
    dry: count only, remove nothing
    """
    paths = scratch_folders(temporary_root())
    for root in (settings.model_cache, settings.download_cache, settings.home.resolve() / "spool", artifacts):
        paths += temporary_below(root) if root else ()
    return remove_leftovers(paths, dry=dry)
