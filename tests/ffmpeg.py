"""The programs of FFmpeg as a second opinion, and for files that our own writers do not make."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 120.0


def ffmpeg(*arguments: str | Path, **options: Any) -> bytes:
    """Run ffmpeg. Returns its standard output. Skips the test where it is not installed."""
    return run("ffmpeg", *arguments, **options)


def ffprobe(*arguments: str | Path) -> bytes:
    """Run ffprobe. Returns its standard output. Skips the test where it is not installed."""
    return run("ffprobe", *arguments)


def run(program: str, *arguments: str | Path, **options: Any) -> bytes:
    command = [*command_of(program), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S, **options).stdout


def command_of(program: str) -> list[str]:
    """Return the beginning of a command. Skips the test where the program is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: install the package ffmpeg")
    return [program, "-v", "error"]
