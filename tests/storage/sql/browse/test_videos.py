"""Videos by the beginning of their hash, with their names, places and files."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, insert

from storage.sql.browse.videos import present_files, stored_video
from storage.sql.catalogue import mark_gone
from storage.sql.database import writing
from storage.sql.tables import recording_videos, recordings
from tests.storage.samples import make_video, record_file, register_video

START = datetime(2026, 7, 1, 21, 55, tzinfo=UTC)
FIRST, SECOND = "ab" * 8 + "0" * 48, "ab" * 8 + "f" * 48


def add_recording(engine: Engine, video_id: int, camera: str | None, start_at: datetime | None) -> int:
    about = {"camera": camera, "start_at": start_at, "time_zone": camera and "Europe/Berlin", "created_at": START}
    with writing(engine) as connection:
        made = insert(recordings).values(about).returning(recordings.c.recording_id)
        recording_id = int(connection.execute(made).scalar_one())
        place = {"recording_id": recording_id, "video_id": video_id, "start_at": start_at}
        connection.execute(insert(recording_videos).values(place))
    return recording_id


def test_a_video_has_its_name_and_the_place_of_its_first_or_the_asked_recording(engine: Engine) -> None:
    video_id = register_video(engine, make_video(FIRST))
    found = stored_video(engine, FIRST)
    assert found is not None
    assert found.name == FIRST
    assert (found.archive, found.camera, found.recording_id, found.start_at) == (None,) * 4
    record_file(engine, "/films", "Zoë's 🎥.mp4", 1234, "etag", video_id=video_id)
    door = add_recording(engine, video_id, "door", START)
    yard = add_recording(engine, video_id, None, START + timedelta(days=1))
    of_door, of_yard = stored_video(engine, FIRST[:16]), stored_video(engine, FIRST[:20], yard)
    assert of_door == stored_video(engine, FIRST, door)
    assert of_door is not None
    assert of_yard is not None
    assert (of_door.video_id, of_door.name, of_door.archive) == (video_id, "Zoë's 🎥.mp4", "/films")
    assert (of_door.camera, of_door.recording_id, of_door.time_zone) == ("door", door, "Europe/Berlin")
    assert of_door.start_at == START
    assert (of_yard.camera, of_yard.recording_id, of_yard.start_at) == (None, yard, START + timedelta(days=1))
    assert stored_video(engine, FIRST, yard + 1) is None


def test_a_beginning_must_be_of_one_video(engine: Engine) -> None:
    ids = {sha256: register_video(engine, make_video(sha256)) for sha256 in (FIRST, SECOND)}
    assert stored_video(engine, "ab" * 8) is None
    for sha256, video_id in ids.items():
        found = stored_video(engine, sha256[:17])
        assert found is not None
        assert found.video_id == video_id


def test_text_that_is_no_hash_names_no_video(engine: Engine) -> None:
    register_video(engine, make_video(FIRST))
    for start in ("", "ab", FIRST[:15], FIRST.upper(), f"{FIRST}0", "%" * 16, "../" * 6, "g" * 16, f"{FIRST[:16]}\n"):
        assert stored_video(engine, start) is None


def test_files_are_those_that_archives_list(engine: Engine) -> None:
    video_id = register_video(engine, make_video(FIRST))
    for key in ("b.mp4", "a.mp4", "gone.mp4"):
        record_file(engine, "/films", key, 1234, "etag", video_id=video_id)
    mark_gone(engine, "/films", ["gone.mp4"])
    assert [file.key for file in present_files(engine, video_id)] == ["a.mp4", "b.mp4"]
    mark_gone(engine, "/films", ["a.mp4", "b.mp4"])
    found = stored_video(engine, FIRST)
    assert found is not None
    assert found.gone_at is not None
    assert present_files(engine, video_id) == []
