"""How long the README's questions take on PostgreSQL: `python -m tests.benchmarks.bench_queries --rows 10000000`.

A made-up archive: videos of 100,000 frames at 25 a second with nobody in half of the frames (in stretches of a minute)
and one person in most of the others; hands go up in one frame of a hundred, somebody lies in one of two hundred.
"""

import argparse
import os
import time

import numpy as np
from sqlalchemy import Engine, text

from models.types import KEYPOINT_NAMES, Poses
from storage.catalogue import record_file, show_model
from storage.database import migrate, open_database, writing
from storage.ledger import claim
from storage.query import query
from storage.results import commit_segment
from tests.servers_postgres import running_postgres
from tests.storage.samples import make_report, make_video, planned_batch
from tests.test_readme import QUERIES

FRAMES, LENGTH, FPS = 100_000, 12_500, 25
AT = {name: number for number, name in enumerate(KEYPOINT_NAMES)}
ASKED = 3  # times; the median counts


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
            times = [asked(engine, sql) for _ in range(ASKED)]
            print(f"{np.median(times):8.3f} s, least {min(times):.3f} s   {title[:70]}")
        engine.dispose()


def asked(engine: Engine, sql: str) -> float:
    begun = time.perf_counter()
    for _ in query(engine, sql)[1]:
        pass
    return time.perf_counter() - begun


def load(engine: Engine, rows: int) -> int:
    """Through the ledger, as a night does it; at least so many rows."""
    loaded, number = 0, 0
    while loaded < rows:
        video = make_video(sha256=f"{number:064x}", frames=FRAMES)
        video_id, model_version_id, batch_id = planned_batch(engine, video, LENGTH)
        record_file(engine, "archive/", f"cam{number:03d}.mp4", 1, "etag", video_id=video_id)
        show_model(engine, "pose", model_version_id)
        while mine := claim(engine, batch_id, "bench", 60):
            poses = people(mine.segment.start_frame, mine.segment.stop_frame, number)
            assert commit_segment(engine, mine, poses, make_report(mine.segment.frames), "results/one", "5" * 64)
            loaded += len(poses)
        number += 1
    return loaded


def people(start: int, stop: int, video: int) -> Poses:
    rng = np.random.default_rng((video, start))
    numbers = np.arange(start, stop)
    counts = np.where(numbers // (60 * FPS) % 2 == 0, rng.choice([1, 2, 3], stop - start, p=[0.8, 0.15, 0.05]), 0)
    frame = np.repeat(numbers, counts)
    person = np.concatenate([np.arange(count, dtype=np.int16) for count in counts])
    places = rng.normal(300, 20, (len(frame), 17, 2)).astype(np.float32)
    for name, y in {"nose": 100, "shoulder": 150, "wrist": 250, "hip": 260}.items():
        of = [place for known, place in AT.items() if known.endswith(name)]
        places[:, of, 1] = y + rng.normal(0, 5, (len(frame), len(of)))
    up, lying = rng.random(len(frame)) < 0.01, rng.random(len(frame)) < 0.005
    places[up, AT["left_wrist"], 1] = 50
    places[lying] = places[lying][:, :, ::-1]
    scores = rng.random((len(frame), 17), np.float32) * np.float32(0.7) + np.float32(0.3)
    lost = rng.random((len(frame), 17)) < 0.1
    places[lost], scores[lost] = np.nan, np.nan
    return Poses(frame, person, frame / FPS, rng.random(len(frame), np.float32), places, scores)


if __name__ == "__main__":
    main()
