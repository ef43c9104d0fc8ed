"""The page of events without a browser: what it shows, and marks that are kept only where they are switched on."""

from collections.abc import Iterator
from html import unescape

import pytest
from starlette.testclient import TestClient

from deployments.browse.context import Browse
from storage.sql.browse.marks import NOTE_CHARACTERS
from storage.sql.query import query
from tasks.browse.drawn_people import drawn_person
from tasks.site.settings import Settings
from tests.deployments.browse.conftest import client_of, open_browse, state_of
from tests.deployments.browse.falls import ACROSS, HOSTILE, contents, key_of, recorded_falls

OWN = {"Origin": "http://testserver"}
KEY = key_of(ACROSS)


@pytest.fixture
def browse(settings: Settings) -> Iterator[Browse]:
    """Pages with marks over a recording with events."""
    browse = open_browse(settings, marks=True)
    assert browse.marks is not None
    recorded_falls(browse.marks)
    yield browse
    browse.marks.dispose()
    browse.site.engine.dispose()


@pytest.fixture
def client(browse: Browse) -> TestClient:
    return client_of(browse)


def marks(browse: Browse) -> list[tuple[object, ...]]:
    return list(query(browse.site.engine, "SELECT event_key, mark, note FROM event_marks")[1])


def test_an_event_shows_its_peak_with_the_person(client: TestClient) -> None:
    page = client.get("/events?rule=fall").text
    assert f"/{ACROSS.peak_frame}.jpg?width=" in page
    assert page.count('<g class="own">') == 1
    assert page.count('<g class="other">') == 1
    assert "frame=1250&amp;track=1&amp;event=fall-v1v1v1v1-590&amp;recording=1" in page
    assert "t=590.0&amp;track=1" in page
    assert "2026-07-01 22:04:50" in page
    assert "UTC" in page


def test_hostile_names_stay_text(client: TestClient) -> None:
    page = client.get("/events").text
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert HOSTILE.replace("\u202e", "\\u202e") in unescape(page)
    assert "<script>" not in client.get("/events", params={"rule": "<script>", "since": "2026-01-01"}).text


@pytest.mark.parametrize("wrong", ["since=x", "until=9999-12-31", "since=2026-02-30"])
def test_a_day_that_is_none_is_refused_with_a_remedy(client: TestClient, wrong: str) -> None:
    answer = client.get(f"/events?{wrong}")
    assert answer.status_code == 400
    assert "Give one such as 2026-11-23" in answer.text


@pytest.mark.parametrize(
    "harmless", ["page=0", "page=99999999999", "page=x", "track=-1", "mark=x", "severity=<b>", "camera=", "more=1"]
)
def test_other_values_show_a_page(client: TestClient, harmless: str) -> None:
    assert client.get(f"/events?{harmless}").status_code == 200


def test_marking_is_off_by_default(browse: Browse, settings: Settings) -> None:
    unmarked = open_browse(settings)
    client, before = client_of(unmarked), contents(unmarked.site.engine)
    page = client.get("/events").text
    assert '<form class="mark"' not in page
    assert "nightjar browse --marks" in page
    refused = client.post(f"/events/{KEY}/mark", data={"mark": "right"}, headers=OWN)
    assert refused.status_code == 403
    assert "nightjar browse --marks" in refused.text
    assert contents(unmarked.site.engine) == before
    unmarked.site.engine.dispose()


def test_a_mark_is_kept_with_its_note(client: TestClient, browse: Browse) -> None:
    note = "<b>he tripped</b> 🎥"
    answer = client.post(
        f"/events/{KEY}/mark", data={"mark": "right", "note": note}, headers={**OWN, "Accept": "application/json"}
    )
    assert (answer.json()["mark"], answer.json()["note"]) == ("right", note)
    assert {row["rule"]: row["precision"] for row in answer.json()["precisions"]}["fall"] == "100%"
    assert marks(browse) == [(KEY, "right", note)]
    page = client.get("/events?mark=marked").text
    assert 'data-mark="right"' in page
    assert "<b>he" not in page
    form = {"mark": "none", "note": note, "back": "rule=fall\r\nX: y&page=1"}
    back = client.post(f"/events/{KEY}/mark", data=form, headers=OWN, follow_redirects=False)
    assert back.status_code == 303
    assert back.headers["location"].startswith("/events?rule=fall")
    assert "x" not in back.headers
    assert marks(browse) == []


@pytest.mark.parametrize(
    ("key", "form", "headers", "status"),
    [
        (KEY, {"mark": "right"}, {}, 403),
        (KEY, {"mark": "right"}, {"Origin": "http://evil.example"}, 403),
        (KEY, {"mark": "perhaps"}, OWN, 400),
        (KEY, {}, OWN, 400),
        ("nosuch", {"mark": "right"}, OWN, 400),
        ("x' OR '1'='1", {"mark": "none"}, OWN, 400),
        (KEY, {"mark": "right", "note": "x" * (NOTE_CHARACTERS + 1)}, OWN, 400),
        (KEY, {"mark": "right", "note": "x" * 100_000}, OWN, 413),
    ],
)
def test_other_requests_mark_nothing(
    client: TestClient, browse: Browse, key: str, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    assert client.post(f"/events/{key}/mark", data=form, headers=headers).status_code == status
    assert marks(browse) == []


def test_nothing_but_marks_is_written(client: TestClient, browse: Browse) -> None:
    before = contents(browse.site.engine)
    for path in ("/events", "/events?mark=right", "/sql", "/open?video_id=1"):
        client.get(path, follow_redirects=False)
    client.post(f"/events/{KEY}/mark", data={"mark": "wrong"}, headers=OWN)
    assert contents(browse.site.engine) == {**before, "event_marks": 1}
    state_of(client).query_processes.close()


def test_a_drawn_person_has_only_known_keypoints() -> None:
    nobody = drawn_person([None] * 17)
    assert (nobody.box, nobody.limbs, nobody.joints) == (None, [], [])
    shoulders = drawn_person([None] * 5 + [(10.0, 20.0), (30.0, 20.0)] + [None] * 10)
    assert shoulders.limbs == [((10.0, 20.0), (30.0, 20.0))]
    assert shoulders.box == (8.4, 18.4, 23.2, 3.2)
