"""The folder of temporary files of tests: in memory where there is room."""

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
FREE_BYTES = 8 << 30  # of the folder; a whole run needs less
AVAILABLE_BYTES = 16 << 30  # of the machine's memory, as processes of tests need theirs, too


def use_memory() -> None:
    """Put temporary files of this process and of its children into memory, unless the user chose another folder.

    Databases are files that are created and deleted with each test: in memory, one of PostgreSQL costs a tenth of the
    CPU time (docs/decisions/179).
    """
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def has_room(folder: Path) -> bool:
    """Return whether programs can be run in the folder, and it and the machine have enough memory."""
    try:
        found = os.statvfs(folder)
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return False
    available = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
    executable = not found.f_flag & os.ST_NOEXEC and os.access(folder, os.W_OK)
    return executable and found.f_bavail * found.f_frsize >= FREE_BYTES and available >= AVAILABLE_BYTES
