"""The end of a file: how much of it is read, and zeros that a copy reserved and never filled."""

from io import BufferedReader

from models.types import VideoError
from storage.video.regular_file import UNFINISHED, read_at

TAIL_BYTES = 1 << 18
ZEROS_BYTES = 4096  # at a container's end: more than any padding


def refuse_zeros(file: BufferedReader, stop: int, size: int) -> None:
    """Raise VideoError where the end, which holds an index in a whole file, is space that a copy reserved."""
    tail = read_at(file, stop - ZEROS_BYTES, ZEROS_BYTES) if ZEROS_BYTES <= stop <= size else b""
    if tail and not tail.strip(b"\0"):
        raise VideoError(
            f"The file is truncated: there are only zeros before byte {stop}, where its container ends. {UNFINISHED}"
        )
