"""A file's hash. hashlib.file_digest would do, but the Python 3.10 of a stick's worker does not have it."""

import hashlib
import os
from pathlib import Path
from typing import IO

CHUNK_BYTES = 1 << 20


def sha256_of(file: IO[bytes], count: int | None = None) -> str:
    """Hash `count` bytes from the current position, None = all to the end. The position moves with them."""
    return _digest(file, hashlib.sha256(), count)


def md5_of(file: IO[bytes]) -> str:
    """Return the MD5 that an S3 server's ETag may have: evidence against damage, not against forgery."""
    return _digest(file, hashlib.md5(usedforsecurity=False))


def _digest(file: IO[bytes], digest: "hashlib._Hash", count: int | None = None) -> str:
    while chunk := file.read(CHUNK_BYTES if count is None else min(CHUNK_BYTES, count)):
        digest.update(chunk)
        count = None if count is None else count - len(chunk)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames in the folder durable: without this a power cut may undo one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
