"""Errors of a local disk, explained. No stores, no formats."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Makes renames in the folder last: without this a power cut may take one back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
