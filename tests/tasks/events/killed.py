"""A process that makes events until it is killed, for the test of exactly-once. No tests."""

import signal
import time
from pathlib import Path

from storage.sql.database import DatabaseError, open_database
from tasks.analysis.events import make_events
from tasks.events import row_source
from tasks.site_file.load import parse_site_file


def make_until_killed(url: str, rules: str) -> None:
    """Read few rows at a time, so that there is a middle to be killed in."""
    signal.alarm(300)  # its end where the test itself is killed; no test takes longer
    row_source.MOST_FRAMES = 100
    engine = open_database(url)
    site_file = parse_site_file(Path("nightjar.toml"), rules)
    while True:
        try:
            make_events(engine, site_file)
        except DatabaseError:
            time.sleep(0.02)
        time.sleep(0.01)
