"""Videos, files and model versions: their identity, and the version that the views show."""

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, select

from storage.ledger.batches import expect_segments, start_batch
from storage.ledger.commit import commit_segment
from storage.sql.catalogue import (
    IgnoredFile,
    RecordedFile,
    ShownModel,
    find_model,
    former_video,
    ignored_files_of,
    known_files,
    let_batches_choose,
    mark_gone,
    mark_seen,
    read_shown,
    record_ignored,
    record_unreadable,
    register_model,
    show_model,
    show_when_complete,
    supersede,
)
from storage.sql.query import query
from storage.sql.tables import archive_files, shown_models
from storage.video.coded_film import CodedFilm
from tests.storage.samples import (
    cut,
    make_model,
    make_poses,
    make_report,
    make_video,
    must_claim,
    plan_video,
    planned_batch,
    record_file,
    register_video,
)


def test_a_renamed_copy_is_the_same_video(engine: Engine) -> None:
    first, copy = register_video(engine, make_video()), register_video(engine, make_video())
    assert first == copy
    assert register_video(engine, make_video("b" * 64)) != first


def test_files_are_recognised_by_the_last_read(engine: Engine) -> None:
    video_id = register_video(engine, make_video())
    ugly = "a'b\"\n../\udcff.mp4"
    record_unreadable(engine, RecordedFile("archive/", ugly, 1, "e1"), "no\x00thing")
    record_unreadable(engine, RecordedFile("archive/", "a.mp4", 1, "e1"), "truncated")
    record_file(engine, "archive/", "a.mp4", 2, "e2", video_id=video_id)
    record_unreadable(engine, RecordedFile("archive/", "c.mp4", 1, "e1"), "no permission", retry=True)
    record_file(engine, "other/", "a.mp4", 3, "e3", video_id=video_id)
    assert known_files(engine, "archive/") == {
        "a.mp4": (2, "e2", video_id, None, False, None, False),
        "a'b\"\n../\\udcff.mp4": (1, "e1", None, "no\\0thing", False, None, False),
        "c.mp4": (1, "e1", None, "no permission", True, None, False),
    }


def shown_names(engine: Engine) -> list[tuple[Any, ...]]:
    return [
        tuple(row) for row in query(engine, "SELECT video, gone_at IS NOT NULL FROM video_summary ORDER BY video")[1]
    ]


def test_views_use_the_current_name_of_a_video(engine: Engine) -> None:
    video_id = register_video(engine, make_video())
    record_file(engine, "archive/", "a.mp4", 1, "e1", video_id=video_id)
    assert shown_names(engine) == [("a.mp4", 0)]
    record_file(engine, "archive/", "z renamed.mp4", 1, "e1", video_id=video_id)
    mark_gone(engine, "archive/", ["a.mp4", "never heard of"])
    assert shown_names(engine) == [("z renamed.mp4", 0)]
    assert known_files(engine, "archive/")["a.mp4"].gone
    time.sleep(0.01)
    mark_gone(engine, "archive/", ["z renamed.mp4"])
    assert shown_names(engine) == [("z renamed.mp4", 1)], "its last name, marked as gone"
    mark_seen(engine, "archive/", ["a.mp4"])
    assert shown_names(engine) == [("a.mp4", 0)]
    assert not known_files(engine, "archive/")["a.mp4"].gone


def test_missing_files_are_not_in_quarantine(engine: Engine) -> None:
    record_unreadable(engine, RecordedFile("archive/", "bad.mp4", 1, "e"), "no video stream")
    assert len(list(query(engine, "SELECT * FROM quarantine")[1])) == 1
    mark_gone(engine, "archive/", ["bad.mp4"])
    assert list(query(engine, "SELECT * FROM quarantine")[1]) == []


def test_ignored_files_are_replaced_by_the_current_ones(engine: Engine) -> None:
    first = {"a.txt": IgnoredFile(None, None, "text"), "b": IgnoredFile(9, "e", "a GIF picture")}
    record_ignored(engine, "archive/", first)
    assert ignored_files_of(engine, "archive/") == first
    second = {"b": IgnoredFile(10, "f", "empty"), "c\udcff": IgnoredFile(None, None, "hidden")}
    record_ignored(engine, "archive/", second)
    record_ignored(engine, "other/", first)
    assert ignored_files_of(engine, "archive/") == {"b": second["b"], "c\\udcff": second["c\udcff"]}


def test_the_views_show_a_grown_recording_once(engine: Engine) -> None:
    part, whole = make_video(frames=20), make_video("b" * 64, frames=60)
    part_id, _, batch_id = planned_batch(engine, part)
    record_file(engine, "archive/", "a.ts", 1, "e1", video_id=part_id)
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 20), make_report(20))
    show_when_complete(engine, "pose", 1)
    whole_id, _, batch_id = planned_batch(engine, whole, length=60)
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 60), make_report(60))
    assert not supersede(engine, part_id, whole_id), "it is still a file"
    record_file(engine, "archive/", "a.ts", 3, "e3", video_id=whole_id)
    assert supersede(engine, part_id, whole_id)
    assert list(query(engine, "SELECT video, frames_done FROM video_summary")[1]) == [("a.ts", 60)]
    counted = "SELECT count(*), count(DISTINCT video_id) FROM (SELECT DISTINCT video_id, frame FROM keypoints) AS k"
    assert list(query(engine, counted)[1]) == [(60, 1)]
    record_file(engine, "archive/", "copy.ts", 1, "e1", video_id=part_id)
    assert len(list(query(engine, "SELECT video FROM video_summary")[1])) == 2, (
        "a copy of the partial file is a video again"
    )


def test_a_refused_file_keeps_its_former_video(engine: Engine) -> None:
    """A recording that was read in the middle of a frame is refused, and keeps its former video."""
    first = register_video(engine, replace(make_video(), coded_bytes=9, coded_sha256="c" * 64))
    assert former_video(engine, "archive/", "a.flv") is None
    record_file(engine, "archive/", "a.flv", 1, "e1", video_id=first)
    for etag in ("e2", "e3"):
        record_unreadable(engine, RecordedFile("archive/", "a.flv", 2, etag), "truncated")
        assert former_video(engine, "archive/", "a.flv") == (first, "a" * 64, 1234, CodedFilm(9, "c" * 64))
    second = register_video(engine, make_video("b" * 64))
    record_file(engine, "archive/", "a.flv", 3, "e4", video_id=second)
    assert former_video(engine, "archive/", "a.flv") == (second, "b" * 64, 1234, None)
    assert known_files(engine, "archive/")["a.flv"].former_video_id is None
    record_unreadable(engine, RecordedFile("archive/", "b.flv", 1, "e1"), "truncated")
    assert former_video(engine, "archive/", "b.flv") is None


def test_a_missing_file_keeps_its_date(engine: Engine) -> None:
    for key in ("stays", "gone"):
        record_unreadable(engine, RecordedFile("archive/", key, 1, "e"), "empty")
    time.sleep(0.01)
    mark_seen(engine, "archive/", ["stays", "never heard of"])
    with engine.connect() as connection:
        rows = connection.execute(select(archive_files.c.key, archive_files.c.seen_at))
        seen = {row.key: row.seen_at for row in rows}
    assert seen["stays"] > seen["gone"]
    assert seen["gone"].utcoffset().total_seconds() == 0


def test_a_name_finds_the_model_registered_last(engine: Engine) -> None:
    assert find_model(engine, "posenet-075") is None
    old, new = make_model("1" * 64), make_model("2" * 64)
    first, second = register_model(engine, old), register_model(engine, new)
    assert find_model(engine, "posenet-075") == (second, new)
    time.sleep(0.01)
    assert register_model(engine, old) == first
    assert find_model(engine, "posenet-075") == (first, old)


def test_names_find_only_versions_of_every_frame(engine: Engine) -> None:
    whole = make_model("1" * 64)
    sampled = replace(make_model("2" * 64), frames_per_second=2.0)
    first, second = register_model(engine, whole), register_model(engine, sampled)
    assert find_model(engine, "posenet-075") == (first, whole)
    assert find_model(engine, "2" * 12) == (second, sampled)
    assert find_model(engine, "2" * 7) is None, "too short for a hash"
    assert find_model(engine, "3" * 12) is None
    named_like_a_hash = make_model("4" * 64, name="deadbeef")
    third = register_model(engine, named_like_a_hash)
    assert find_model(engine, "deadbeef") == (third, named_like_a_hash)


def shown(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(shown_models.c.model_version_id)).scalar_one()


def test_the_views_switch_when_the_new_version_has_processed_the_same_frames(engine: Engine) -> None:
    video = make_video(frames=100)
    video_id, old, batch_id = planned_batch(engine, video, length=50)
    assert show_when_complete(engine, "pose", old)
    assert shown(engine) == old
    for _ in range(2):
        mine = must_claim(engine, batch_id)
        frames = mine.segment.start_frame, mine.segment.stop_frame
        commit_segment(engine, mine, make_poses(*frames), make_report(50))

    new = register_model(engine, make_model("9" * 64))
    plan_video(engine, video_id, new, cut(video, 40))
    backfill = start_batch(engine, "archive/", new, "local", "me")
    expect_segments(engine, backfill, [video_id], 1, 0)
    for _ in range(3):
        assert not show_when_complete(engine, "pose", new)
        mine = must_claim(engine, backfill)
        assert mine.model_version_id == new
        commit_segment(engine, mine, make_poses(mine.segment.start_frame, mine.segment.stop_frame), make_report(20))
    assert show_when_complete(engine, "pose", new)
    assert shown(engine) == new
    assert show_when_complete(engine, "pose", new)


def test_a_persons_choice_stays_until_it_is_revoked(engine: Engine) -> None:
    """Both versions have processed everything, so each batch would show its own."""
    versions = [register_model(engine, make_model(digit * 64)) for digit in "12"]
    chosen, other = versions
    show_model(engine, "pose", chosen)
    for version in (other, chosen, other):
        assert show_when_complete(engine, "pose", version) == (version == chosen)
        assert read_shown(engine, "pose") == ShownModel(chosen, "posenet-075", "1" * 64, "person")
    show_model(engine, "pose", other)
    assert not show_when_complete(engine, "pose", chosen)
    let_batches_choose(engine)
    assert read_shown(engine, "pose") == ShownModel(other, "posenet-075", "2" * 64, "batch")
    assert show_when_complete(engine, "pose", chosen)
    assert shown(engine) == chosen


def test_a_choice_for_one_task_does_not_affect_another(engine: Engine) -> None:
    pose, labels = register_model(engine, make_model()), register_model(engine, make_model("c" * 64, "cars"))
    show_model(engine, "pose", pose)
    assert show_when_complete(engine, "classification", labels)
    found = read_shown(engine, "classification")
    assert found is not None
    assert found.chosen_by == "batch"
    assert read_shown(engine, "tracking") is None
