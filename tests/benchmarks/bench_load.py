"""Speed of rows from Parquet into both databases and out of them: `python -m tests.benchmarks.bench_load`.

Like a sweep that loads missing results: segments of a minute with four people in each frame. In turns, into new
databases; the medians count.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sqlalchemy import Engine, make_url, text

from models.types import Video
from storage.objects.artifacts import FolderArtifacts
from storage.parquet import Result
from storage.sql.database import migrate, open_database
from storage.sql.result_rows import read_poses
from tasks.segment.load import load_results
from tasks.segment.result_files import put, result_key
from tests.benchmarks.people import generated_people
from tests.servers_postgres import running_postgres
from tests.storage.samples import cut, make_model, make_report, make_video, planned_batch

PEOPLE, LENGTH, SEGMENTS, FPS, ROUNDS = 4, 1500, 20, 25, 5
ASKED = {"sqlite": 80_000, "postgresql": 200_000}
VIDEO = make_video(frames=LENGTH * SEGMENTS)


class Speed(NamedTuple):
    """Person-frames per second."""

    loaded: float
    read: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        store = FolderArtifacts(Path(folder) / "store")
        keys = [stored(store, VIDEO, number) for number in range(SEGMENTS)]
        found: dict[str, list[Speed]] = {name: [] for name in ASKED}
        for turn in range(rounds):
            for url in (f"sqlite:///{folder}/{turn}.sqlite", f"{server}_{turn}"):
                with new_database(url, server) as engine:
                    found[engine.dialect.name].append(measure(engine, store, keys))
    for name, speeds in found.items():
        loaded, read = np.median(speeds, axis=0)
        print(
            f"{name}: {VIDEO.frames * PEOPLE:,} person-frames, Parquet to committed rows, at {loaded:,.0f}/s "
            f"({min(speeds).loaded:,.0f} to {max(speeds).loaded:,.0f}; asked {ASKED[name]:,}), read at {read:,.0f}/s"
        )
    print(f"medians of {rounds} turns, load {os.getloadavg()[0]:.1f}")


def stored(store: FolderArtifacts, video: Video, number: int) -> str:
    segment = cut(video, LENGTH)[number]
    frames = np.arange(segment.start_frame, segment.stop_frame)
    poses = generated_people(frames, np.full(LENGTH, PEOPLE), FPS, np.random.default_rng(number))
    result = Result(video, segment, make_model().version_sha256, poses, make_report(LENGTH))
    return put(store, result_key(result.version_sha256, segment, 1), result).key


@contextmanager
def new_database(url: str, server: str) -> Iterator[Engine]:
    if url.startswith("postgresql"):
        admin = open_database(server)
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE DATABASE {make_url(url).database}"))
        admin.dispose()
    engine = open_database(url)
    migrate(engine)
    yield engine
    engine.dispose()


def measure(engine: Engine, store: FolderArtifacts, keys: list[str]) -> Speed:
    video_id, model_version_id, _ = planned_batch(engine, VIDEO, LENGTH)
    begun = time.perf_counter()
    assert all(loading.result() for _, loading in load_results(engine, store, keys, lambda _key, _result: True))
    loaded = time.perf_counter()
    rows = sum(
        len(read_poses(engine, video_id, model_version_id, start, start + LENGTH))
        for start in range(0, VIDEO.frames, LENGTH)
    )
    assert rows == VIDEO.frames * PEOPLE
    return Speed(rows / (loaded - begun), rows / (time.perf_counter() - loaded))


if __name__ == "__main__":
    main()
