"""A batch on a fleet of simulated sticks: the share of the sticks' speed that reaches the database.

python -m tests.benchmarks.bench_fleet --sticks 16 --fps 30 --hours 4
python -m tests.benchmarks.bench_fleet --sticks 1 --fps 30 --hours 0.2

Real: Prefect's server and PostgreSQL, a worker per stick and a process per run, the decoder, the store, the ledger.
Simulated: the sticks' speed, and the film, one video repeated with other bytes at its end.
"""

import argparse
import contextlib
import itertools
import os
import resource
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray

from flows.nightly_batch import nightly_batch
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.site.settings import read_settings
from tests.flows.conftest import register_tiny_model, spot_picture
from tests.flows.fleet import deploy_edge, worker
from tests.servers_postgres import running_postgres
from tests.servers_prefect import running_prefect
from tests.tiny_model import write_tiny_model
from tests.videos import make_video

VIDEO_FRAMES = 9000  # five minutes at 30 frames/s
SEGMENT_S = 60
POLL_S = 10  # like `nightjar worker`


class FilmFrames(Sequence[NDArray[np.uint8]]):
    """The pictures of the film, made on request: all at once would take 1.4 GB."""

    def __len__(self) -> int:
        return VIDEO_FRAMES

    def __getitem__(self, number: Any) -> Any:
        if number >= VIDEO_FRAMES:
            raise IndexError
        return spot_picture(number)


def make_archive(folder: Path, frames: int) -> int:
    """Make an archive of at least `frames` frames. Returns their number.

    MP4 ignores a `free` box at its end, but the hash does not.
    """
    folder.mkdir()
    first = make_video(folder / "000.mp4", pictures=FilmFrames(), fps=30, gop=30)
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


class SegmentTimes(NamedTuple):
    """A completed segment. begin_s, end_s: since the first dispatch; the end is its commit"""

    worker: str
    begin_s: float
    end_s: float
    frames: int


def read_segment_times(dispatched: object) -> list[SegmentTimes]:
    """Read the segments by worker, in the order of their ends."""
    rows: list[Any] = ask("SELECT worker, finished_at, wall_s, frames_done FROM segments ORDER BY worker, finished_at")
    ends = [(who, seconds(dispatched, finished), wall_s, frames) for who, finished, wall_s, frames in rows]
    return [SegmentTimes(who, end_s - wall_s, end_s, frames) for who, end_s, wall_s, frames in ends]


def speed_by_minute(segments_done: list[SegmentTimes]) -> list[float]:
    """Frames/s in each minute, each segment's frames spread evenly over its time."""
    rates = [0.0] * (int(max(piece.end_s for piece in segments_done) / 60) + 1)
    for piece in segments_done:
        for minute in range(len(rates)):
            inside_s = min(piece.end_s, 60 * minute + 60) - max(piece.begin_s, 60 * minute)
            rates[minute] += max(inside_s, 0) / (piece.end_s - piece.begin_s) * piece.frames / 60
    return rates


def idle_s(segments_done: list[SegmentTimes]) -> list[float]:
    """Seconds between the end of a segment and the start of the same worker's next one."""
    pairs = itertools.pairwise(segments_done)
    return [later.begin_s - earlier.end_s for earlier, later in pairs if later.worker == earlier.worker]


def overheads_s(dispatched: object, segments_done: list[SegmentTimes]) -> list[float]:
    """Overhead in seconds per further segment of an assignment, without the work itself: one value per assignment."""
    costs = []
    for who, granted, ended in ask("SELECT worker, granted_at, ended_at FROM assignments WHERE granted_at IS NOT NULL"):
        begin_s, end_s = seconds(dispatched, granted), seconds(dispatched, ended)
        mine = [
            piece for piece in segments_done if piece.worker == who and begin_s < piece.begin_s and piece.end_s < end_s
        ]
        costs += [mean(idle_s(mine))] if len(mine) > 1 else []
    return costs


def report(frames: int, sticks: int, fps: float) -> None:
    [(dispatched,)] = ask("SELECT min(created_at) FROM assignments")
    [(committed, attempts, segments)] = ask("SELECT max(finished_at), sum(attempt), count(*) FROM segments")
    runs = ask("SELECT status, count(*) FROM assignments GROUP BY status ORDER BY status")
    whole, best = seconds(dispatched, committed), sticks * fps
    segments_done = read_segment_times(dispatched)
    begins = {piece.worker: piece.begin_s for piece in reversed(segments_done)}.values()
    ends = {piece.worker: piece.end_s for piece in segments_done}.values()
    print(
        f"{frames:,} frames by {sticks} sticks of {fps:g} frames/s: {frames / whole:.1f} frames/s from the first "
        f"dispatch to the last commit, {100 * frames / whole / best:.1f} % of {best:g}"
    )
    print("frames/s by minute:", " ".join(f"{rate:.0f}" for rate in speed_by_minute(segments_done)))
    print(
        f"a stick began after {mean(begins):.1f} s ({min(begins):.1f} to {max(begins):.1f}), was idle for "
        f"{sum(idle_s(segments_done)) / sticks:.1f} s between its segments, and had no more work "
        f"{whole - mean(ends):.1f} s before the last commit ({whole - max(ends):.1f} to {whole - min(ends):.1f})"
    )
    if costs := overheads_s(dispatched, segments_done):
        print(
            f"each further segment of an assignment cost {1000 * median(costs):.0f} ms (median of {len(costs)} "
            f"assignments, worst {1000 * max(costs):.0f})"
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
                stack.enter_context(worker(f"pi-{number}", folder / f"pi-{number}", device, POLL_S))
        begun = time.monotonic()
        nightly_batch(str(folder / "archive"), "tiny", segment_s=SEGMENT_S, dispatch="fleet", overlay="none")
        print(f"the whole batch took {time.monotonic() - begun:.0f} s")
        report(frames, options.sticks, options.fps)


if __name__ == "__main__":
    main()
