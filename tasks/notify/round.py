"""One round of messages: pass news to the outbox, then send what is due, each address in a process of its own."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from models.types import NightjarError
from storage.ledger import messages
from tasks.notify.addresses import Address, read_addresses
from tasks.notify.outbox import queue_news
from tasks.notify.sender import GIVE_UP_S
from tasks.site.owner import is_dead
from tasks.site.site import Site, reopen_site

log = logging.getLogger(__name__)

AT_ONCE = 4  # addresses, each with a process of some 100 MB
REMOVED = "its address is no longer in NIGHTJAR_NOTIFY_URLS"


def run_round(ahead_s: float) -> None:
    """Run a round without raising an error for what the next round can repair."""
    with suppress(NightjarError), reopen_site() as site:
        addresses = read_addresses(site.settings)
        try:
            queue_news(site, addresses)
        except NightjarError as error:
            log.warning("The news could not be passed to the outbox: %s", error)
        send_due(site, addresses, ahead_s)


def send_due(site: Site, addresses: Sequence[Address], ahead_s: float) -> None:
    """Send the messages that are due within ahead_s."""
    messages.release_dead_senders(site.engine, is_dead)
    messages.give_up_unknown(site.engine, [each.sha256 for each in addresses], GIVE_UP_S, REMOVED)
    due = messages.due_addresses(site.engine, ahead_s)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda each: run_sender(each, ahead_s), (each for each in addresses if each.sha256 in due)))


def run_sender(address: Address, ahead_s: float, message_id: int | None = None) -> None:
    """Send the messages of one address, or one of them, in a process of its own session, and wait for its end."""
    only = [] if message_id is None else [str(message_id)]
    command = [sys.executable, "-P", "-m", "tasks.notify.sender", address.sha256, str(ahead_s), *only]
    quiet = subprocess.DEVNULL
    subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=False)
