"""Planning and bookkeeping of 100,000 segments: seconds to plan and record them, and per claim and commit.

python -m tests.benchmarks.bench_planning
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from models.inference.segments import plan_segments
from models.types import Poses, Video
from storage.ledger import assignments, batches
from storage.ledger import leases as ledger
from storage.ledger.batches import expect_segments, start_batch
from storage.ledger.commit import load_result
from storage.parquet import Result
from storage.sql.catalogue import register_model
from storage.sql.database import migrate, open_database
from tests.servers_postgres import running_postgres
from tests.storage.samples import make_model, make_report, plan_video, register_video

VIDEOS, SEGMENTS_A_VIDEO, SEGMENT_FRAMES = 1000, 100, 1800
ROUNDS = 30


def make_videos() -> list[Video]:
    frames = SEGMENTS_A_VIDEO * SEGMENT_FRAMES
    return [
        Video(f"{number:064x}", 10**9, "mp4", "h264", 1280, 720, 0, frames, 30.0, frames / 30, 1280, 720)
        for number in range(VIDEOS)
    ]


def plan_all(engine: Engine, videos: list[Video], model_version_id: int) -> list[int]:
    """Plan like tasks/batch/listing.py: from the video's keyframes, one transaction per video."""
    frames = SEGMENTS_A_VIDEO * SEGMENT_FRAMES
    keyframes, timestamps = np.arange(0, frames, 30), np.arange(frames) / 30
    video_ids = []
    for video in videos:
        video_id = register_video(engine, video)
        plan = plan_segments(video.sha256, keyframes, timestamps, video.frames, SEGMENT_FRAMES / 30)
        plan_video(engine, video_id, model_version_id, plan)
        video_ids.append(video_id)
    return video_ids


def median_ms(action: Callable[[], object]) -> float:
    costs = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        costs.append(time.perf_counter() - begun)
    return 1000 * statistics.median(costs)


def bench(name: str, url: str) -> None:
    engine = open_database(url)
    migrate(engine)
    videos, model_version_id = make_videos(), register_model(engine, make_model())
    begun = time.perf_counter()
    video_ids = plan_all(engine, videos, model_version_id)
    planned = time.perf_counter()
    batch_id = start_batch(engine, "archive/", model_version_id, "fleet", "owner")
    counts = expect_segments(engine, batch_id, video_ids, VIDEOS, 0)
    entered = time.perf_counter()
    print(
        f"{name}: {counts.expected:,} segments planned in {planned - begun:.1f} s, recorded in {entered - planned:.1f} "
        "s"
    )
    print(f"{name}: one claim {median_ms(lambda: ledger.claim(engine, batch_id, 'me', 60)):.1f} ms", end=", ")
    print(f"a count of the batch {median_ms(lambda: batches.count_segments(engine, batch_id)):.0f} ms", end=", ")
    member = assignments.create(engine, batch_id)
    begun = time.perf_counter()
    claims = assignments.grant(engine, member, "pi", "stick", 300 * SEGMENT_FRAMES, 60)
    granted_ms = 1000 * (time.perf_counter() - begun) / len(claims)
    print(f"a grant of {len(claims)}: {granted_ms:.2f} ms per segment", end=", ")
    waiting = iter(claims)
    by_sha = {video.sha256: video for video in videos}

    def load() -> None:
        claim = next(waiting)
        video = by_sha[claim.segment.video_sha256]
        report = make_report(claim.segment.frames)
        load_result(engine, Result(video, claim.segment, "1" * 64, Poses.gather([]), report), "key", "0" * 64)

    print(f"an empty result into SQL {median_ms(load):.1f} ms", end=", ")
    print(f"renewing an assignment {median_ms(lambda: assignments.renew(engine, member.assignment_id, 60)):.1f} ms")
    engine.dispose()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench("SQLite", f"sqlite:///{Path(folder)}/nightjar.db")
    with running_postgres() as url:
        bench("PostgreSQL", url)
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
