"""Rounds of messages in real processes, to real receivers, on both databases."""

import multiprocessing
import os
import random
import signal
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select, update

from deployments.cli import main
from storage.ledger.messages import (
    EVERYTHING_S,
    Message,
    claim_message,
    due_addresses,
    give_up_unknown,
    queue,
    record_failure,
    record_sent,
    release_dead_senders,
)
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import messages
from tasks.notify import start
from tasks.notify.addresses import read_addresses
from tasks.notify.sender import GIVE_UP_S, NO_ANSWER, SEND_S, WAITS_S, wait_after
from tasks.notify.start import tell
from tasks.site.settings import read_settings
from tests.servers_postgres import free_port
from tests.tasks.notify.killed import tell_until_killed
from tests.tasks.notify.made_events import evaluate, night, numbers
from tests.tasks.notify.receivers import PASSWORD, WebReceiver, mail_receiver, web_receiver

KILLS, LIMIT_S = 20, 200.0
FALL = {"title": "Critical: fall", "text": "when: 22:14", "severity": "critical"}

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.tasks.notify.killed"])


@pytest.fixture
def home(engine: Engine, migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database of an installation whose settings are in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTJAR_DATABASE_URL", migrated_url)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    read_settings.cache_clear()
    yield engine
    read_settings.cache_clear()


def configure(monkeypatch: pytest.MonkeyPatch, *urls: str) -> list[str]:
    """Set the addresses, and return their hashes."""
    monkeypatch.setenv("NIGHTJAR_NOTIFY_URLS", " ".join(urls))
    read_settings.cache_clear()
    return [each.sha256 for each in read_addresses(read_settings())]


def add(engine: Engine, addresses: list[str], *abouts: str) -> int:
    with writing(engine) as connection:
        return queue(connection, addresses, [Message("event", about, FALL) for about in abouts])


# Claims


def test_a_message_is_queued_once_and_claimed_by_one(engine: Engine) -> None:
    assert add(engine, ["a", "b"], "1", "2") == 4
    assert add(engine, ["a", "c"], "1") == 1
    first, second = (claim_message(engine, "a", owner, 60) for owner in ("me", "you"))
    assert first is not None
    assert second is not None
    assert (first.about, second.about) == ("1", "2")
    assert claim_message(engine, "a", "me", 60) is None
    assert record_sent(engine, first)
    assert not record_sent(engine, first)
    assert numbers(engine) == {("event", "sent"): 1, ("event", "sending"): 1, ("event", "waiting"): 3}


def test_a_failure_lets_the_whole_address_wait(engine: Engine) -> None:
    add(engine, ["a", "b"], "1", "2")
    claim = claim_message(engine, "a", "me", 60)
    assert claim is not None
    assert record_failure(engine, claim, "it did not answer", 600)
    assert claim_message(engine, "a", "me", 60) is None
    assert due_addresses(engine) == {"b"}
    assert due_addresses(engine, 700) == {"a", "b"}
    again = claim_message(engine, "a", "me", 60, ahead_s=700)
    assert again is not None
    assert (again.about, again.tries) == ("1", 2)
    assert record_failure(engine, again, "it did not answer", None)
    assert ("event", "given_up") in numbers(engine)


def test_a_process_that_lost_its_message_changes_nothing(engine: Engine) -> None:
    add(engine, ["a"], "1")
    lost = claim_message(engine, "a", "me", -1)
    kept = claim_message(engine, "a", "you", 60)
    assert lost is not None
    assert kept is not None
    assert kept.tries == 2
    assert not record_failure(engine, lost, "late", 60)
    assert record_sent(engine, kept)


def test_messages_of_ended_processes_wait_again(engine: Engine) -> None:
    add(engine, ["a"], "1", "2")
    claim_message(engine, "a", "dead", 600)
    claim_message(engine, "a", "alive", 600)
    assert release_dead_senders(engine, lambda owner: owner == "dead") == 1
    assert numbers(engine) == {("event", "waiting"): 1, ("event", "sending"): 1}


def test_waits_grow_and_end() -> None:
    waits = [wait_after(tries, 0) or 0.0 for tries in range(1, 9)]
    assert waits == sorted(waits)
    assert set(waits) == set(WAITS_S)
    assert wait_after(3, GIVE_UP_S + 1) is None


def test_messages_to_removed_addresses_are_given_up_in_time(engine: Engine) -> None:
    add(engine, ["kept", "removed"], "1")
    assert give_up_unknown(engine, ["kept"], GIVE_UP_S, "removed") == 0
    with writing(engine) as connection:
        connection.execute(update(messages).values(created_at=database_now(-GIVE_UP_S - 1)))
    assert give_up_unknown(engine, ["kept"], GIVE_UP_S, "removed") == 1
    assert due_addresses(engine, EVERYTHING_S) == {"kept"}


# Rounds


def test_a_round_tells_events_and_the_night(home: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_receiver() as web, mail_receiver() as mail:
        configure(monkeypatch, web.url(), mail.url)
        evaluate(night(home), ["fall", "running"])
        tell(home, read_settings())
        tell(home, read_settings())
    assert [body["title"].partition(":")[0] for body in web.bodies] == ["Critical", web.bodies[1]["title"][:15]]
    assert [str(mail_["Subject"]) for mail_ in mail.mails] == [body["title"] for body in web.bodies]
    assert numbers(home) == {("event", "sent"): 2, ("night", "sent"): 2}


@pytest.mark.slow
def test_an_address_that_does_not_answer_is_tried_again(home: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with web_receiver() as web:
        [dead, alive] = configure(monkeypatch, f"json://user:{PASSWORD}@127.0.0.1:{port}/", web.url())
        add(home, [dead, alive], "1")
        begun = time.monotonic()
        tell(home, read_settings())
        assert time.monotonic() - begun < start.WAIT_S
        assert len(web.requests) == 1
        shown = CliRunner().invoke(main, ["notify"])
        assert shown.exit_code == 1
        assert f"address 1 (json, {dead[:8]}): 0 messages sent, 1 waiting since" in shown.output
        assert "because it did not answer" in shown.output
        assert PASSWORD not in shown.output
    with web_receiver(port) as late:
        result = CliRunner().invoke(main, ["sweep"])
        assert result.exit_code == 0, result.output
        assert len(late.requests) == 1
    assert numbers(home) == {("event", "sent"): 2}


@pytest.mark.slow
def test_a_silent_address_costs_a_bounded_time(home: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts connections and sends one byte every second, which no timeout of a socket ends."""
    with dripping_server() as port, web_receiver() as web:
        [silent, alive] = configure(monkeypatch, f"json://user:{PASSWORD}@127.0.0.1:{port}/", web.url())
        add(home, [silent, alive], "1", "2")
        begun = time.monotonic()
        tell(home, read_settings())
        assert SEND_S < time.monotonic() - begun < start.WAIT_S + 5
        assert len(web.requests) == 2
        while ("event", "sending") in numbers(home):
            assert time.monotonic() - begun < LIMIT_S
            time.sleep(0.1)
    assert numbers(home) == {("event", "sent"): 2, ("event", "waiting"): 2}
    with reading(home) as connection:
        [error] = connection.execute(
            select(messages.c.error).where(messages.c.tries == 1, messages.c.error != "")
        ).one()
    assert error == NO_ANSWER


@contextmanager
def dripping_server() -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while True:
                    self.request.sendall(b"x")
                    time.sleep(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_command_tries_every_address(home: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = CliRunner().invoke(main, ["notify", "--test"])
    assert refused.exit_code == 1
    assert "NIGHTJAR_NOTIFY_URLS contains no address" in refused.output
    with web_receiver() as web, mail_receiver() as mail:
        hashes = configure(monkeypatch, web.url(), mail.url, f"dbus://{PASSWORD}")
        add(home, hashes, "a message that waits is no part of the test")
        result = CliRunner().invoke(main, ["notify", "--test"])
        assert [body["title"] for body in web.bodies] == ["Nightjar: test"]
        assert [mail_["Subject"] for mail_ in mail.mails] == ["Nightjar: test"]
    assert result.exit_code == 1
    assert sorted(line.partition(": ")[2][:12] for line in result.output.splitlines()) == [
        "accepted",
        "accepted",
        "not accepted",
    ]
    assert PASSWORD not in result.output


class Night:
    """A process that tells events, and can be killed with all of its children and its process group."""

    def __init__(self, environment: dict[str, str], number: int) -> None:
        self._process: BaseProcess = processes.Process(
            target=tell_until_killed, args=(environment, f"night {number}"), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        assert self._process.pid is not None
        with suppress(psutil.NoSuchProcess):
            for each in [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(True)]:
                with suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
        self._process.join()


@pytest.mark.slow
def test_each_message_arrives_once_under_20_kills(home: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The night is killed with all of its children, at any moment of queueing, starting and sending."""
    with ExitStack() as stack:
        receivers: list[WebReceiver] = [stack.enter_context(web_receiver()) for _ in range(2)]
        configure(monkeypatch, *(each.url() for each in receivers))
        environment = {name: value for name, value in os.environ.items() if name.startswith("NIGHTJAR_")}
        rng, deadline = random.Random(5), time.monotonic() + LIMIT_S
        for number in range(KILLS):
            killed, before = Night(environment, number), sum(numbers(home).values())
            while sum(numbers(home).values()) == before:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 1.5))
            killed.kill()
        while unsent(home):
            assert time.monotonic() < deadline
            tell(home, read_settings())
    with reading(home) as connection:
        expected = connection.execute(select(messages.c.about).distinct()).all()
    for receiver in receivers:
        assert len(receiver.requests) == len(expected) >= 3 * KILLS
        assert set(Counter(receiver.keys).values()) == {1}


def unsent(engine: Engine) -> int:
    return sum(number for (_, status), number in numbers(engine).items() if status != "sent")
