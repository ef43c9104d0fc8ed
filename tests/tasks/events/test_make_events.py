"""Events of made-up recordings, on both databases."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.ledger import recordings
from storage.sql.events import runs
from storage.sql.query import query
from tasks.analysis.events import events_outcome, make_events
from tasks.site_file.load import parse_site_file
from tasks.site_file.spec import SiteFile
from tests.tasks.events.recorded import FPS, START_AT, Person, Recorded

ONLY = ("fall", "lying", "hand_raised", "running", "crowd", "absence_longer_than", "loitering")
RAISED = "SELECT video, track, from_s, to_s, peak_frame, severity FROM events ORDER BY from_at, from_s, track"


def site(text: str = "", *rules: str) -> SiteFile:
    """A site file in which only these shipped rules, and those of the text, hold."""
    off = "".join(f'[[rules]]\nrule = "{name}"\nenabled = false\n' for name in ONLY if name not in rules)
    return parse_site_file(Path("nightjar.toml"), off + text)


def rows(engine: Engine, statement: str = RAISED) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(engine, statement)[1]]


HANDS = site("", "hand_raised")
WAVING = Person(1, 0, 249, raises_hand=(50, 99))


def test_an_event_has_its_times_and_its_rule(engine: Engine) -> None:
    Recorded(engine, "door", (WAVING, Person(2, 10, 200, x_px=400))).add()
    made = make_events(engine, HANDS)
    assert (made.videos, made.events, made.failed, made.shown) == (1, 1, {}, True)
    assert events_outcome(made) == "1 event in 1 video"
    assert rows(engine) == [("a0.mp4", 1, 2.0, 99 / FPS, 50, "info")]
    [(rule, camera, from_at, to_at)] = rows(engine, "SELECT rule, camera, from_at, to_at FROM events")
    assert (rule, camera) == ("hand_raised", "door")
    assert str(from_at).replace("T", " ").startswith("2026-03-01 21:00:02")
    assert str(to_at).replace("T", " ").startswith("2026-03-01 21:00:03.96")
    assert make_events(engine, HANDS).videos == 0


def test_an_event_across_files_is_one(engine: Engine) -> None:
    people = (Person(1, 0, 749, raises_hand=(200, 600)),)
    Recorded(engine, "door", people, (250, 250, 250)).add()
    assert make_events(engine, HANDS).videos == 3
    assert rows(engine) == [("a0.mp4", 1, 8.0, 24.0, 200, "info")]
    assert rows(engine, "SELECT DISTINCT last_video_id = video_id FROM events") in ([(0,)], [(False,)])


def keys(engine: Engine) -> list[str]:
    return [row[0] for row in rows(engine, "SELECT event_key FROM events ORDER BY event_key")]


def test_a_file_at_the_end_is_added_and_an_open_event_keeps_its_key(engine: Engine) -> None:
    people = (Person(1, 0, 749, raises_hand=(200, 300)), Person(2, 400, 700, raises_hand=(550, 600)))
    recording = Recorded(engine, "door", people, (250, 250, 250)).add(1)
    assert make_events(engine, HANDS).videos == 1
    assert rows(engine) == [("a0.mp4", 1, 8.0, 249 / FPS, 200, "info")]
    [key] = keys(engine)
    recording.add()
    assert make_events(engine, HANDS).videos == 2  # only the new ones
    assert [row[:4] for row in rows(engine)] == [("a0.mp4", 1, 8.0, 12.0), ("a2.mp4", 2, 2.0, 4.0)]
    assert key in keys(engine)


@pytest.mark.parametrize("cuts", [(750,), (375, 375), (70, 80, 100, 120, 130, 250), (25, 25, *(100,) * 7)])
def test_events_do_not_depend_on_the_files(engine: Engine, cuts: tuple[int, ...]) -> None:
    people = (
        Person(1, 0, 700, raises_hand=(40, 160), lies=(300, 420)),
        Person(2, 30, 330, raises_hand=(240, 250), x_px=400),
    )
    text = """
    [[rules]]
    rule = "down"
    when = "highest(shoulder_y - lowest(shoulder_y, 1.49), 2.99) > 40 AND (NOT seen OR trunk_angle_deg > 60)"
    score = "trunk_angle_deg"
    min_duration_s = 1
    [[rules]]
    rule = "left"
    when = "NOT seen"
    bridge_gap_s = 0.2
    [[rules]]
    rule = "nobody"
    rows = "frames"
    when = "people = 0 AND known_s(2) >= 0"
    """
    Recorded(engine, "door", people, cuts).add()
    make_events(engine, site(text, "hand_raised"))
    found = rows(
        engine,
        "SELECT e.rule, e.track, r.start_s + e.from_s, r.start_s + e.to_s, p.start_frame + e.peak_frame"
        " FROM events AS e JOIN recording_videos AS r ON r.video_id = e.video_id"
        " JOIN recording_videos AS p ON p.video_id = e.peak_video_id ORDER BY e.rule, e.track, e.from_s",
    )
    assert [(rule, track, round(from_s, 6), round(to_s, 6), peak) for rule, track, from_s, to_s, peak in found] == [
        ("down", 1, 12.0, 16.4, 300),
        ("hand_raised", 1, 1.6, 6.4, 40),
        ("hand_raised", 2, 9.6, 10.0, 240),
        ("left", 1, 28.04, 29.96, 701),
        ("left", 2, 13.24, 16.2, 331),
        ("nobody", None, 28.04, 29.96, 701),
    ]


def test_absence_is_found_where_nobody_was_ever_seen(engine: Engine) -> None:
    text = '[[rules]]\nrule = "absence_longer_than"\nmin_duration_s = 15\n'
    Recorded(engine, "door", (), (250, 250)).add()
    Recorded(engine, "hall", (Person(1, 100, 120),), (500,), name="b").add()
    make_events(engine, site(text, "absence_longer_than"))
    assert rows(engine, "SELECT camera, video, track, from_s, to_s FROM events ORDER BY camera, from_s") == [
        ("door", "a0.mp4", None, 0.0, 499 / FPS),
        ("hall", "b0.mp4", None, 121 / FPS, 499 / FPS),
    ]


def test_changed_rules_are_shown_when_all_of_a_camera_is_evaluated(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = (Person(1, 0, 749, raises_hand=(200, 600)),)
    Recorded(engine, "door", people, (250, 250, 250)).add()
    make_events(engine, HANDS)
    before = rows(engine), keys(engine)
    other = site('[[rules]]\nrule = "hand_raised"\nmin_duration_s = 2\nseverity = "warning"\n', "hand_raised")
    with monkeypatch.context() as patched:
        from tasks.events.run import make_run

        left = [1]

        def make_some(*args: Any) -> int | None:
            if left[0]:
                left[0] -= 1
                return make_run(*args)
            raise ZeroDivisionError("odd rows")

        patched.setattr("tasks.analysis.events.make_run", make_some)
        made = make_events(engine, other)
        assert (made.videos, made.shown, set(made.failed.values())) == (1, False, {"odd rows"})
        assert (rows(engine), keys(engine)) == before
    made = make_events(engine, other)
    assert (made.videos, made.shown) == (2, True)
    assert [row[-1] for row in rows(engine)] == ["warning"]
    assert keys(engine) != before[1]
    assert rows(engine, "SELECT count(*) FROM event_runs") == [(3,)]
    back = make_events(engine, HANDS)
    assert back.videos == 3
    assert (rows(engine), keys(engine)) == before


def test_rows_that_may_change_are_evaluated_again_with_the_next_file(engine: Engine) -> None:
    """The last second of a file is replaced when the next one is analysed: in the end the hand was not raised there."""
    waving = (Person(1, 0, 499, raises_hand=(230, 260)),)
    recording = Recorded(engine, "door", waving, (250, 250)).add(1)
    recording.again(0, waving, decided_frame=225)
    make_events(engine, HANDS)
    assert [row[2:4] for row in rows(engine)] == [(9.2, 249 / FPS)]
    recording.add()
    make_events(engine, HANDS)
    assert [row[2:4] for row in rows(engine)] == [(9.2, 10.4)]


def test_a_rule_that_cannot_be_evaluated_is_named_and_the_others_are_kept(engine: Engine, caplog: Any) -> None:
    Recorded(engine, "door", (WAVING,)).add()
    Recorded(engine, "hall", (WAVING,), name="b").add()
    broken = site('[[rules]]\nrule = "odd"\nwhen = "NOT (score + filled)"\ncameras = "hall"\n', "hand_raised")
    made = make_events(engine, broken)
    assert (made.videos, made.shown) == (1, False)
    assert "Rule 'odd' cannot be evaluated" in made.failed["b0.mp4"]
    assert "The events of b0.mp4 cannot be made" in caplog.text
    assert rows(engine, "SELECT camera FROM events") == [("door",)]


def test_videos_without_a_camera_or_a_clock_have_events(engine: Engine) -> None:
    Recorded(engine, None, (WAVING,), start_at=None).add()
    make_events(engine, HANDS)
    assert rows(engine, "SELECT camera, from_s, from_at FROM events") == [(None, 2.0, None)]


BED = """
[[zones]]
camera = "door"
name = "bed"
kind = "bed"
polygon = [[0.1, 0.5], [0.63, 0.5], [0.63, 1.0], [0.1, 1.0]]
[[zones]]
camera = "door"
name = "yard"
polygon = [[0.63, 0.5], [1.0, 0.5], [1.0, 1.0], [0.63, 1.0]]
"""
LOITERING = '[[rules]]\nrule = "loitering"\nmin_duration_s = 5\nbridge_gap_s = 0.5\n'
DWELL = "SELECT zone, track, video, from_s, to_s FROM events WHERE rule = 'loitering' ORDER BY zone, track"


@pytest.mark.parametrize("cuts", [(750,), (250, 250, 250), (100,) * 7 + (50,)])
def test_a_dwell_in_a_zone_is_one_event_across_files(
    engine: Engine, cuts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.events.row_source.MOST_FRAMES", 70)
    people = (Person(1, 25, 700), Person(2, 100, 300, x_px=500), Person(3, 400, 450, x_px=500))
    Recorded(engine, "door", people, cuts).add()
    made = make_events(engine, site(BED + LOITERING, "loitering"))
    assert (made.videos, made.failed, made.shown) == (len(cuts), {}, True)
    found = rows(
        engine,
        "SELECT e.zone, e.track, r.start_s + e.from_s, r.start_s + e.to_s FROM events AS e"
        " JOIN recording_videos AS r ON r.video_id = e.video_id ORDER BY e.zone, e.track",
    )
    assert [(zone, track, round(from_s, 6), round(to_s, 6)) for zone, track, from_s, to_s in found] == [
        ("bed", 1, 1.0, 28.0),
        ("yard", 2, 4.0, 12.0),
    ]
    visits = rows(engine, "SELECT zone, track, dwell_s FROM zone_visits ORDER BY zone, track")
    assert [(zone, track, round(dwell_s, 6)) for zone, track, dwell_s in visits] == [
        ("bed", 1, 27.0),
        ("yard", 2, 8.0),
        ("yard", 3, 2.0),
    ]


DOWN = """
[[rules]]
rule = "down"
when = "trunk_angle_deg > 60 OR NOT seen"
min_duration_s = 1
"""


@pytest.mark.parametrize("cuts", [(500,), (100,) * 5, (420, 80)])
def test_a_rule_does_not_hold_in_a_zone_also_after_the_person_is_lost(engine: Engine, cuts: tuple[int, ...]) -> None:
    """Two people lie down and are not found any more: one in bed, one in the yard."""
    people = (Person(1, 10, 420, lies=(300, 420)), Person(2, 10, 420, lies=(300, 420), x_px=440))
    Recorded(engine, "door", people, cuts).add()
    make_events(engine, site(BED + DOWN.replace("min", 'not_zone_kinds = "bed"\nmin')))
    statement = "SELECT track, to_s - from_s FROM events ORDER BY track"
    assert [(track, round(float(lasted), 2)) for track, lasted in rows(engine, statement)] == [(2, 7.8)]
    make_events(engine, site(BED + DOWN.replace("trunk", "in_zone('bed') AND trunk").replace("NOT seen", "false")))
    assert [(track, round(float(lasted), 2)) for track, lasted in rows(engine, statement)] == [(1, 4.8)]
    make_events(engine, site(BED + DOWN.replace("min", "zones = ['bed', 'yard']\nmin")))
    assert rows(engine, "SELECT track, zone FROM events ORDER BY track") == [(1, "bed"), (2, "yard")]


def test_a_state_of_another_picture_is_given_up_and_all_is_made_again(engine: Engine) -> None:
    recording = Recorded(engine, "door", (Person(1, 25, 450, x_px=500),), (250, 250)).add(1)
    rules = site(BED + LOITERING, "loitering")
    make_events(engine, rules)
    with engine.begin() as connection:
        connection.execute(text("UPDATE event_runs SET checkpoint = 'damaged'"))
    recording.add()
    made = make_events(engine, rules)
    assert (made.videos, made.failed, made.shown) == (2, {}, True)
    assert rows(engine, DWELL) == [("yard", 1, "a0.mp4", 1.0, 18.0)]


EVENING = '[[rules]]\nrule = "evening"\nseverity = "info"\nwhen = "local_hour >= 18"\n'


def set_clock(engine: Engine, recording_id: int, time_zone: str, start_at: datetime) -> None:
    """Store another clock of a recording, as `arrange` does where nothing else has changed."""
    former = recordings.read_recordings(engine)[recording_id]
    later = tuple(video._replace(start_at=start_at + timedelta(seconds=video.start_s)) for video in former.videos)
    change = recordings.Change(recording_id, recordings.Recording(former.camera, time_zone, later), len(later))
    ids = frozenset(video.video_id for video in later)
    recordings.store(engine, [recordings.Rearrangement((change,), (), ids, {recording_id: former})])


@pytest.mark.parametrize(
    ("time_zone", "start_at", "found"),
    [
        ("America/New_York", START_AT, 0),  # 16:00
        ("Europe/London", START_AT, 1),  # 21:00
        ("Europe/Berlin", START_AT - timedelta(hours=12), 0),  # 10:00
    ],
)
def test_another_clock_makes_the_events_again(engine: Engine, time_zone: str, start_at: datetime, found: int) -> None:
    """22:00 in Berlin at first, in two files."""
    recorded = Recorded(engine, "door", (WAVING,), (125, 125)).add()
    other = Recorded(engine, "shed", (WAVING,), name="b").add()
    evening = site(EVENING)
    assert make_events(engine, evening).videos == 3
    count = "SELECT count(*) FROM events WHERE camera = 'door'"
    assert rows(engine, count) == [(1,)]
    set_clock(engine, recorded.recording_id, time_zone, start_at)
    made = make_events(engine, evening)
    assert (made.videos, made.failed) == (2, {})  # and none of the other camera
    assert rows(engine, count) == [(found,)]
    assert rows(engine, "SELECT count(*) FROM events WHERE camera = 'shed'") == [(1,)]
    set_clock(engine, other.recording_id, "Europe/Berlin", START_AT)
    assert make_events(engine, evening).videos == 0  # it was this before


def test_a_run_by_a_former_clock_is_not_stored(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock changes while the events are made."""
    recorded = Recorded(engine, "door", (WAVING,)).add()
    store_run = runs.store_run

    def late(*given: Any) -> bool:
        set_clock(engine, recorded.recording_id, "America/New_York", START_AT)
        return store_run(*given)

    with monkeypatch.context() as patched:
        patched.setattr("tasks.events.run.store_run", late)
        make_events(engine, site(EVENING))
    assert rows(engine, "SELECT count(*) FROM event_runs") == [(0,)]
    make_events(engine, site(EVENING))
    assert rows(engine, "SELECT count(*) FROM events") == [(0,)]
