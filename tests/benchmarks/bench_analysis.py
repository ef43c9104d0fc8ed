"""Speed and memory of tracking and motion, from a database and back: `python -m tests.benchmarks.bench_analysis`.

Two films, committed in segments of a minute like a night's results: four people who stay apart from each other, and a
shorter film of four who cross all the time and are absent every seventh second, the tracker's hardest case. The
analysis runs in a process of its own on one core; the database's server may use another one.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import numpy as np
from sqlalchemy import Engine

from models.types import Poses
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.catalogue import show_model
from storage.sql.database import migrate, open_database
from storage.sql.query import query
from tasks.analysis.due import analyse_history
from tests.servers_postgres import running_postgres
from tests.storage.samples import make_report, make_video, planned_batch, record_file
from tests.storage.walkers import BODY, FPS, LENGTH_PX, walkers

PEOPLE, MINUTE = 4, 60 * FPS
ASKED = 20_000  # person-frames per second


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--url", help="Analyse the rows of this database, in this process.")
    arguments = parser.parse_args()
    if arguments.url:
        measure(arguments.url)
    elif arguments.database == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            compare(f"sqlite:///{folder}/bench.sqlite", arguments.rows)
    else:
        with running_postgres() as url:
            compare(url, arguments.rows)


def compare(url: str, rows: int) -> None:
    engine = open_database(url)
    migrate(engine)
    for name, (cycle, share) in FILMS.items():
        begun = time.perf_counter()
        loaded = load(engine, name, cycle(), rows // share)
        took_s = time.perf_counter() - begun
        print(f"{name}: {loaded:,} person-frames stored in {took_s:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_analysis", "--url", url], check=True)
    for table in ("pose_tracks", "tracks", "motion"):
        print(f"{table}: {next(query(engine, f'SELECT count(*) FROM {table}')[1])[0]:,} rows")
    engine.dispose()


def load(engine: Engine, name: str, cycle: Poses, rows: int) -> int:
    """Commit a film of at least this many rows through the ledger, in which the frames of the cycle repeat."""
    frames, loaded = int(cycle.frame[-1]) + 1, 0
    minutes = -(-rows * frames // (len(cycle) * MINUTE))
    video = replace(make_video(hashlib.sha256(name.encode()).hexdigest(), minutes * MINUTE), width=1920, height=1080)
    video_id, model_version_id, batch_id = planned_batch(engine, video, MINUTE)
    record_file(engine, "archive/", f"{name}.mp4", 1, "etag", video_id=video_id)
    show_model(engine, "pose", model_version_id)
    while mine := claim(engine, batch_id, "bench", 60):
        poses = of_frames(cycle, frames, mine.segment.start_frame, mine.segment.stop_frame)
        assert commit_segment(engine, mine, poses, make_report(mine.segment.frames), "results/one", "5" * 64)
        loaded += len(poses)
    return loaded


def of_frames(cycle: Poses, frames: int, start: int, stop: int) -> Poses:
    """Rows of frames [start, stop), whose people are those of the cycle's frames, again and again."""
    numbers = np.arange(start, stop)
    first = np.searchsorted(cycle.frame, numbers % frames)
    last = np.searchsorted(cycle.frame, numbers % frames, "right")
    rows = np.concatenate([np.arange(one, other) for one, other in zip(first, last, strict=True)])
    frame = np.repeat(numbers, last - first)
    return Poses(
        frame, cycle.person[rows], frame / FPS, cycle.scores[rows], cycle.keypoints[rows], cycle.keypoint_scores[rows]
    )


def apart() -> Poses:
    """A minute of people who sway in lanes of their own."""
    frame, rng = np.arange(MINUTE), np.random.default_rng(1)
    who = np.arange(PEOPLE)
    x = 150 + 400 * who + 60 * np.sin(2 * np.pi * frame[:, None] / 250 + who)
    places = BODY * LENGTH_PX + np.stack([x, np.full_like(x, 300)], 2)[:, :, None]
    rows = MINUTE * PEOPLE
    return Poses(
        frame=np.repeat(frame, PEOPLE),
        person=np.tile(who.astype(np.int16), MINUTE),
        t_s=np.repeat(frame, PEOPLE) / FPS,
        scores=np.tile(np.linspace(0.9, 0.6, PEOPLE, dtype=np.float32), MINUTE),
        keypoints=(places + rng.normal(0, 1, places.shape)).reshape(rows, -1, 2).astype(np.float32),
        keypoint_scores=rng.uniform(0.5, 1, (rows, len(BODY))).astype(np.float32),
    )


def crossing() -> Poses:
    return walkers(0, 7 * MINUTE, PEOPLE)


# Name -> frames that repeat, and the share of the rows.
FILMS = {"apart": (apart, 1), "crossing": (crossing, 10)}


def measure(url: str) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    engine = open_database(url)
    before, begun, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    done = analyse_history(engine, {}, 120.0)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not done.failed, done.failed
    print(
        f"{engine.dialect.name}: tracks and motion of {done.rows:,} person-frames, read and written back, at "
        f"{done.rows / took:,.0f}/s (asked {ASKED:,}), {done.rows / cpu:,.0f} per CPU second of its process; memory "
        f"{peak / 1024:.0f} MB, {(peak - before) / 1024:.0f} MB more than before"
    )
    engine.dispose()


if __name__ == "__main__":
    main()
