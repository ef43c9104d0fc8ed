"""No row is lost or duplicated while workers are killed and paused; a naive control must fail."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from sqlalchemy import Engine, func, select, text

from storage.ledger.batches import count_segments
from storage.ledger.leases import MAX_TRIES
from storage.sql.database import reading
from storage.sql.result_rows import read_poses
from storage.sql.tables import segments
from tests.storage.samples import assert_same, make_poses, make_video, planned_batch
from tests.storage.workers import LEASE_S, NAIVE_TABLE, work

WORKERS, PAUSES, LENGTH = 4, 4, 10
KILLS, FRAMES = 25, 2000
FEW_KILLS, FEW_FRAMES = 12, 800  # for the control, where one kill at the right moment is enough

# New processes in 30 ms each: a server that has imported everything forks them.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.storage.workers"])


def run_and_kill(
    most: int, start: Callable[[str], BaseProcess], at_work: Callable[[], set[str]], is_done: Callable[[], bool]
) -> None:
    """`most` workers die at work, PAUSES workers sleep past their lease, and the others finish the work.

    at_work: names of the workers that hold a lease and may die. On a slow machine most others are still starting.
    """
    rng, kills, pauses = random.Random(7), 0, 0
    waking: dict[int, float] = {}
    workers = [start(f"worker-{n}") for n in range(WORKERS)]
    try:
        while kills < most or not is_done():
            time.sleep(rng.uniform(0.02, 0.12))
            for sleeper in [each for each, until in waking.items() if time.monotonic() > until]:
                os.kill(sleeper, signal.SIGCONT)
                del waking[sleeper]
            busy = at_work()
            choice = [n for n in range(WORKERS) if workers[n].name in busy] or (range(WORKERS) if is_done() else [])
            if not choice:
                continue
            n = rng.choice(choice)
            pid = workers[n].pid
            assert pid is not None
            if pid in waking:
                continue
            os.kill(pid, signal.SIGSTOP)  # before the lease is looked at: on a busy machine it would end in between
            if workers[n].name not in at_work() and not is_done():
                os.kill(pid, signal.SIGCONT)
            elif pauses < PAUSES and rng.random() < 0.2:
                waking[pid] = time.monotonic() + 1.5 * LEASE_S
                pauses += 1
            elif kills < most:
                workers[n].kill()
                workers[n].join()
                kills += 1
                workers[n] = start(f"worker-{WORKERS + kills}")
            else:
                os.kill(pid, signal.SIGCONT)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def drive(engine: Engine, frames: int, kills: int, naive: bool) -> tuple[int, int, int]:
    """Process a video with workers that are killed. Returns (video_id, model_version_id, attempts)."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=frames), LENGTH)
    url = engine.url.render_as_string(hide_password=False)

    def start(owner: str) -> BaseProcess:
        worker = processes.Process(target=work, args=(url, batch_id, owner, naive), name=owner, daemon=True)
        worker.start()
        return worker

    # Leases also expire by themselves on a busy machine, and MAX_TRIES of either would quarantine the segment.
    may_die = (segments.c.status == "leased") & (segments.c.tries < MAX_TRIES - 2)

    def at_work() -> set[str]:
        with reading(engine) as connection:  # which waits for no writer: it may be the one that was just suspended
            return set(connection.execute(select(segments.c.owner).where(may_die)).scalars())

    run_and_kill(kills, start, at_work, lambda: count_segments(engine, batch_id).missing == 0)
    assert count_segments(engine, batch_id).quarantined == 0
    with engine.connect() as connection:
        attempts = connection.execute(select(func.sum(segments.c.attempt))).scalar_one()
    return video_id, model_version_id, attempts


def test_no_row_is_lost_or_duplicated(engine: Engine) -> None:
    video_id, model_version_id, attempts = drive(engine, FRAMES, KILLS, naive=False)
    assert_same(read_poses(engine, video_id, model_version_id, 0, FRAMES), make_poses(0, FRAMES))
    assert attempts > FRAMES // LENGTH  # the kills did interrupt segments


def test_inserting_before_marking_duplicates_rows(engine: Engine) -> None:
    """The control: the same kills with the usual loader. If it lost nothing, the test above would prove nothing."""
    with engine.begin() as connection:
        connection.execute(text(NAIVE_TABLE))
    drive(engine, FEW_FRAMES, FEW_KILLS, naive=True)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM naive")).scalar_one()
    assert rows > len(make_poses(0, FEW_FRAMES))
