"""Time of the data behind a video's page: `python -m tests.benchmarks.bench_browse --rows 10000000`.

An hour of video at 30 frames/s with three people in every frame, in a PostgreSQL that also holds --rows person-frames
of other videos. Requests go through the whole application without a network, with the video's times in the cache.
"""

import argparse
import dataclasses
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from deployments.browse.app import create_app
from deployments.browse.context import Browse
from models.types import FrameIndex, Poses, Segment
from storage.ledger import analysis_claims, due_analyses
from storage.ledger.analysis_claims import AnalysisEnd
from storage.ledger.chain import AnalysisRows
from storage.ledger.commit import commit_segment
from storage.ledger.leases import claim
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.browse.read_only import open_read_only
from storage.sql.browse.videos import stored_video
from storage.sql.catalogue import show_model
from storage.sql.database import migrate, open_database, writing
from storage.sql.tables import motion
from storage.track_rows import MOTION_HEAD, MOTION_VALUES, POSE_TRACKS, TRACKS, MotionRecords
from tasks.browse import frame_times
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.site.stores import artifact_store
from tests.benchmarks.people import generated_people
from tests.servers_postgres import running_postgres
from tests.storage.many_videos import COPIES
from tests.storage.samples import make_report, make_video, planned_batch, record_file

FPS, SECONDS, LENGTH = 30, 3600, 3600
OTHER_FRAMES, TRACK_FRAMES = 100_000, 1000  # of each other video; person-frames of each of its tracks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with running_postgres() as url, tempfile.TemporaryDirectory() as home:
        engine = open_database(url)
        migrate(engine)
        begun = time.perf_counter()
        load_video(engine, "0", OTHER_FRAMES, 1, TRACK_FRAMES)
        copy_videos(engine, max(1, arguments.rows // OTHER_FRAMES))
        sha256 = load_video(engine, "f", FPS * SECONDS, 3, FPS * SECONDS)
        with writing(engine) as connection:
            connection.execute(text("ANALYZE"))
        print(f"loaded in {time.perf_counter() - begun:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        settings = Settings(home=Path(home), database_url=url, _env_file=None)
        site = Site(settings, open_read_only(url), artifact_store(settings))
        keep_times(site, sha256)
        measure(TestClient(create_app(Browse(site, hosts=("testserver",)))), sha256[:16])
        site.engine.dispose()
        explain_summary(engine)
        engine.dispose()


def measure(client: TestClient, video: str) -> None:
    rng = np.random.default_rng(1)
    pieces = FPS * SECONDS // 512
    columns = "speed_px_per_s,left_knee_angle_deg,centre_x_px"
    requests: dict[str, Callable[[], str]] = {
        "a piece": lambda: f"pieces/{rng.integers(pieces)}",
        "the timeline": lambda: "timeline",
        "a series of 108,000 rows, 3 columns": lambda: f"series?track={rng.integers(1, 4)}&columns={columns}",
        "versions": lambda: "versions",
        "times": lambda: "times",
    }
    for name, path in requests.items():
        times, cpu, size = [], [], 0
        for _ in range(30):
            begun, cpu_begun = time.perf_counter(), time.process_time()
            answer = client.get(f"/api/video/{video}/{path()}")
            times.append((time.perf_counter() - begun) * 1000)
            cpu.append((time.process_time() - cpu_begun) * 1000)
            assert answer.status_code == 200, answer.text
            size = len(answer.content)
        print(
            f"{name}: median {np.median(times):.0f} ms ({np.median(cpu):.0f} ms of CPU here), first {times[0]:.0f}, "
            f"least {min(times):.0f}, most {max(times[1:]):.0f}, {size / 1e3:,.0f} kB",
            flush=True,
        )


def keep_times(site: Site, sha256: str) -> None:
    """Put the probe of the video into the cache, as if its file had been read."""
    video = stored_video(site.engine, sha256)
    assert video is not None
    index = FrameIndex(np.arange(video.frames), np.arange(video.frames) / FPS, np.arange(0, video.frames, 30))
    arrays = io.BytesIO()
    np.savez(arrays, pts=index.pts, timestamps_s=index.timestamps_s, keyframes=index.keyframes)
    header = {"video": dataclasses.asdict(make_video(sha256, video.frames)), "numbered_by": "pts"}
    folder = site.settings.home.resolve() / "cache" / "frames"
    folder.mkdir(parents=True)
    (folder / frame_times._name(video)).write_bytes(frame_times._content(header, arrays.getvalue()))


def explain_summary(engine: Engine) -> None:
    """Time the view of all tracks, and of one video."""
    for sql in ("SELECT * FROM track_summary", "SELECT * FROM track_summary WHERE video_id = 7"):
        with writing(engine) as connection:
            plans = [list(connection.exec_driver_sql(f"EXPLAIN ANALYZE {sql}").scalars()) for _ in range(5)]
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM ({sql}) AS s").scalar()
        times = sorted(float(plan[-1].split()[2]) for plan in plans)
        print(f"{sql}: median {times[2]:.1f} ms, least {times[0]:.1f}, {rows:,} rows")


def load_video(engine: Engine, digit: str, frames: int, people: int, track_frames: int) -> str:
    """Load a video with this number of people in every frame, each in tracks of track_frames. Returns its hash."""
    video = make_video(sha256=digit * 64, frames=frames)
    video_id, model_version_id, batch_id = planned_batch(engine, video, LENGTH)
    record_file(engine, "archive/", f"cam{digit}.mp4", 1, "etag", video_id=video_id)
    show_model(engine, "pose", model_version_id)
    while mine := claim(engine, batch_id, "bench", 60):
        poses = _people(mine.segment, people)
        assert commit_segment(engine, mine, poses, make_report(mine.segment.frames), "results/one", "5" * 64)
    version = register_analysis(engine, "e" * 64, "{}")
    show_first_analysis(engine, version)
    (due,) = due_analyses.awaiting(engine)
    made = analysis_claims.claim_analysis(engine, due, version, "bench", 60.0)
    assert made is not None
    analysis_claims.add_analysis_rows(engine, made, 600.0, _tracks(frames, people, track_frames))
    analysis_claims.complete_analysis(engine, made, AnalysisEnd(made.rows, people * frames // track_frames))
    return video.sha256


def _people(segment: Segment, people: int) -> Poses:
    numbers = np.arange(segment.start_frame, segment.stop_frame)
    rng = np.random.default_rng(segment.start_frame)
    return generated_people(numbers, np.full(len(numbers), people), FPS, rng)


def _tracks(frames: int, people: int, track_frames: int) -> AnalysisRows:
    rows = np.empty(frames * people, POSE_TRACKS)
    rows["frame"], rows["person"] = np.repeat(np.arange(frames), people), np.tile(np.arange(people), frames)
    rows["track"] = rows["person"] + 1 + rows["frame"] // track_frames * people
    head = np.zeros(len(rows), MOTION_HEAD)
    head["track"], head["frame"], head["t_s"] = rows["track"], rows["frame"], rows["frame"] / FPS
    values = np.random.default_rng(2).normal(0, 100, (len(rows), len(MOTION_VALUES))).astype(np.float32)
    tracks = np.zeros(frames // track_frames * people, TRACKS)
    tracks["track"], tracks["frames"] = np.arange(1, len(tracks) + 1), track_frames
    tracks["first_frame"] = (tracks["track"] - 1) // people * track_frames
    tracks["last_frame"] = tracks["first_frame"] + track_frames - 1
    tracks["first_s"], tracks["last_s"] = tracks["first_frame"] / FPS, tracks["last_frame"] / FPS
    return AnalysisRows(rows, tracks, MotionRecords(head, values, None))


def copy_videos(engine: Engine, count: int) -> None:
    """Copy the rows of the first video until there are `count` videos, without motion."""
    with writing(engine) as connection:
        (segments,) = connection.execute(text("SELECT count(*) FROM segments")).one()
        for table, changed in COPIES.items():
            if table is motion:
                continue
            names = [column.name for column in table.columns]
            values = [changed.get(name, name).replace("{segments}", str(segments)) for name in names]
            numbers = f"generate_series(1, {count - 1}) AS n(i)"
            copies = f"SELECT {', '.join(values)} FROM {table.name}, {numbers}"
            connection.execute(text(f"INSERT INTO {table.name} ({', '.join(names)}) {copies}"))
        for name, key in (("videos", "video_id"), ("recordings", "recording_id"), ("analyses", "analysis_id")):
            sequence = f"pg_get_serial_sequence('{name}', '{key}')"
            connection.execute(text(f"SELECT setval({sequence}, {count + 10})"))
        sequence = "pg_get_serial_sequence('segments', 'segment_id')"
        connection.execute(text(f"SELECT setval({sequence}, {(count + 1) * segments})"))


if __name__ == "__main__":
    main()
