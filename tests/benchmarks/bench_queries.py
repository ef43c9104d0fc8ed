"""Time of the queries in docs/queries.md on PostgreSQL: `python -m tests.benchmarks.bench_queries --rows 10000000`.

A generated archive: videos of 100,000 frames at 25 frames/s without people in half of the frames (minutes in turn)
and one person in most of the others.
"""

import argparse
import os
import time

import numpy as np
from sqlalchemy import Engine, text

from models.types import Poses, Segment
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.catalogue import show_model
from storage.sql.database import migrate, open_database, writing
from storage.sql.query import query
from tests.benchmarks.people import generated_people
from tests.servers_postgres import running_postgres
from tests.storage.samples import make_report, make_video, planned_batch, record_file
from tests.test_readme import QUERIES

FRAMES, LENGTH, FPS = 100_000, 12_500, 25
REPETITIONS = 3  # of each query; the median counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--plans", action="store_true")
    arguments = parser.parse_args()
    with running_postgres() as url:
        engine = open_database(url)
        migrate(engine)
        begun = time.perf_counter()
        loaded = load(engine, arguments.rows)
        took_s = time.perf_counter() - begun
        print(f"{loaded:,} person-frames, {loaded / took_s:,.0f}/s, load {os.getloadavg()[0]:.1f}")
        with writing(engine) as connection:
            connection.execute(text("ANALYZE"))
        for title, sql in QUERIES:
            if arguments.plans:
                with writing(engine) as connection:
                    print(*connection.exec_driver_sql(f"EXPLAIN ANALYZE {sql}").scalars(), sep="\n")
            times = [query_s(engine, sql) for _ in range(REPETITIONS)]
            print(f"{np.median(times):8.3f} s, least {min(times):.3f} s   {title[:70]}")
        engine.dispose()


def query_s(engine: Engine, sql: str) -> float:
    begun = time.perf_counter()
    for _ in query(engine, sql)[1]:
        pass
    return time.perf_counter() - begun


def load(engine: Engine, rows: int) -> int:
    """Load at least this number of rows through the ledger, like a batch."""
    loaded, number = 0, 0
    while loaded < rows:
        video = make_video(sha256=f"{number:064x}", frames=FRAMES)
        video_id, model_version_id, batch_id = planned_batch(engine, video, LENGTH)
        record_file(engine, "archive/", f"cam{number:03d}.mp4", 1, "etag", video_id=video_id)
        show_model(engine, "pose", model_version_id)
        while mine := claim(engine, batch_id, "bench", 60):
            poses = sparse_poses(mine.segment, number)
            assert commit_segment(engine, mine, poses, make_report(mine.segment.frames), "results/one", "5" * 64)
            loaded += len(poses)
        number += 1
    return loaded


def sparse_poses(segment: Segment, video: int) -> Poses:
    """Poses without people in every other minute, and with mostly one person in the others."""
    rng = np.random.default_rng((video, segment.start_frame))
    numbers = np.arange(segment.start_frame, segment.stop_frame)
    some = rng.choice([1, 2, 3], segment.frames, p=[0.8, 0.15, 0.05])
    return generated_people(numbers, np.where(numbers // (60 * FPS) % 2 == 0, some, 0), FPS, rng)


if __name__ == "__main__":
    main()
