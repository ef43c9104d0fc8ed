"""A process that analyses until it is killed, for the test of exactly-once. No tests."""

import time

from storage.sql.database import DatabaseError, open_database
from tasks.analysis import analyse
from tasks.analysis.due import analyse_history

LEASE_S = 2.0


def analyse_until_killed(url: str) -> None:
    """Write few rows at a time, so that there is a middle to be killed in."""
    analyse.ROWS_AT_ONCE = 100
    engine = open_database(url)
    while True:
        try:
            analyse_history(engine, {}, LEASE_S)
        except DatabaseError:
            time.sleep(0.02)
        time.sleep(0.01)
