"""Marks of events, and the events that the page shows, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from models.types import NightjarError
from storage.sql.browse.events import EventChoice, count_events, event_choices, events_page
from storage.sql.browse.marks import NOTE_CHARACTERS, UnknownEventError, rule_precisions, set_mark
from storage.sql.database import reading, writing
from storage.sql.query import query
from tests.deployments.browse.falls import ACROSS, ALL, FIRST, HOSTILE_CAMERA, add_events, key_of, recorded_falls
from tests.storage.sql.events.site import Site

BEGIN = datetime(2026, 7, 1, 21, 55, tzinfo=UTC)


@pytest.fixture
def site(engine: Engine) -> Site:
    return recorded_falls(engine)


def marks(engine: Engine) -> list[tuple[object, ...]]:
    return list(query(engine, "SELECT event_key, mark, note, rule, rule_version FROM event_marks ORDER BY 1")[1])


def test_a_mark_is_set_changed_and_removed(site: Site) -> None:
    key = key_of(ACROSS)
    set_mark(site.engine, key, "right", "he tripped \0 over\x1b it")
    set_mark(site.engine, key, "wrong", "a cat")
    assert marks(site.engine) == [(key, "wrong", "a cat", "fall", "v1" * 16)]
    set_mark(site.engine, key, None)
    set_mark(site.engine, key, None)
    assert marks(site.engine) == []


def test_an_event_that_is_made_again_keeps_its_mark(site: Site) -> None:
    """`nightjar analyze` replaces the rows of events; the same rule version gives the same keys."""
    set_mark(site.engine, key_of(ACROSS), "right", "yes")
    with writing(site.engine) as connection:
        connection.execute(text("DELETE FROM event_rows"))
    assert count_events(site.engine, EventChoice()) == 0
    add_events(site, "v1" * 16, ALL, "made again")
    [event] = events_page(site.engine, EventChoice(mark="right"))
    assert (event.event_key, event.note) == (key_of(ACROSS), "yes")


def test_each_version_of_a_rule_has_its_own_precision(site: Site) -> None:
    set_mark(site.engine, key_of(ACROSS), "wrong")
    add_events(site, "v2" * 16, ALL)
    assert events_page(site.engine, EventChoice(rule="fall"))[0].mark is None
    set_mark(site.engine, key_of(ACROSS, "v2" * 16), "right")
    found = {(row.rule, row.rule_version[:2]): row for row in rule_precisions(site.engine)}
    assert found["fall", "v1"][2:] == (0, 1, 0, 1, 0.0)
    assert found["fall", "v2"][2:] == (1, 1, 1, 0, 1.0)
    assert found["crowd", "v2"][2:] == (1, 0, 0, 0, None)
    assert [row.rule_version[:2] for row in rule_precisions(site.engine, "fall")] == ["v2", "v1"]


def test_precision_is_a_share(site: Site) -> None:
    for event, mark in ((ACROSS, "right"), (FIRST, "right")):
        set_mark(site.engine, key_of(event), mark)  # type: ignore[arg-type]
    with writing(site.engine) as connection:
        connection.execute(text("UPDATE event_marks SET rule = 'fall'"))
        connection.execute(text("UPDATE event_marks SET mark = 'wrong' WHERE event_key = 'fall-v1v1v1v1-590'"))
    _, rows = query(site.engine, "SELECT marked, marked_right, marked_wrong, precision FROM rule_precision")
    assert list(rows) == [(2, 1, 1, 0.5)]


def test_unknown_events_and_long_notes_are_refused(site: Site) -> None:
    with pytest.raises(UnknownEventError, match="no longer shown"):
        set_mark(site.engine, "x", "right")
    with pytest.raises(NightjarError, match="Shorten it"):
        set_mark(site.engine, key_of(ACROSS), "right", "x" * (NOTE_CHARACTERS + 1))
    assert marks(site.engine) == []


@pytest.mark.parametrize(
    ("choice", "rules"),
    [
        (EventChoice(), ["fall", "crowd", "hand_raised"]),
        (EventChoice(rule="fall"), ["fall"]),
        (EventChoice(camera=HOSTILE_CAMERA), ["fall", "crowd", "hand_raised"]),
        (EventChoice(camera=""), []),
        (EventChoice(severity="warning"), ["crowd"]),
        (EventChoice(track=1), ["fall", "hand_raised"]),
        (EventChoice(mark="marked"), ["crowd"]),
        (EventChoice(mark="wrong"), ["crowd"]),
        (EventChoice(mark="right"), []),
        (EventChoice(mark="unmarked"), ["fall", "hand_raised"]),
        (EventChoice(since=BEGIN + timedelta(seconds=31)), ["fall", "crowd"]),
        (EventChoice(since=BEGIN + timedelta(seconds=32)), ["fall"]),
        (EventChoice(until=BEGIN + timedelta(seconds=30)), ["hand_raised"]),
        (EventChoice(event="fall-v1v1v1v1-590"), ["fall"]),
    ],
    ids=str,
)
def test_filters(site: Site, choice: EventChoice, rules: list[str]) -> None:
    with reading(site.engine) as connection:
        crowd = connection.execute(text("SELECT event_key FROM events WHERE rule = 'crowd'")).scalar_one()
    set_mark(site.engine, crowd, "wrong")
    assert [event.rule for event in events_page(site.engine, choice)] == rules
    assert count_events(site.engine, choice) == len(rules)


def test_an_event_has_the_video_and_the_people_of_its_peak(site: Site) -> None:
    [event] = events_page(site.engine, EventChoice(rule="fall"))
    assert (event.from_s, event.to_s, event.peak_s) == (590.0, 660.0, 50.0)
    assert event.sha256 != event.peak_sha256
    assert event.from_at == BEGIN + timedelta(seconds=590)
    assert [(person.person, person.track) for person in event.people] == [(0, 1), (1, None)]
    assert event.people[0].keypoints[:2] == [(100.0, 100.0), (110.0, 110.0)]
    assert events_page(site.engine, EventChoice(rule="crowd"))[0].people == []


def test_the_filters_offer_what_there_is(site: Site) -> None:
    found = event_choices(site.engine)
    assert found.rules == ["crowd", "fall", "hand_raised"]
    assert found.cameras == [HOSTILE_CAMERA]
    assert found.severities == ["info", "warning", "critical"]
