"""The parent of a batch as a separate process to be killed: `python -m tests.chaos.parent ARCHIVE`. No tests.

--naive replaces the loader by a naive one, rows first and then the mark: a control whose faults the checks must find.
"""

import argparse
import time
from typing import Any

from prefect import tags
from sqlalchemy import Engine, text, update

from flows.nightly_batch import nightly_batch
from storage.ledger.leases import NO_LEASE
from storage.rows import POSE_COLUMNS, keypoint_matrix
from storage.sql.clock import database_now
from storage.sql.tables import segments, videos
from tasks.fleet import parent as fleet_dispatch
from tasks.fleet import schedule
from tasks.site.owner import PROCESS, TAG, this_owner

NAIVE_TABLE = "naive_poses"
BETWEEN_S = 0.2  # between rows and mark of the naive loader, like a busy database or a garbage collection


def load_naively(engine: Engine, result: Any, result_key: str | None = None, result_sha256: str | None = None) -> bool:
    """Load in two transactions: insert, commit, mark as done, commit."""
    with engine.begin() as connection:
        mine = videos.c.sha256 == result.segment.video_sha256
        video_id = connection.execute(videos.select().where(mine)).one().video_id
        names = ("video_id", "model_version_id", *POSE_COLUMNS)
        values = ", ".join(f":{name}" for name in names)
        if rows := [dict(zip(names, (video_id, 1, *row), strict=True)) for row in _rows(result.rows)]:
            connection.execute(text(f"INSERT INTO {NAIVE_TABLE} ({', '.join(names)}) VALUES ({values})"), rows)
    time.sleep(BETWEEN_S)
    done = {"status": "done", "frames_done": result.report.frames_done, "people": len(result.rows), **NO_LEASE}
    stored = {"result_key": result_key, "result_sha256": result_sha256, "finished_at": database_now()}
    with engine.begin() as connection:
        this = (segments.c.video_id == video_id) & (segments.c.start_frame == result.segment.start_frame)
        connection.execute(update(segments).where(this).values(**done, **stored))
    return True


def _rows(poses: Any) -> list[tuple[Any, ...]]:
    own = (poses.frame.tolist(), poses.person.tolist(), poses.t_s.tolist(), poses.scores.tolist())
    found = [[None if value != value else value for value in row] for row in keypoint_matrix(poses).tolist()]
    return [(*head, *row) for head, row in zip(zip(*own, strict=True), found, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("--dispatch", default="fleet", choices=["local", "fleet"])
    parser.add_argument("--segment-s", type=int, default=1)
    parser.add_argument("--least-s", type=float, help="of work for a run; the product's own by default")
    parser.add_argument("--naive", action="store_true")
    options = parser.parse_args()
    # A batch waits minutes for a worker that died before its run started; a campaign of kills does not.
    schedule.START_LIMIT_S = 60.0
    schedule.LEAST_S = options.least_s or schedule.LEAST_S
    if options.naive:
        vars(fleet_dispatch)["load_result"] = load_naively
    with tags(TAG, f"{PROCESS}{this_owner()}"):  # like `nightjar run`
        nightly_batch(options.archive, "tiny", segment_s=options.segment_s, dispatch=options.dispatch, overlay="none")


if __name__ == "__main__":
    main()
