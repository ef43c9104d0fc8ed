"""That nothing is lost or counted twice while workers are killed and paused; with a naive control that must fail."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from sqlalchemy import Engine, func, select, text

from storage.ledger.batches import count_segments
from storage.sql.result_rows import read_poses
from storage.sql.tables import segments
from tests.storage.samples import assert_same, make_poses, make_video, planned_batch
from tests.storage.workers import LEASE_S, NAIVE_TABLE, work

WORKERS, KILLS, PAUSES, FRAMES, LENGTH = 4, 25, 4, 2000, 10

# New processes in 30 ms each: a server that has imported everything forks them.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.storage.workers"])


def run_and_kill(start: Callable[[str], BaseProcess], is_done: Callable[[], bool]) -> None:
    """KILLS workers die in the middle of something, PAUSES sleep past their lease, and the rest ends the work."""
    rng, kills, pauses = random.Random(7), 0, 0
    waking: dict[int, float] = {}
    workers = [start(f"worker-{n}") for n in range(WORKERS)]
    try:
        while kills < KILLS or not is_done():
            time.sleep(rng.uniform(0.02, 0.12))
            for sleeper in [each for each, until in waking.items() if time.monotonic() > until]:
                os.kill(sleeper, signal.SIGCONT)
                del waking[sleeper]
            n = rng.randrange(WORKERS)
            pid = workers[n].pid
            assert pid is not None
            if pid in waking:
                continue
            if pauses < PAUSES and rng.random() < 0.2:
                os.kill(pid, signal.SIGSTOP)
                waking[pid] = time.monotonic() + 1.5 * LEASE_S
                pauses += 1
            elif kills < KILLS:
                workers[n].kill()
                workers[n].join()
                kills += 1
                workers[n] = start(f"worker-{WORKERS + kills}")
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def drive(engine: Engine, naive: bool) -> tuple[int, int, int]:
    """A video of FRAMES frames through workers that are killed: (video_id, model_version_id, attempts)."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=FRAMES), LENGTH)
    url = engine.url.render_as_string(hide_password=False)

    def start(owner: str) -> BaseProcess:
        worker = processes.Process(target=work, args=(url, batch_id, owner, naive), daemon=True)
        worker.start()
        return worker

    run_and_kill(start, lambda: count_segments(engine, batch_id).missing == 0)
    assert count_segments(engine, batch_id).quarantined == 0
    with engine.connect() as connection:
        attempts = connection.execute(select(func.sum(segments.c.attempt))).scalar_one()
    return video_id, model_version_id, attempts


def test_nothing_is_lost_or_counted_twice(engine: Engine) -> None:
    video_id, model_version_id, attempts = drive(engine, naive=False)
    assert_same(read_poses(engine, video_id, model_version_id, 0, FRAMES), make_poses(0, FRAMES))
    assert attempts > FRAMES // LENGTH  # the kills did interrupt segments


def test_rows_first_and_then_the_mark_counts_twice(engine: Engine) -> None:
    """The control: the same kills, the usual way of doing it. If this passes, the test above proves nothing."""
    with engine.begin() as connection:
        connection.execute(text(NAIVE_TABLE))
    drive(engine, naive=True)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM naive")).scalar_one()
    assert rows > len(make_poses(0, FRAMES))
