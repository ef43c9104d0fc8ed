"""Functions that the tests of exactly-once run and kill in separate processes. No tests."""

import signal
import time

from sqlalchemy import Engine, text, update

from storage.ledger.commit import commit_segment
from storage.ledger.leases import NO_LEASE, Claim, claim
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, migrate, open_database
from storage.sql.tables import segments
from tests.storage.samples import make_poses, make_report

LEASE_S = 2.0  # a busy machine lets shorter ones expire by themselves, until a segment has no tries left
WORK_S = 0.05  # long enough that some of the kills meet it, on a slow machine too
NAIVE_TABLE = "CREATE TABLE naive (frame INTEGER, person INTEGER)"


def migrate_it(url: str) -> None:
    migrate(open_database(url))


def work(url: str, batch_id: int, owner: str, naive: bool) -> None:
    """Claim, work for a while, commit, until killed."""
    signal.alarm(300)  # its end where the test itself is killed; no test takes longer
    engine = open_database(url)
    commit = _commit_naively if naive else _commit
    while True:
        try:
            mine = claim(engine, batch_id, owner, LEASE_S)
            if mine is None:
                time.sleep(0.02)
            else:
                commit(engine, mine)
        except DatabaseError:
            time.sleep(0.05)


def _commit(engine: Engine, mine: Claim) -> None:
    poses = make_poses(mine.segment.start_frame, mine.segment.stop_frame)
    time.sleep(WORK_S)
    commit_segment(engine, mine, poses, make_report(mine.segment.frames))


def _commit_naively(engine: Engine, mine: Claim) -> None:
    """The control: rows first, then the mark, without a fence. After a kill in between, rows are inserted again."""
    poses = make_poses(mine.segment.start_frame, mine.segment.stop_frame)
    rows = [
        {"frame": frame, "person": person}
        for frame, person in zip(poses.frame.tolist(), poses.person.tolist(), strict=True)
    ]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO naive VALUES (:frame, :person)"), rows)
    time.sleep(WORK_S)
    done = {"status": "done", "frames_done": 0, "people": 0, "finished_at": database_now(), **NO_LEASE}
    with engine.begin() as connection:
        connection.execute(update(segments).where(segments.c.segment_id == mine.segment_id).values(done))
