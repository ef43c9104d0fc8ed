"""The process that sends the messages of one address, one after the other, each with a time limit.

It sends and records, and nothing else ends it: a night that is killed meanwhile kills no message. A message whose
process was killed between the two is sent again under the same key.
"""

import hashlib
import logging
import os
import sys
import threading
import time
from contextlib import suppress

from models.types import NightjarError
from storage.ledger import messages
from storage.ledger.messages import ClaimedMessage
from storage.objects.artifacts import Artifacts
from storage.sql.database import Database
from tasks.notify.addresses import Address, read_addresses
from tasks.notify.delivery import Outgoing, deliver
from tasks.site.owner import this_owner
from tasks.site.settings import read_settings
from tasks.site.site import reopen_site
from tasks.waiting.retry import OutageRetry

SEND_S = 20.0  # for one message, after which its address counts as silent
SENDING_S = 120.0  # for all messages of one run; the rest follows with the next one
LEASE_S = 900.0  # longer than any outage during the recording; an ended process loses its lease at once
WAITS_S = (60.0, 240.0, 960.0, 3600.0, 14400.0)
GIVE_UP_S = 3 * 86400.0
SILENT = 3  # exit code
NO_ANSWER = f"it did not answer within {SEND_S:.0f} s"


class _Limit:
    """The end of an attempt, by whichever comes first: its outcome, or the time limit, which ends the process.

    A thread watches, since the look-up of a host's name cannot be interrupted.
    """

    def __init__(self, engine: Database, claim: ClaimedMessage) -> None:
        self._engine, self._claim, self._lock = engine, claim, threading.Lock()
        self._timer = threading.Timer(SEND_S, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        self._lock.acquire()  # never released: an outcome that comes later is not recorded
        with suppress(Exception):
            record(self._engine, self._claim, NO_ANSWER)
        os._exit(SILENT)

    def end(self) -> None:
        """Stop watching. Does not return if the limit has been reached."""
        self._lock.acquire()
        self._timer.cancel()


def send_messages(
    engine: Database, artifacts: Artifacts, address: Address, ahead_s: float, message_id: int | None = None
) -> bool:
    """Send what is due within ahead_s. Returns False after a failure, upon which the address is left alone.

    message_id: only this message
    """
    begun, retry = time.monotonic(), OutageRetry(read_settings().outage_s)
    while time.monotonic() - begun < SENDING_S:
        claim = messages.claim_message(engine, address.sha256, this_owner(), LEASE_S, ahead_s, message_id)
        if claim is None:
            return True
        limit = _Limit(engine, claim)
        reason = deliver(address, outgoing(artifacts, address, claim))
        limit.end()
        retry(lambda claim=claim, reason=reason: record(engine, claim, reason))  # type: ignore[misc]
        if reason is not None:
            return False
    return True


def outgoing(artifacts: Artifacts, address: Address, claim: ClaimedMessage) -> Outgoing:
    """Return a message as it is sent, without its picture if the store does not have it."""
    content, picture = claim.content, b""
    if content.get("picture"):
        with suppress(NightjarError):
            picture = artifacts.get_bytes(content["picture"])
    severity = content.get("severity", "info")
    return Outgoing(message_key(address, claim), content["title"], content["text"], severity, picture)


def message_key(address: Address, claim: ClaimedMessage) -> str:
    """Return the name under which a receiver knows the message, equal whenever it is sent again."""
    return hashlib.sha256(f"{address.sha256} {claim.kind} {claim.about}".encode()).hexdigest()[:32]


def record(engine: Database, claim: ClaimedMessage, reason: str | None) -> bool:
    """Record the outcome of an attempt. A test is not repeated."""
    if reason is None:
        return messages.record_sent(engine, claim)
    wait_s = None if claim.kind == "test" else wait_after(claim.tries, claim.age_s)
    return messages.record_failure(engine, claim, reason, wait_s)


def wait_after(tries: int, age_s: float) -> float | None:
    """Return the seconds until the next attempt; None: too much time has passed."""
    return None if age_s > GIVE_UP_S else WAITS_S[min(tries, len(WAITS_S)) - 1]


def main(address_sha256: str, ahead_s: float, message_id: int | None = None) -> None:
    """Send the messages of one address of the settings, or one of them."""
    logging.getLogger().addHandler(logging.NullHandler())  # libraries log parts of addresses
    [address] = [each for each in read_addresses(read_settings()) if each.sha256 == address_sha256]
    with suppress(NightjarError), reopen_site() as site:
        send_messages(site.engine, site.artifacts, address, ahead_s, message_id)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:]))
