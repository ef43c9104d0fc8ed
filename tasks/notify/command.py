"""The command `nightjar notify`: sends what waits, tries every address, and says what waits or was given up."""

import secrets
from concurrent.futures import ThreadPoolExecutor

from models.types import NightjarError
from storage.ledger import messages
from storage.ledger.messages import EVERYTHING_S, AddressState, Message
from tasks.notify.addresses import Address, read_addresses
from tasks.notify.outbox import queue_news
from tasks.notify.round import AT_ONCE, run_sender, send_due
from tasks.site.owner import host_name
from tasks.site.site import Site
from tasks.text.log_lines import print_line
from tasks.text.wording import count, day_and_clock

NO_ADDRESS = "NIGHTJAR_NOTIFY_URLS contains no address. Set it, such as to mailto://user:password@example.org."


def send_waiting(site: Site) -> None:
    """Pass news to the outbox, and send everything that waits."""
    addresses = read_addresses(site.settings)
    queue_news(site, addresses)
    send_due(site, addresses, EVERYTHING_S)


def print_waiting(site: Site) -> bool:
    """Print one line per address with its messages. Returns True if none waits."""
    addresses, states = read_addresses(site.settings), messages.address_states(site.engine)
    names = {each.sha256: str(each) for each in addresses}
    known = {state.address_sha256 for state in states}
    if not addresses:
        print_line(NO_ADDRESS)
    for state in states:
        name = names.get(state.address_sha256, f"a former address ({state.address_sha256[:8]})")
        print_line(f"{name}: {_numbers(site, state)}")
    for address in addresses:
        if address.sha256 not in known:
            print_line(f"{address}: no message yet")
    return not any(state.waiting for state in states)


def _numbers(site: Site, state: AddressState) -> str:
    """`2 messages sent, 1 waiting since 28 Nov 01:12, because it did not answer within 20 s`"""
    text = f"{count(state.sent, 'message')} sent"
    if state.waiting and state.oldest:
        text += f", {state.waiting:,} waiting since {day_and_clock(state.oldest, site.settings.zone)}"
    if state.given_up:
        text += f", {state.given_up:,} given up"
    return f"{text}, because {state.error}" if state.error else text


def send_test(site: Site) -> bool:
    """Send a test message to every address, and print the outcome of each. Returns True if all were accepted.

    Raises NightjarError without an address.
    """
    addresses = read_addresses(site.settings)
    if not addresses:
        raise NightjarError(NO_ADDRESS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return all(list(pool.map(lambda address: _test(site, address), addresses)))


def _test(site: Site, address: Address) -> bool:
    content = {"title": "Nightjar: test", "text": f"A test message of Nightjar on {host_name().partition('-')[0]}."}
    message_id = messages.add_message(site.engine, address.sha256, Message("test", secrets.token_hex(8), content))
    run_sender(address, EVERYTHING_S, message_id)
    status, error = messages.message_state(site.engine, message_id)
    accepted = status == "sent"
    reason = error or "its sender ended early. Run 'nightjar doctor'"
    print_line(f"{address}: accepted" if accepted else f"{address}: not accepted, because {reason}")
    return accepted
