"""The first page, a night, calendars and the search, as their readers see them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import unescape

import pytest
from markupsafe import escape
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from storage.ledger.batches import finish_batch
from storage.sql.catalogue import RecordedFile, record_unreadable
from storage.sql.database import open_database, writing
from tasks.browse.links import calendar_path, night_path, search_path, sql_path, video_path
from tasks.site.owner import this_owner
from tasks.site.settings import Settings
from tests.deployments.browse.accessible import page_faults
from tests.deployments.browse.conftest import client_of, open_browse
from tests.storage.sql.browse.test_presence_days import ARCHIVE, Film, store

HOSTILE = '<img src=x onerror="alert(1)"> \'"&amp;\u202egpj 100%_\\ 🐦'
NOTHING_DONE = (
    "UPDATE segments SET status = 'planned', finished_at = NULL, frames_done = NULL, people = NULL, stop_frame = 1000"
)
AT = datetime(2026, 11, 24, 22, 30, tzinfo=UTC)


def film(key: str, camera: str | None, at: datetime | None = AT, seen: Sequence[int] = range(0, 1500)) -> Film:
    """A minute-long video with somebody in the first frames, all 25 per second."""
    return Film(key, camera, "Europe/Berlin" if at else "", at, 25.0, 3000, tuple(seen))


@pytest.fixture
def engine(settings: Settings) -> Engine:
    """The database of an empty home."""
    open_browse(settings)
    return open_database(settings.database)


@pytest.fixture
def client(settings: Settings, engine: Engine) -> TestClient:
    return client_of(open_browse(settings))


def page(client: TestClient, path: str) -> str:
    """The text of a page without faults, with single spaces."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert page_faults(answer.text) == []
    return re.sub(r"\s+", " ", answer.text)


def words(html: str) -> str:
    """The text of a page as it is read."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def test_an_empty_home_says_what_to_do(client: TestClient) -> None:
    told = words(page(client, "/"))
    assert "No night yet" in told
    assert "nightjar demo" in told
    assert "nightjar run /my/videos --model movenet-multipose" in told


def test_a_month_shows_the_time_with_people_of_each_day(client: TestClient, engine: Engine) -> None:
    """A video of two minutes begins at 23:30 in Berlin, and another one half a minute before midnight."""
    midnight = datetime(2026, 11, 24, 22, 59, 30, tzinfo=UTC)
    store(engine, [film("a.mp4", "door"), film("b.mp4", "door", midnight), film("c.mp4", "yard", None)])
    told = page(client, "/")
    assert "Cameras, November 2026" in told
    first, second = (
        f'href="{calendar_path(day=f"2026-11-{day}", camera="door")}"'.replace("&", "&amp;") for day in (24, 25)
    )
    assert f'<td class="heat-5"> <a {first} title="people for 1 min 30 s, 2 videos"' in told
    assert f'<td class="heat-3"> <a {second} title="people for 30 s, 1 video"' in told
    assert "2 min with people in 3 videos" in words(told)
    assert "no clock" in words(told)


def test_a_day_lists_its_videos(client: TestClient, engine: Engine) -> None:
    store(
        engine, [film("a.mp4", "door", seen=range(100, 200)), film("b/late.mp4", "door", AT.replace(day=25), seen=())]
    )
    told = page(client, calendar_path(camera="door", day="2026-11-24"))
    assert "Tuesday, 24 November 2026" in told
    assert "Times are in Europe/Berlin." in told
    assert "23:30:00–23:32:00" in told
    assert "people in view for 4.0 s" in words(told)
    assert video_path("0" * 16, recording=1, frame=100).replace("&", "&amp;") in told
    assert "late.mp4" not in told
    newest = page(client, calendar_path(camera="door"))
    assert "nobody in view" in newest
    assert "Wednesday, 25 November 2026" in newest
    assert "No video is of this day" in page(client, calendar_path(camera="door", day="2026-11-20"))


def test_a_folder_without_clocks_lists_its_videos_by_name(client: TestClient, engine: Engine) -> None:
    store(engine, [film(f"falls/{name}.mp4", None, None) for name in "cab"])
    assert calendar_path(archive=ARCHIVE, folder="falls").replace("&", "&amp;") in page(client, "/")
    told = page(client, calendar_path(archive=ARCHIVE, folder="falls"))
    assert [told.index(f"falls/{name}.mp4") for name in "abc"] == sorted(
        told.index(f"falls/{name}.mp4") for name in "cab"
    )
    assert "Videos without a clock" in told


@pytest.mark.parametrize(
    "path",
    [
        "/calendar", "/calendar?camera=nobody", "/calendar?camera=", "/calendar?camera=door&month=2026-13",
        "/calendar?camera=door&day=2026-02-30", "/calendar?camera=door&page=-1", "/calendar?camera=door&page=x",
        "/calendar?camera=door&day=0001-01-01", "/calendar?camera=door&month=9999-12",
        "/calendar?archive=archive/&folder=x",
        "/calendar?camera=%00", "/calendar?camera=%ff", "/?month=November", "/night/99", "/night/99999999999999999999",
        "/night/-1", "/night/1?page=1e3",
    ],
)  # fmt: skip
def test_nothing_else_exists(client: TestClient, engine: Engine, path: str) -> None:
    store(engine, [film("a.mp4", "door")])
    assert client.get(path).status_code == 404


def test_a_night_tells_its_account_and_the_reasons(client: TestClient, engine: Engine) -> None:
    store(engine, [film("a.mp4", "door"), film("b.mp4", "door")])
    record_unreadable(engine, RecordedFile(ARCHIVE, "broken.mp4", 1, "etag"), "The file is truncated.")
    with writing(engine) as connection:
        connection.execute(
            text(
                "UPDATE segments SET status = 'quarantined', reason = 'Frame 7 is damaged.', retry = true,"
                " frames_done = NULL, people = NULL WHERE segment_id = 1"
            )
        )
        connection.execute(text("UPDATE batches SET files_quarantined = 1 WHERE batch_id = 1"))
    assert finish_batch(engine, 1) == "incomplete"
    assert finish_batch(engine, 2) == "completed"
    told = words(page(client, night_path(1)))
    assert "Batch 1 incomplete" in told
    assert "In quarantine 3,000 frames, 1 file" in told
    assert "1 Frame 7 is damaged. a.mp4 , frames 0 to 2,999" in told
    assert "The file is truncated. broken.mp4" in told
    assert "1 segment in quarantine" in told
    assert "worker-1 CPU (test) 1 3,000" in words(page(client, night_path(2)))
    rows = words(page(client, "/"))
    assert rows.index("completed 3,000 of 3,000 0 0 1,500") < rows.index(
        "incomplete 0 of 3,000 0 3,000 frames, 1 file 0"
    )


def test_a_batch_that_runs_shows_its_progress(client: TestClient, engine: Engine) -> None:
    store(engine, [film("a.mp4", "door")])
    with writing(engine) as connection:
        connection.execute(text(NOTHING_DONE))
        connection.execute(
            text(
                "INSERT INTO segments (video_id, model_version_id, start_frame, stop_frame, status, attempt, tries,"
                " planned_at, finished_at, frames_done, people) SELECT video_id, model_version_id, 1000, 3000, 'done',"
                " 1, 0, planned_at, planned_at, 2000, 500 FROM segments"
            )
        )
        connection.execute(text("INSERT INTO batch_segments VALUES (1, 2)"))
    for path in ("/", night_path(1)):
        told = words(page(client, path))
        assert "66 % of 3,000 frames" in told
        assert "running" in told
    with writing(engine) as connection:  # of this machine, by a process that is no more
        connection.execute(text("UPDATE batches SET owner = :owner"), {"owner": ended_owner()})
    told = words(page(client, "/"))
    assert "Batch 1 was interrupted" in told
    assert "nightjar run" in told


def ended_owner() -> str:
    host, process, _ = this_owner().rsplit(":", 2)
    return f"{host}:{process}:1"


def test_names_are_text(client: TestClient, engine: Engine) -> None:
    store(engine, [film(f"{HOSTILE}/{HOSTILE}.mp4", HOSTILE), film(f"{HOSTILE}/b.mp4", None, None)])
    record_unreadable(engine, RecordedFile(ARCHIVE, f"{HOSTILE}.bin", 1, "etag"), HOSTILE)
    paths = ("/", calendar_path(camera=HOSTILE), calendar_path(archive=ARCHIVE, folder=HOSTILE), night_path(1))
    for path in (*paths, search_path(q=HOSTILE), search_path(q=f"{HOSTILE} none")):
        told = page(client, path)
        assert "<img src=x" not in told
        assert "\u202e" not in told.replace(f'value="{escape(HOSTILE)}', "")  # the box keeps what was typed
        assert "&lt;img src=x onerror=" in told


NAMES = ("Straße 1/Ärger_100%.mp4", "b/late\\x.MP4", "broken.avi")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("MP4", (0, 1)), ("ärger", (0,)), ("_100%", (0,)), ("0%0", ()), ("t_", ()), ("A\u0308RGER", (0,)),
        ("mp4 late", (1,)),
        ("e\\x", (1,)), ("1/Ä", (0,)), ("STRAßE", (0,)), ("", ()), ("   ", ()), ("\0", ()), ("'; --", ()),
        ("broken", (2,)),
        ("0" * 63 + "1", (1,)),
    ],
)  # fmt: skip
def test_files_are_found_by_parts_of_names(
    client: TestClient, engine: Engine, wanted: str, found: Sequence[int]
) -> None:
    store(engine, [film(name, "door") for name in NAMES[:2]])
    record_unreadable(engine, RecordedFile(ARCHIVE, NAMES[2], 1, "etag"), "It is empty.")
    told = words(page(client, search_path(q=wanted)))
    assert [name for name in NAMES if name in told] == [NAMES[each] for each in found]
    assert ("Nothing is called" in told) == (not found and bool(wanted.strip("\0 ")))


def test_cameras_and_recordings_are_found(client: TestClient, engine: Engine) -> None:
    store(engine, [film("a.mp4", "Tür 1"), film("b.mp4", "yard", AT.replace(day=20))])
    assert calendar_path(camera="Tür 1") in page(client, search_path(q="TÜR"))
    for wanted in ("2026-11-24", "2026-11-24 tür", "1"):
        told = page(client, search_path(q=wanted))
        assert 'href="/recording/1"' in told
        assert 'href="/recording/2"' not in told
        assert "2026-11-24 23:30:00 Europe/Berlin" in told
    assert "Nothing is called" in page(client, search_path(q="2026-11-24 yard"))


def test_all_pages_have_headings_labels_and_names(client: TestClient, engine: Engine) -> None:
    store(engine, [film(f"{HOSTILE}.mp4", HOSTILE)])
    query = "SELECT video, frame, person FROM people LIMIT 3"
    for path in ("/events", sql_path(), sql_path(query), "/models", video_path("0" * 64), "/recording/1"):
        page(client, path)
    assert page_faults(client.get("/nothing").text) == []


def test_a_search_is_bounded(client: TestClient, engine: Engine) -> None:
    store(engine, [film("a.mp4", "door")])
    with writing(engine) as connection:
        connection.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
                " INSERT INTO archive_files (archive, key, size_bytes, etag, video_id, seen_at, read_at)"
                " SELECT archive, 'copy' || i || '.mp4', 1, 'e', video_id, seen_at, read_at FROM archive_files, n"
            )
        )
    told = page(client, search_path(q="COPY"))
    assert told.count("copy") == 50
    assert "There are more." in told
    assert "copy4999.mp4" in page(client, search_path(q="Y4999"))
    assert len(page(client, search_path(q="ä" * 10_000))) < 10_000
