"""Messages in the outbox: about events and nights that are new, each once, on both databases."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select, update

from storage.ledger import news
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import batches, messages, segments
from tasks.notify import outbox
from tasks.notify.addresses import Address
from tasks.notify.missing import MissedNight, queue_missed
from tasks.notify.texts import harmless
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.site.stores import artifact_store
from tasks.site_file.notify import Notify
from tests.tasks.notify.made_events import evaluate, night, numbers

BOTH = [Address(1, SecretStr("json://one.example")), Address(2, SecretStr("json://two.example"))]
ALL = Notify(severity="info", night=True)


@pytest.fixture
def site(engine: Engine, migrated_url: str, tmp_path: Path) -> Site:
    settings = Settings(database_url=migrated_url, home=tmp_path / "home", timezone="Europe/Berlin")
    return Site(settings, engine, artifact_store(settings))


def contents(engine: Engine, kind: str) -> list[dict]:
    with reading(engine) as connection:
        mine = select(messages.c.content).where(messages.c.kind == kind).order_by(messages.c.message_id)
        return [json.loads(content) for content in connection.execute(mine).scalars()]


def test_an_event_is_queued_once_per_address(site: Site) -> None:
    evaluate(night(site.engine), ["fall", "running"])
    assert outbox.queue_events(site, BOTH, Notify()) == 2
    assert outbox.queue_events(site, BOTH, Notify()) == 0
    first, second = contents(site.engine, "event")
    assert first == second
    assert first["title"] == "Critical: fall at back door"
    assert "camera: back door\nvideo: " in first["text"]
    assert "lasted: 2" in first["text"]
    assert first["picture"] is None, "the video is in no archive"


def test_events_of_changed_rules_are_queued_for_new_videos_only(site: Site) -> None:
    old = night(site.engine, "a")
    evaluate(old, ["fall"])
    assert outbox.queue_events(site, BOTH[:1], ALL) == 1
    evaluate(old, ["fall", "running"], version="2")
    assert outbox.queue_events(site, BOTH[:1], ALL) == 0
    evaluate(night(site.engine, "b"), ["running"], version="2")
    assert outbox.queue_events(site, BOTH[:1], ALL) == 1


def test_a_video_whose_events_are_not_shown_yet_stays_new(site: Site) -> None:
    made = night(site.engine)
    assert news.unnotified_videos(site.engine) == []
    assert not news.has_news(site.engine)
    assert outbox.queue_events(site, BOTH, ALL) == 0
    evaluate(made, ["fall"])
    assert news.has_news(site.engine)
    assert outbox.queue_events(site, BOTH, ALL) == 2


def test_events_of_videos_from_long_ago_are_not_queued(site: Site) -> None:
    evaluate(night(site.engine), ["fall"])
    with writing(site.engine) as connection:
        connection.execute(update(segments).values(finished_at=database_now(-news.NEWS_S - 60)))
    assert outbox.queue_events(site, BOTH, ALL) == 0
    assert news.unnotified_videos(site.engine) == []


def test_a_flood_is_bounded_per_severity(site: Site) -> None:
    made = night(site.engine)
    evaluate(made, ["hand_raised"] * 50 + ["fall"])
    assert outbox.queue_events(site, BOTH[:1], ALL) == outbox.MOST_EVENTS + 2
    titles = [content["title"] for content in contents(site.engine, "event")]
    assert titles.count("Warning: hand_raised at back door") == outbox.MOST_EVENTS
    assert titles.count("Critical: fall at back door") == 1
    [more] = [content for content in contents(site.engine, "event") if content.get("more")]
    assert "hand_raised 30" in more["text"]
    evaluate(night(site.engine, "b", over=False), ["running"])  # another batch has begun: another night
    assert outbox.queue_events(site, BOTH[:1], ALL) == 1


def test_a_night_is_queued_once_with_its_events_and_faults(site: Site) -> None:
    made = night(site.engine)
    evaluate(made, ["fall", "hand_raised", "fall"])
    with writing(site.engine) as connection:
        connection.execute(update(batches).values(status="crashed", error="the disk\nis full <@everyone>"))
    assert outbox.queue_nights(site, BOTH, ALL) == 2
    assert outbox.queue_nights(site, BOTH, ALL) == 0
    content = contents(site.engine, "night")[0]
    assert content["title"].endswith("crashed, 3 events")
    assert content["severity"] == "critical"
    assert "events: fall 2, hand_raised 1" in content["text"]
    assert "failed: the disk is full <\u200b@\u200beveryone>" in content["text"]


def test_a_night_can_be_left_out(site: Site) -> None:
    night(site.engine)
    assert outbox.queue_nights(site, BOTH, Notify(night=False)) == 0
    assert outbox.queue_nights(site, BOTH, ALL) == 0, "it is not queued later either"


def test_a_running_batch_is_not_over(site: Site) -> None:
    night(site.engine, over=False)
    assert outbox.queue_nights(site, BOTH, ALL) == 0


def test_without_an_address_nothing_is_queued_later(site: Site) -> None:
    evaluate(night(site.engine), ["fall"])
    outbox.queue_news(site, [])
    outbox.queue_news(site, BOTH)
    assert numbers(site.engine) == {}


def test_a_missed_night_is_queued_once_however_it_was_noticed(site: Site) -> None:
    zone, begun = site.settings.zone, datetime.fromisoformat("2026-11-28T00:00:00+00:00")
    by_schedule = MissedNight("/my/videos", begun, "")
    by_age = MissedNight("/my/videos", begun.replace(minute=4), "The newest batch is old.")
    assert queue_missed(site.engine, BOTH, [by_schedule, by_age], zone) == 2
    assert queue_missed(site.engine, BOTH, [by_age], zone) == 0
    next_night = by_age._replace(expected_at=begun.replace(day=29))
    assert queue_missed(site.engine, BOTH, [next_night, by_age._replace(archive="/other")], zone) == 4
    assert "due at 2026-11-28 01:00" in contents(site.engine, "missing_night")[0]["text"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cam/one.mp4", "cam/one.mp4"),
        ("a\nSubject: b\r\tc", "a Subject: b  c"),
        ("\u202egnp.exe", " gnp.exe"),
        ("@everyone <@123> @here", "@\u200beveryone <\u200b@123> @\u200bhere"),
        ("x" * 300, "x" * 119 + "…"),
    ],
)
def test_names_from_outside_are_harmless(name: str, expected: str) -> None:
    assert harmless(name) == expected
