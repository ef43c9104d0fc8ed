"""The outbox: messages to addresses, each stored before it is sent. No network, no text for people.

A message is sent by the process that claims it, until its lease ends. `tries` grows with every claim: a process whose
claim has another number than the row has lost the message. Leases and waits go by the database's clock.
"""

import json
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.sql.clock import database_now, epoch_s
from storage.sql.database import reading, writing
from storage.sql.tables import messages

# Worded as in ix_messages_unsent: SQLite uses a partial index only for a condition with the index's own wording.
UNSENT = text("messages.status IN ('waiting', 'sending')")
NOT_SENDING: dict[str, Any] = {"owner": None, "lease_until": None}
EVERYTHING_S = 10 * 365 * 86400.0  # ahead of now: whatever waits is due


class Message(NamedTuple):
    """A message for all addresses. kind: one of MESSAGE_KINDS; about: key of its subject, told once per address"""

    kind: str
    about: str
    content: dict[str, Any]


class ClaimedMessage(NamedTuple):
    """The right to send a message until the lease ends."""

    message_id: int
    tries: int
    kind: str
    about: str
    content: dict[str, Any]
    age_s: float


class AddressState(NamedTuple):
    """Messages of one address. oldest: of the waiting ones; error: of the newest failed attempt"""

    address_sha256: str
    waiting: int
    given_up: int
    sent: int
    oldest: datetime | None
    error: str | None


def queue(connection: Connection, addresses: Iterable[str], told: Iterable[Message]) -> int:
    """Add messages for these addresses, by their hashes, and return the number of new ones.

    A message about the same subject is not added again, whatever its content.
    """
    rows = [
        {"address_sha256": address, "kind": one.kind, "about": one.about, "content": json.dumps(one.content)}
        for one in told
        for address in addresses
    ]
    return sum(connection.execute(_insert_new(connection, row)).first() is not None for row in rows)


def _insert_new(connection: Connection, row: dict[str, Any]) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    times = {"created_at": database_now(), "next_try_at": database_now()}
    new = dialect.insert(messages).values(**row, **times).on_conflict_do_nothing()
    return new.returning(messages.c.message_id)


def add_message(engine: Engine, address: str, message: Message) -> int:
    """Add a message to one address and return its number."""
    row = {"address_sha256": address, **message._asdict(), "content": json.dumps(message.content)}
    values = {**row, "created_at": database_now(), "next_try_at": database_now()}
    with writing(engine) as connection:
        return int(connection.execute(insert(messages).values(values).returning(messages.c.message_id)).scalar_one())


def due_addresses(engine: Engine, ahead_s: float = 0.0) -> set[str]:
    """Return the hashes of the addresses with messages that are due within ahead_s, also those being sent."""
    within = (messages.c.next_try_at <= database_now(ahead_s)) & (messages.c.kind != "test")
    due = select(messages.c.address_sha256).where(UNSENT, within).distinct()
    with reading(engine) as connection:
        return set(connection.execute(due).scalars())


def claim_message(
    engine: Engine, address: str, owner: str, lease_s: float, ahead_s: float = 0.0, message_id: int | None = None
) -> ClaimedMessage | None:
    """Claim the oldest message of an address that is due within ahead_s; None without one.

    message_id: only this message; None = any but tests
    """
    expired = (messages.c.status == "sending") & (messages.c.lease_until < database_now())
    due = (messages.c.status == "waiting") & (messages.c.next_try_at <= database_now(ahead_s))
    wanted = messages.c.kind != "test" if message_id is None else messages.c.message_id == message_id
    first = (
        select(messages.c.message_id)
        .where(UNSENT, messages.c.address_sha256 == address, wanted, due | expired)
        .order_by(messages.c.created_at, messages.c.message_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    values = {
        "status": "sending",
        "tries": messages.c.tries + 1,
        "owner": owner,
        "lease_until": database_now(lease_s),
        "next_try_at": database_now(),
    }
    age_s = epoch_s(database_now()) - epoch_s(messages.c.created_at)
    columns = (messages.c[name] for name in ("message_id", "tries", "kind", "about", "content"))
    with writing(engine) as connection:
        found = connection.execute(first).scalar()
        if found is None:
            return None
        mine = update(messages).where(messages.c.message_id == found).values(values)
        row = connection.execute(mine.returning(*columns, age_s)).one()
    message_id, tries, kind, about, content, age = row
    return ClaimedMessage(message_id, tries, kind, about, json.loads(content), float(age))


def record_sent(engine: Engine, claim: ClaimedMessage) -> bool:
    """Record that the address has accepted the message. Returns False where another process has it now."""
    with writing(engine) as connection:
        sent = update(messages).where(_held(claim)).values(status="sent", sent_at=database_now(), error=None)
        return connection.execute(sent.values(NOT_SENDING)).rowcount == 1


def record_failure(engine: Engine, claim: ClaimedMessage, error: str, wait_s: float | None) -> bool:
    """Record a failed attempt, and let all messages of the address wait. Returns False as record_sent does.

    wait_s: None = give this message up
    """
    status = "waiting" if wait_s is not None else "given_up"
    values = {"status": status, "error": error, "next_try_at": database_now(wait_s or 0.0), **NOT_SENDING}
    address = select(messages.c.address_sha256).where(messages.c.message_id == claim.message_id).scalar_subquery()
    others = (messages.c.address_sha256 == address) & (messages.c.status == "waiting")
    with writing(engine) as connection:
        held = connection.execute(update(messages).where(_held(claim)).values(values)).rowcount == 1
        if held and wait_s is not None:
            later = others & (messages.c.next_try_at < database_now(wait_s))
            connection.execute(update(messages).where(later).values(next_try_at=database_now(wait_s)))
        return held


def _held(claim: ClaimedMessage) -> ColumnElement[bool]:
    mine = (messages.c.message_id == claim.message_id) & (messages.c.tries == claim.tries)
    return mine & (messages.c.status == "sending")


def release_dead_senders(engine: Engine, is_dead: Callable[[str], bool]) -> int:
    """Let the messages of ended processes wait again, and return their number."""
    sending = messages.c.status == "sending"
    with reading(engine) as connection:
        owners = set(connection.execute(select(messages.c.owner).where(sending).distinct()).scalars())
    dead = [owner for owner in owners if owner and is_dead(owner)]
    if not dead:
        return 0
    with writing(engine) as connection:
        theirs = update(messages).where(sending, messages.c.owner.in_(dead))
        return connection.execute(theirs.values(status="waiting", **NOT_SENDING)).rowcount


def give_up_unknown(engine: Engine, addresses: Collection[str], age_s: float, error: str) -> int:
    """Give up messages older than age_s to addresses other than these, and return their number."""
    old = messages.c.created_at < database_now(-age_s)
    unknown = messages.c.address_sha256.not_in(list(addresses))
    with writing(engine) as connection:
        lost = update(messages).where(messages.c.status == "waiting", old, unknown)
        return connection.execute(lost.values(status="given_up", error=error)).rowcount


def message_state(engine: Engine, message_id: int) -> tuple[str, str | None]:
    """Return status and error of a message."""
    mine = select(messages.c.status, messages.c.error).where(messages.c.message_id == message_id)
    with reading(engine) as connection:
        status, error = connection.execute(mine).one()
    return str(status), error


def address_states(engine: Engine) -> list[AddressState]:
    """Return the number of messages per address by status, without tests."""

    def number(*statuses: str) -> ColumnElement[int]:
        return func.count().filter(messages.c.status.in_(statuses))

    unsent = messages.c.status.in_(("waiting", "sending"))
    counts = (
        select(
            messages.c.address_sha256,
            number("waiting", "sending"),
            number("given_up"),
            number("sent"),
            func.min(messages.c.created_at).filter(unsent),
        )
        .where(messages.c.kind != "test")
        .group_by(messages.c.address_sha256)
        .order_by(messages.c.address_sha256)
    )
    failed = messages.c.error.is_not(None) & (messages.c.kind != "test")
    last = select(messages.c.address_sha256, messages.c.error).where(failed).order_by(messages.c.message_id)
    with reading(engine) as connection:
        errors: dict[str, str] = {row[0]: row[1] for row in connection.execute(last)}
        rows = connection.execute(counts).all()
    return [
        AddressState(address, waiting, given_up, sent, oldest, errors.get(address))
        for address, waiting, given_up, sent, oldest in rows
    ]
