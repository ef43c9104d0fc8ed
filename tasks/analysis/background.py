"""Analyses during a night, in a process of its own with low priority: videos are analysed while others are inferred.

What it does not do, the night does at its end. So its faults cost time only.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from models.types import NightjarError
from tasks.analysis.due import analyse_night
from tasks.analysis.events import make_events
from tasks.site.settings import read_settings
from tasks.site.site import reopen_site
from tasks.site_file.load import read_site_file

log = logging.getLogger(__name__)

START_AFTER_S = 15.0  # a short night is analysed at its end
LOOK_EVERY_S = 5.0
NICENESS = 15  # the device and the decoder come first


@contextmanager
def analysing_meanwhile(model_version_id: int, start_after_s: float = START_AFTER_S) -> Iterator[None]:
    """Analyse videos as soon as all of their segments are done, while the body runs.

    At the body's end it waits for the current analysis. After an error of the body it stops at once.
    """
    over = threading.Event()
    started: list[subprocess.Popen[bytes]] = []

    def start_later() -> None:
        if not over.wait(start_after_s):
            with suppress(OSError):
                started.append(_start(model_version_id))

    starter = threading.Thread(target=start_later, name="nightjar-analysis", daemon=True)
    starter.start()
    try:
        yield
    except BaseException:
        over.set()
        starter.join()
        for process in started:
            process.kill()
        raise
    finally:
        over.set()
        starter.join()
        for process in started:
            process.communicate()  # closes its input, upon which it ends


def _start(model_version_id: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", __name__, str(model_version_id)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # our module and a number


def main(model_version_id: int) -> None:
    """Analyse until the standard input is closed, by the parent process or by its end."""
    os.nice(NICENESS)
    over = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    while not over.is_set():
        begun = time.monotonic()
        with suppress(NightjarError):  # an unavailable database, for which the night waits itself
            _look(model_version_id)
        over.wait(max(LOOK_EVERY_S, time.monotonic() - begun))


def _look(model_version_id: int) -> None:
    """Analyse what is due, and make the events of it, so that they are known while the night runs."""
    with reopen_site() as site:
        done = analyse_night(site.engine, model_version_id, read_settings().lease_s, in_order=True)
        if done.videos:
            make_events(site.engine, read_site_file(site.settings))


if __name__ == "__main__":
    main(int(sys.argv[1]))
