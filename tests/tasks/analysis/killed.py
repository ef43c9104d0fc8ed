"""A process that analyses until it is killed, for the test of exactly-once. No tests."""

import os
import signal
import time
from typing import Any

from storage.ledger.analysis_claims import add_analysis_rows
from storage.sql.database import DatabaseError, open_database
from tasks.analysis import analyse
from tasks.analysis.due import analyse_history

LEASE_S = 2.0


def analyse_until_killed(url: str, in_the_middle: bool) -> None:
    """Write few rows at a time, so that there is a middle to be killed in.

    in_the_middle: the process kills itself when the first rows of an analysis are written
    """
    signal.alarm(300)  # its end where the test itself is killed; no test takes longer
    analyse.ROWS_AT_ONCE = 100
    if in_the_middle:

        def add_rows_and_die(*args: Any) -> None:
            add_analysis_rows(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        vars(analyse)["add_analysis_rows"] = add_rows_and_die
    engine = open_database(url)
    while True:
        try:
            analyse_history(engine, {}, LEASE_S)
        except DatabaseError:
            time.sleep(0.02)
        time.sleep(0.01)
