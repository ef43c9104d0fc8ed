"""Functions that the tests of exactly-once run in processes of their own, to be killed there. No tests."""

import time

from sqlalchemy import Engine, text, update

from storage.ledger.commit import commit_segment
from storage.ledger.leases import NO_LEASE, Claim, claim
from storage.sql.clock import database_now
from storage.sql.database import DatabaseError, migrate, open_database
from storage.sql.tables import segments
from tests.storage.samples import make_poses, make_report

LEASE_S = 0.6
NAIVE_TABLE = "CREATE TABLE naive (frame INTEGER, person INTEGER)"


def migrate_it(url: str) -> None:
    migrate(open_database(url))


def work(url: str, batch_id: int, owner: str, naive: bool) -> None:
    """Claim, work a while, commit, until killed."""
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
    time.sleep(0.02)
    commit_segment(engine, mine, poses, make_report(mine.segment.frames))


def _commit_naively(engine: Engine, mine: Claim) -> None:
    """The control: rows first, then the mark, without a fence. A kill in between leaves rows that come again."""
    poses = make_poses(mine.segment.start_frame, mine.segment.stop_frame)
    rows = [
        {"frame": frame, "person": person}
        for frame, person in zip(poses.frame.tolist(), poses.person.tolist(), strict=True)
    ]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO naive VALUES (:frame, :person)"), rows)
    time.sleep(0.02)
    done = {"status": "done", "frames_done": 0, "people": 0, "finished_at": database_now(), **NO_LEASE}
    with engine.begin() as connection:
        connection.execute(update(segments).where(segments.c.segment_id == mine.segment_id).values(done))
