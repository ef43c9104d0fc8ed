"""Recordings by ffmpeg that pause halfway, like a recorder that waits for movement."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tests.ffmpeg import command_of

REST_S = 0.4  # after this time without growth, the file contains everything that ffmpeg received


def record(path: Path, pictures: Sequence[NDArray[np.uint8]], halfway: int, *coding: str) -> bytes:
    """Let ffmpeg record these pictures, (height, width, 3) uint8 RGB. Returns the file's bytes at the pause."""
    height, width, _ = pictures[0].shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    command = [*command_of("ffmpeg"), "-y", *source, *coding, "-g", "5", "-flush_packets", "1", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        _write(ffmpeg.stdin, pictures[:halfway])
        part = _at_rest(path)
        _write(ffmpeg.stdin, pictures[halfway:])
    assert ffmpeg.returncode == 0
    return part


def _write(pipe: IO[bytes], pictures: Sequence[NDArray[np.uint8]]) -> None:
    for picture in pictures:
        pipe.write(picture.tobytes())
    pipe.flush()


def _at_rest(path: Path) -> bytes:
    before, since, until = b"", time.monotonic(), time.monotonic() + 30
    while time.monotonic() < until:
        now = path.read_bytes() if path.exists() else b""
        if now != before:
            before, since = now, time.monotonic()
        if len(now) > 1000 and time.monotonic() - since > REST_S:
            return now
        time.sleep(0.02)
    raise TimeoutError(f"{path} did not come to rest")
