"""Cameras and clocks in the database, on both databases: written once, and again only where they change."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from storage.sql.analyses.places import store_creation_time
from storage.sql.catalogue import RecordedFile, record_unreadable
from storage.sql.clock import database_now
from storage.sql.database import reading, writing
from storage.sql.tables import archive_files
from tasks.analysis.places import files_to_check, headers_to_read, place_files
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.site_file.clock import NOT_READ
from tasks.site_file.load import parse_site_file
from tasks.site_file.spec import SiteFile
from tests.storage.samples import make_video, record_file, register_video

FRIGATE = "[[cameras]]\nfiles = 'rec/**'\nlayout = 'frigate'\n"
PHONE = "[[cameras]]\nname = 'phone'\nfiles = 'phone/*'\nlayout = ['android', 'iphone']\n"


def site(cameras: str) -> SiteFile:
    return parse_site_file(Path("nightjar.toml"), f"[site]\ntime_zone = 'Europe/Berlin'\n{cameras}")


def add(engine: Engine, archive: str, key: str, sha256: str = "a" * 64, **known: Any) -> int:
    """Record a file of an archive with a video of 4 s."""
    video_id = register_video(engine, replace(make_video(sha256), **known))
    record_file(engine, archive, key, 1234, "etag", video_id=video_id)
    return video_id


def places(engine: Engine) -> dict[tuple[str, str], tuple[Any, ...]]:
    columns = [
        archive_files.c[name] for name in ("archive", "key", "camera", "start_at", "time_zone", "clock", "no_clock")
    ]
    with reading(engine) as connection:
        return {
            (row[0], row[1]): tuple(row[2:])
            for row in connection.execute(archive_files.select().with_only_columns(*columns))
        }


def statements(engine: Engine) -> list[str]:
    """Collect the statements that write from now on."""
    said: list[str] = []

    def hear(connection: object, cursor: object, statement: str, *rest: object) -> None:
        said.extend([statement] if statement.lstrip().upper().startswith(("UPDATE", "INSERT", "DELETE")) else [])

    event.listen(engine, "before_cursor_execute", hear)
    return said


def test_the_same_bytes_may_be_under_two_cameras_and_in_two_archives(engine: Engine) -> None:
    for archive, key in (
        ("/a", "rec/2026-03-01/22/back/14.07.mp4"),
        ("/a", "phone/VID_20260301_231407.mp4"),
        ("/b", "x"),
    ):
        add(engine, archive, key)
    place_files(engine, site(FRIGATE + PHONE))
    at = datetime(2026, 3, 1, 22, 14, 7, tzinfo=UTC)
    found = places(engine)
    assert found["/a", "rec/2026-03-01/22/back/14.07.mp4"] == ("back", at, "Europe/Berlin", "path", None)
    assert found["/a", "phone/VID_20260301_231407.mp4"] == ("phone", at, "Europe/Berlin", "path", None)
    assert found["/b", "x"][:4] == (None, None, None, None)
    assert "no glob" in found["/b", "x"][4]


def test_unchanged_files_are_not_written(engine: Engine) -> None:
    add(engine, "/a", "rec/2026-03-01/22/back/14.07.mp4")
    add(
        engine,
        "/a",
        "phone/x\x1b \udcff.mp4".encode(errors="replace").decode(),
        created_s=1e9 + 0.123456,
        created_read=True,
    )
    record_unreadable(engine, RecordedFile("/a", "phone/VID_20260301_231407.mp4", 1, "etag"), "It is damaged.")
    place_files(engine, site(FRIGATE + PHONE))
    before, said = places(engine), statements(engine)
    place_files(engine, site(FRIGATE + PHONE))
    assert said == []
    assert places(engine) == before
    assert before["/a", "phone/VID_20260301_231407.mp4"][0] == "phone"  # a file in quarantine has a place, too
    place_files(engine, site(PHONE))
    assert places(engine)["/a", "rec/2026-03-01/22/back/14.07.mp4"][0] is None
    assert len(said) == 1


def test_only_one_archive_may_be_placed(engine: Engine) -> None:
    for archive in ("/a", "/b"):
        add(engine, archive, "phone/VID_20260301_231407.mp4")
    place_files(engine, site(PHONE), "/b")
    assert [place[0] for place in places(engine).values()] == [None, "phone"]


def test_a_creation_time_that_was_not_read_is_due_only_if_a_rule_needs_it(engine: Engine) -> None:
    old = add(engine, "/a", "phone/IMG_1.MOV", "b" * 64)
    add(engine, "/a", "phone/VID_20260301_231407.mp4", "c" * 64)
    assert headers_to_read(engine, site(FRIGATE), "/a") == set()
    assert headers_to_read(engine, site(PHONE), "/a") == {old}
    place_files(engine, site(PHONE))
    assert places(engine)["/a", "phone/IMG_1.MOV"][4] == NOT_READ
    store_creation_time(engine, old, datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp())
    assert headers_to_read(engine, site(PHONE), "/a") == set()
    place_files(engine, site(PHONE))
    assert places(engine)["/a", "phone/IMG_1.MOV"][1] == datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_a_known_video_that_is_read_again_gets_its_creation_time(engine: Engine) -> None:
    add(engine, "/a", "phone/IMG_1.MOV", "b" * 64)
    add(engine, "/a", "phone/IMG_1.MOV", "b" * 64, created_s=1_782_907_200.0, created_read=True)
    add(engine, "/a", "phone/IMG_1.MOV", "b" * 64)  # by an older worker
    place_files(engine, site(PHONE))
    assert places(engine)["/a", "phone/IMG_1.MOV"][1] == datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("created_s", [1e300, float("inf"), float("nan"), -1e300])
def test_seconds_that_no_calendar_has_are_no_creation_time(engine: Engine, created_s: float) -> None:
    add(engine, "/a", "phone/IMG_1.MOV", created_s=created_s, created_read=True)
    place_files(engine, site(PHONE))
    assert "no creation time" in places(engine)["/a", "phone/IMG_1.MOV"][4]


def test_ten_thousand_files_take_seconds(engine: Engine) -> None:
    video_id = add(engine, "/a", "rec/first.mp4")
    rows = [
        {"archive": "/a", "key": f"rec/2026-01-{1 + n // 3600:02d}/07/cam{n % 3}/{n // 60 % 60:02d}.{n % 60:02d}.mp4"}
        for n in range(10_000)
    ]
    known = {"size_bytes": 1, "etag": "e", "video_id": video_id, "seen_at": database_now(), "read_at": database_now()}
    with writing(engine) as connection:
        connection.execute(insert(archive_files).values(known), rows)
    took = {}
    for name in ("new", "unchanged", "changed"):
        rules = FRIGATE if name != "changed" else f"{FRIGATE}time_zone = 'Asia/Tokyo'\n"
        begun = time.perf_counter()
        place_files(engine, site(rules))
        took[name] = time.perf_counter() - begun
    print(engine.dialect.name, took)
    assert max(took.values()) < 30
    with reading(engine) as connection:
        placed = connection.execute(text("SELECT count(*) FROM archive_files WHERE start_at IS NOT NULL")).scalar()
    assert placed == 10_000


def test_a_new_archive_is_checked_without_a_change_to_the_database(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    (folder / "phone").mkdir(parents=True)
    (folder / "phone/IMG_1.MOV").touch()
    (folder / "phone/IMG_2.MOV").touch()
    add(engine, str(folder), "phone/IMG_1.MOV", created_s=1e9, created_read=True)
    known = Site(Settings(home=tmp_path, _env_file=None), engine, artifacts=None)
    said = statements(engine)
    found = files_to_check(known, str(folder))
    assert [(file.key, file.creation_time_read) for file in found] == [
        ("phone/IMG_1.MOV", True),
        ("phone/IMG_2.MOV", False),
    ]
    assert [file.key for file in files_to_check(known, None)] == ["phone/IMG_1.MOV"]
    assert said == []
