"""How fast rows get into and out of both databases: python -m tests.benchmarks.bench_load"""

import tempfile
import time

from sqlalchemy import Engine

from models.types import Poses
from storage.database import migrate, open_database
from storage.ledger import claim
from storage.query import query
from storage.results import commit_segment, read_poses
from tests.servers_postgres import running_postgres
from tests.storage.samples import make_poses, make_report, make_video, planned_batch

PEOPLE, LENGTH, FRAMES = 4, 2500, 25_000


def load(engine: Engine) -> None:
    migrate(engine)
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=FRAMES), LENGTH)
    rows: dict[int, Poses] = {start: make_poses(start, start + LENGTH, PEOPLE) for start in range(0, FRAMES, LENGTH)}
    begin = time.perf_counter()
    while (mine := claim(engine, batch_id, "bench", 60)) is not None:
        commit_segment(engine, mine, rows[mine.segment.start_frame], make_report(LENGTH))
    loaded = time.perf_counter()
    poses = read_poses(engine, video_id, model_version_id, 0, FRAMES)
    read = time.perf_counter()
    list(query(engine, "SELECT count(*) FROM poses WHERE left_wrist_y < nose_y")[1])
    asked = time.perf_counter()
    print(
        f"{engine.dialect.name}: {len(poses):,} person-frames loaded at {len(poses) / (loaded - begin):,.0f}/s, "
        f"read at {len(poses) / (read - loaded):,.0f}/s, 'left wrist above nose' over all {1e3 * (asked - read):.0f} ms"
    )
    engine.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        load(open_database(f"sqlite:///{folder}/nightjar.sqlite"))
    with running_postgres() as url:
        load(open_database(url))
