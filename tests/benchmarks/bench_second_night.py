"""A batch over an archive without changes: `python -m tests.benchmarks.bench_second_night --videos 200000`.

A first batch processes one video. Its rows are then multiplied in the database, and its file is copied in the archive,
with the size and time of the rows. So the rest is real: the command, its Prefect server, the listing, the comparison
with the catalogue, the account and the report. Also measured: listings for users, and the time to end after SIGTERM.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from models.manifest import MANIFEST_FILE, Manifest
from storage.sql.database import open_database
from tasks.model.store import store_model
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.servers_postgres import running_postgres
from tests.storage.many_videos import FOLDERS, key_of, multiply
from tests.tiny_model import write_tiny_model
from tests.videos import make_video

FRAMES, FPS = 4, 25
WRITTEN_NS = 1_700_000_000_000_000_000
NIGHTJAR = Path(sys.executable).with_name("nightjar")
ASKED = {
    "nightjar videos": ["videos", "--format", "csv"],
    "nightjar videos, for a terminal": ["videos"],
    "nightjar batches --last": ["batches", "--last"],
    "nightjar quarantine": ["quarantine"],
    "one video of video_summary, by its name": [
        "sql",
        "SELECT * FROM video_summary WHERE video = 'cam001/0000001.mp4'",
    ],
    "one video of video_summary, by its number": ["sql", "SELECT * FROM video_summary WHERE video_id = 7"],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=200_000)
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nightjar-second-") as scratch:
        os.environ["NIGHTJAR_HOME"] = str(Path(scratch) / "home")
        os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        if arguments.postgresql:
            with running_postgres() as url:
                os.environ["NIGHTJAR_DATABASE_URL"] = url
                bench(Path(scratch), arguments.videos)
        else:
            os.environ.pop("NIGHTJAR_DATABASE_URL", None)
            bench(Path(scratch), arguments.videos)


def bench(scratch: Path, count: int) -> None:
    archive, first = scratch / "archive", scratch / "archive" / key_of(0)
    first.parent.mkdir(parents=True)
    make_video(first, frames=FRAMES, fps=FPS)
    os.utime(first, ns=(WRITTEN_NS, WRITTEN_NS))
    folder = scratch / "ir"
    write_tiny_model(folder)
    with open_site() as site:
        store_model(site, folder, Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
    run_night(archive, expected=1)
    begun = time.perf_counter()
    copy_files(archive, first, count)
    engine = open_database(read_settings().database)
    multiply(engine, count)
    engine.dispose()
    print(f"{count:,} known videos made in {time.perf_counter() - begun:.0f} s, load {os.getloadavg()[0]:.1f}")
    for night in ("second", "third"):
        wall_s, memory_mb = run_night(archive, expected=count)
        print(f"the {night} night: {wall_s:.1f} s, {memory_mb:.0f} MB at most")
    for title, options in ASKED.items():
        wall_s, memory_mb = timed([str(NIGHTJAR), *options], scratch)[1:]
        print(f"{title}: {wall_s:.1f} s, {memory_mb:.0f} MB")
    for after_s in (1.0, 3.0, 6.0, 9.0):
        print(f"SIGTERM {after_s:g} s after its listing began: ended {ended_after(archive, after_s):.1f} s later")


def copy_files(archive: Path, first: Path, count: int) -> None:
    for number in range(1, count):
        target = archive / key_of(number)
        if number < FOLDERS:
            target.parent.mkdir(exist_ok=True)
        shutil.copyfile(first, target)
        os.utime(target, ns=(WRITTEN_NS, WRITTEN_NS))


def run_night(archive: Path, expected: int) -> tuple[float, float]:
    """Run a batch. Returns its seconds and megabytes. Raises AssertionError where it listed another number of files."""
    said, wall_s, memory_mb = timed([str(NIGHTJAR), "run", str(archive), "--model", "tiny"], archive.parent)
    assert f"{expected:,} listed" in said, said
    return wall_s, memory_mb


def timed(command: Sequence[str], folder: Path) -> tuple[str, float, float]:
    """Run a command. Returns its output, its seconds, and the megabytes of its largest process."""
    with (folder / "said").open("w+") as said:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begun
        said.seek(0)
        text_of = said.read()
    assert os.waitstatus_to_exitcode(status) == 0, text_of[-2000:]
    return text_of, wall_s, usage.ru_maxrss / 1024


def ended_after(archive: Path, after_s: float) -> float:
    """Seconds from SIGTERM to the end of a batch."""
    command = [str(NIGHTJAR), "run", str(archive), "--model", "tiny"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Beginning flow run" in line:
            break
    time.sleep(after_s)
    asked = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    print(f"exit code {process.returncode}", end=", ")
    return time.perf_counter() - asked


if __name__ == "__main__":
    main()
