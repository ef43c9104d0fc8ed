"""Time of the first pages of `nightjar browse`: `python -m tests.benchmarks.bench_first_page --rows 10000000`.

A generated archive of 30 cameras that record in the same month, with people in a third of the time. Per database: the
time until it is filled, then the pages, first by a server that has just been started, then again.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert, text
from starlette.testclient import TestClient

from storage.ledger.batches import finish_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.catalogue import show_model
from storage.sql.clock import database_now
from storage.sql.database import migrate, open_database, writing
from storage.sql.tables import analyses, recording_videos, recordings
from tasks.site.settings import Settings
from tests.benchmarks.people import generated_people
from tests.deployments.browse.conftest import client_of, open_browse
from tests.servers_postgres import running_postgres
from tests.storage.many_videos import key_of, multiply
from tests.storage.samples import make_report, make_video, planned_batch, record_file

FPS, FRAMES, LENGTH, PEOPLE_FRAMES = 25, 15_000, 1500, 5000
CAMERAS, DAYS = 30, 30
REPETITIONS = 7
PAGES = (
    "/",
    "/?month=2026-10",
    "/calendar?camera=cam003",
    "/calendar?camera=cam003&day=2026-11-12",
    "/night/1",
    "/search?q=7.MP4",
    "/search?q=none%20such",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--urls", nargs="*", help="databases that are filled already, or that this fills")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        for url in arguments.urls or (f"sqlite:///{folder}/one.db", server):
            fill(url, arguments.rows)
            measure(Settings(home=Path(folder), database_url=url, _env_file=None))


def fill(url: str, rows: int) -> None:
    """Fill an empty database."""
    engine = open_database(url)
    migrate(engine)
    with writing(engine) as connection:
        if connection.execute(text("SELECT count(*) FROM videos")).scalar():
            return
    begun = time.perf_counter()
    videos = rows // PEOPLE_FRAMES
    add_one_video(engine)
    multiply(engine, videos, FRAMES // LENGTH)
    place(engine)
    finish_batch(engine, 1)
    print(f"{engine.dialect.name}: {videos:,} videos, {videos * PEOPLE_FRAMES:,} person-frames in ", end="")
    print(f"{time.perf_counter() - begun:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    engine.dispose()


def add_one_video(engine: Engine) -> None:
    """Add a done video with its recording and an analysis without rows."""
    video = make_video(frames=FRAMES)
    video_id, model_version_id, batch_id = planned_batch(engine, video, LENGTH)
    record_file(engine, "archive/", key_of(0), 1, "etag", video_id=video_id)
    show_model(engine, "pose", model_version_id)
    while mine := claim(engine, batch_id, "bench", 60):
        frames = np.arange(mine.segment.start_frame, mine.segment.stop_frame)
        people = (frames < frames[0] + PEOPLE_FRAMES * LENGTH // FRAMES).astype(int)
        poses = generated_people(frames, people, FPS, np.random.default_rng(frames[0]))
        assert commit_segment(engine, mine, poses, make_report(len(frames)), "results/one", "5" * 64)
    version = register_analysis(engine, "e" * 64, "{}")
    assert show_first_analysis(engine, version)
    analysis = {"recording_id": 1, "video_id": video_id, "model_version_id": model_version_id, "status": "done"}
    with writing(engine) as connection:
        connection.execute(insert(recordings).values(recording_id=1, created_at=database_now()))
        connection.execute(insert(recording_videos).values(recording_id=1, video_id=video_id, utc_offset_s=3600))
        now = {"started_at": database_now(), "finished_at": database_now()}
        rest = {"analysis_version_id": version, "made_from": "0" * 64, "tracks": 3, **now}
        connection.execute(insert(analyses).values(**analysis, **rest))


def place(engine: Engine) -> None:
    """Give each video a camera, and times spread over the days of a month."""
    start = {
        "sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', '2026-10-31', '+' || ({n}) || ' minutes')",
        "postgresql": "timestamptz '2026-10-31' + ({n}) * interval '1 minute'",
    }[engine.dialect.name].replace("{n}", f"(recording_id / {CAMERAS} * 631) % {DAYS * 1440}")
    camera = f"'cam' || substr(CAST(1000 + recording_id % {CAMERAS} AS text), 2)"
    zone = "time_zone = 'Europe/Berlin'"
    with writing(engine) as connection:
        for statement in (
            f"UPDATE recordings SET camera = {camera}, start_at = {start}, {zone}",
            f"UPDATE recording_videos SET start_at = {start}",
            f"UPDATE archive_files SET camera = substr(key, 1, 6), {zone}",
            "ANALYZE",
        ):
            connection.execute(text(statement))


def measure(settings: Settings) -> None:
    """Print the time of each page: the first one of a new server, then the median of others with their spread."""
    browse = open_browse(settings)
    client, name = client_of(browse), browse.site.engine.dialect.name
    for path in PAGES:
        first, *others = times(client, path, 1 + REPETITIONS)
        print(
            f"{name:10} {path:40} first {first:.3f} s, then {statistics.median(others):.3f} s"
            f" ({min(others):.3f} to {max(others):.3f}), load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    browse.site.engine.dispose()


def times(client: TestClient, path: str, repetitions: int) -> Sequence[float]:
    """Return the seconds of some requests, one after the other."""
    taken = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        answer = client.get(path)
        taken.append(time.perf_counter() - begun)
        assert answer.status_code == 200, (path, answer.text)
    return taken


if __name__ == "__main__":
    main()
