"""A night on a fleet of simulated sticks: how much of what the sticks can do reaches the database.

python -m tests.benchmarks.bench_fleet --sticks 16 --fps 30 --hours 4
python -m tests.benchmarks.bench_fleet --sticks 1 --fps 30 --hours 0.2

Real: Prefect's server and PostgreSQL, a worker and a process a run for each stick, the decoder, the store, the ledger.
Simulated: the stick's pace, and the film, one video many times over with other bytes at its end.
"""

import argparse
import contextlib
import os
import resource
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from flows.nightly_batch import nightly_batch
from storage.database import open_database
from storage.query import query
from tasks.settings import read_settings
from tests.flows.conftest import register_tiny_model, spot_picture
from tests.flows.fleet import deploy_edge, worker
from tests.servers_postgres import running_postgres
from tests.servers_prefect import running_prefect
from tests.tiny_model import write_tiny_model
from tests.videos import make_video

VIDEO_FRAMES = 9000  # five minutes at 30 frames/s
SEGMENT_S = 60


class Spots(Sequence[NDArray[np.uint8]]):
    """The pictures of the film, made when they are asked for: all at once would take 1.4 GB."""

    def __len__(self) -> int:
        return VIDEO_FRAMES

    def __getitem__(self, number: Any) -> Any:
        if number >= VIDEO_FRAMES:
            raise IndexError
        return spot_picture(number)


def make_archive(folder: Path, frames: int) -> int:
    """So many frames of film, at least; how many there are. MP4 ignores a `free` box at its end, the hash does not."""
    folder.mkdir()
    first = make_video(folder / "000.mp4", pictures=Spots(), fps=30, gop=30)
    film = first.read_bytes()
    videos = max(1, -(-frames // VIDEO_FRAMES))
    for number in range(1, videos):
        (folder / f"{number:03d}.mp4").write_bytes(film + (16).to_bytes(4, "big") + b"free" + secrets.token_bytes(8))
    return videos * VIDEO_FRAMES


def ask(sql: str) -> list[tuple[object, ...]]:
    _, rows = query(open_database(read_settings().database), sql)
    return [tuple(row) for row in rows]


def seconds(begin: object, end: object) -> float:
    assert isinstance(begin, datetime)
    assert isinstance(end, datetime)
    return (end - begin).total_seconds()


def report(frames: int, sticks: int, fps: float) -> None:
    [(dispatched,)] = ask("SELECT min(created_at) FROM assignments")
    [(granted,)] = ask("SELECT min(granted_at) FROM assignments")
    [(committed, attempts, segments)] = ask("SELECT max(finished_at), sum(attempt), count(*) FROM segments")
    runs = ask("SELECT status, count(*) FROM assignments GROUP BY status ORDER BY status")
    first, whole = seconds(dispatched, granted), seconds(dispatched, committed)
    best = sticks * fps
    print(
        f"{frames:,} frames by {sticks} sticks of {fps:g} frames/s: {frames / whole:.1f} frames/s from the first "
        f"dispatch to the last commit, {100 * frames / whole / best:.1f} % of {best:g}; without the {first:.1f} s to "
        f"the first grant {100 * frames / (whole - first) / best:.1f} %"
    )
    print(f"{segments} segments, {attempts} attempts, assignments: {dict(runs)}")
    print(f"the parent took {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sticks", type=int, default=16)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--hours", type=float, default=4.0, help="of film at 30 frames/s")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ.update(NIGHTJAR_HOME=str(folder / "home"), NIGHTJAR_ARTIFACTS=str(folder / "store"))
        url = stack.enter_context(running_postgres())
        for name in ("rows", "prefect"):
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name}")
        base = url.rsplit("/", 1)[0]
        os.environ["NIGHTJAR_DATABASE_URL"] = f"{base}/rows"
        stack.enter_context(running_prefect(folder / "prefect", f"{base}/prefect"))
        write_tiny_model(folder / "ir")
        register_tiny_model(folder / "ir")
        deploy_edge()
        frames = make_archive(folder / "archive", round(options.hours * 3600 * 30))
        with contextlib.redirect_stderr(None):
            for number in range(options.sticks):
                device = f"SIMULATED:ms={1000 / options.fps:.3f},id={number}"
                stack.enter_context(worker(f"pi-{number}", folder / f"pi-{number}", device))
        begun = time.monotonic()
        nightly_batch(str(folder / "archive"), "tiny", segment_s=SEGMENT_S, dispatch="fleet", overlay="none")
        print(f"the whole batch took {time.monotonic() - begun:.0f} s")
        report(frames, options.sticks, options.fps)


if __name__ == "__main__":
    main()
