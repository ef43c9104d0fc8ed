"""Starting rounds of messages: at the end of a night, during it, and in a sweep. They wait for a bounded time only."""

import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from models.types import NightjarError
from storage.ledger import news
from storage.ledger.messages import EVERYTHING_S
from storage.sql.database import Database
from tasks.notify.addresses import read_addresses
from tasks.site.settings import Settings

log = logging.getLogger(__name__)

WAIT_S = 45.0  # of a night for its last round, which has SEND_S for an address that does not answer
LOOK_EVERY_S = 20.0
SWEEP_AHEAD_S = 900.0  # between two sweeps: what becomes due until the next one is tried now


class Round:
    """A round in a detached process, which continues when this object is closed."""

    def __init__(self, ahead_s: float) -> None:
        self._over, end = os.pipe()
        command = [sys.executable, "-P", "-m", "tasks.notify.detached", str(ahead_s)]
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=quiet, stdout=end, stderr=quiet, start_new_session=True)
        finally:
            os.close(end)
        process.wait()  # it leaves its own child behind at once

    def is_over(self, timeout_s: float = 0.0) -> bool:
        """Return True if the round is over within this time."""
        return bool(select.select([self._over], [], [], timeout_s)[0])

    def close(self) -> None:
        os.close(self._over)


def tell(engine: Database, settings: Settings, *, wait_s: float = WAIT_S, ahead_s: float = EVERYTHING_S) -> None:
    """Pass news to the outbox and send what waits, in a detached process. Its faults are none of the caller's.

    wait_s: limit of this call; ahead_s: also try messages that are due within this time only
    """
    try:
        if not read_addresses(settings):
            news.mark_everything(engine)
            return
        sending = Round(ahead_s)
    except (NightjarError, OSError) as error:
        log.warning("The messages about this run are not sent yet, and the next run sends them: %s", error)
        return
    if not sending.is_over(wait_s):
        log.info("Messages are still being sent. 'nightjar notify' shows the ones that wait")
    sending.close()


@dataclass
class NightsEnd:
    """The end of a body of `telling`. quiet: there is nothing to tell"""

    quiet: bool = False


@contextmanager
def telling(engine: Database, settings: Settings) -> Iterator[NightsEnd]:
    """Tell the news and send what waits at the end of the body, also after its failure, but not after Ctrl-C."""
    over = NightsEnd()
    try:
        yield over
    except Exception:
        tell(engine, settings)
        raise
    if not over.quiet:
        tell(engine, settings)


@contextmanager
def telling_meanwhile(engine: Database, settings: Settings, look_every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """Tell about events as they are found, while the body runs."""
    if not read_addresses(settings):
        yield
        return
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(engine, over, look_every_s), name="nightjar-news", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(engine: Database, over: threading.Event, look_every_s: float) -> None:
    """Start a round whenever there is news and the last round is over."""
    sending: Round | None = None
    while not over.wait(look_every_s):
        if sending is not None and sending.is_over():
            sending.close()
            sending = None
        with suppress(NightjarError, OSError):  # the end of the night tells it
            if sending is None and news.has_news(engine):
                sending = Round(0.0)
    if sending is not None:
        sending.close()
