"""Recordings: their plan from the clocks of files, and its storage on both databases."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from storage.ledger.recordings import (
    ArrangementChangedError,
    FilmedVideo,
    Recording,
    read_filmed,
    read_recordings,
    store,
)
from storage.sql.catalogue import RecordedFile, mark_gone, record_unreadable, supersede
from storage.sql.query import query
from tasks.analysis import recordings
from tasks.analysis.recordings import arrange, plan_recordings, rearrangements, utc_offsets
from tests.tasks.analysis.filmed import MIDNIGHT, add_file, filmed, place_file, stored

GAP_S = 2.0


def planned(*videos: FilmedVideo, gap_s: float = GAP_S) -> list[list[int]]:
    return [[video.video_id for video in each.videos] for each in plan_recordings(videos, gap_s)]


def test_360_files_of_ten_seconds_are_one_recording() -> None:
    [hour] = plan_recordings([filmed(number, 10.0 * number) for number in range(1, 361)], GAP_S)
    assert [video.video_id for video in hour.videos] == list(range(1, 361))
    assert [video.start_frame for video in hour.videos] == [250 * number for number in range(360)]
    assert [video.start_s for video in hour.videos] == [10.0 * number for number in range(360)]
    assert hour.videos[-1].start_at == MIDNIGHT + timedelta(seconds=3600)


@pytest.mark.parametrize(
    ("videos", "expected"),
    [
        ([filmed(1, 0), filmed(2, 12.0)], [[1, 2]]),
        ([filmed(1, 0), filmed(2, 12.01)], [[1], [2]]),
        ([filmed(1, 0), filmed(2, 8.0)], [[1, 2]]),
        ([filmed(1, 0), filmed(2, 7.99)], [[1], [2]]),
        ([filmed(1, 0), filmed(2, 10, camera="shed")], [[1], [2]]),
        ([filmed(1, 0), filmed(2, 10, size=(320, 240))], [[1], [2]]),
        ([filmed(1, 0), filmed(2, None), filmed(3, 10)], [[1, 3], [2]]),
        ([filmed(1, None), filmed(2, None)], [[1], [2]]),
        ([filmed(1, 0, camera=None), filmed(2, 10, camera=None)], [[1], [2]]),
        ([filmed(1, 0), filmed(2, 0, duration_s=0.04), filmed(3, 10)], [[1, 3], [2]]),
        ([filmed(1, 0, start_at=datetime(1, 1, 1, tzinfo=UTC)), filmed(2, 10)], [[2], [1]]),
        ([filmed(1, 0, duration_s=1e300, frames=1), filmed(2, 10)], [[1], [2]]),
        ([], []),
    ],
    ids=[
        *("gap", "longer gap", "overlap", "longer overlap", "cameras", "sizes", "no clock", "no clocks", "no camera"),
        *("short file beside", "damaged clock", "damaged duration", "nothing"),
    ],
)
def test_files_that_follow_each_other(videos: list[FilmedVideo], expected: list[list[int]]) -> None:
    assert planned(*videos) == expected


def test_a_camera_that_records_in_two_sizes_at_once_has_two_recordings() -> None:
    large = [filmed(number, 10.0 * number) for number in range(1, 5)]
    small = [filmed(10 + number, 10.0 * number, size=(320, 240)) for number in range(1, 5)]
    assert planned(*large, *small) == [[1, 2, 3, 4], [11, 12, 13, 14]]


def test_a_clock_that_is_wrong_by_a_little_never_runs_backwards() -> None:
    """Files of 10.04 s named by full seconds: each keeps its clock, and that of the recording runs on."""
    [found] = plan_recordings([filmed(number, 10.0 * number, 10.04) for number in range(100)], GAP_S)
    assert all(after.start_s == pytest.approx(before.start_s + 10.04) for before, after in pairwise(found.videos))
    assert found.videos[99].start_at == MIDNIGHT + timedelta(seconds=990)


def test_the_same_bytes_under_two_cameras_are_in_two_recordings() -> None:
    both = [filmed(1, 0), filmed(1, 500, camera="shed")]
    assert planned(*both, filmed(2, 10), filmed(3, 510, camera="shed")) == [[1, 2], [1, 3]]


def test_of_the_copies_of_a_file_one_counts() -> None:
    copies = [filmed(1, None, camera=None), filmed(1, 7), filmed(1, 5), filmed(1, None)]
    [found] = plan_recordings(copies, GAP_S)
    assert (found.camera, found.videos[0].start_at) == ("door", MIDNIGHT + timedelta(seconds=5))


def test_listed_files_decide_and_else_those_removed_last() -> None:
    old = filmed(1, 0, camera="old", gone_at=MIDNIGHT)
    assert plan_recordings([old, filmed(1, 0)], GAP_S)[0].camera == "door"
    assert plan_recordings([old], GAP_S)[0].camera == "old"
    last = filmed(1, 0, camera="last", gone_at=MIDNIGHT + timedelta(days=1))
    assert [each.camera for each in plan_recordings([last, old], GAP_S)] == ["last"]


FILES = st.lists(
    st.builds(
        filmed,
        st.integers(1, 12),
        st.sampled_from([None, *(each / 4 for each in range(160))]),
        st.sampled_from([0.04, 1.0, 10.0, 10.04]),
        st.sampled_from(["door", "shed", None]),
        size=st.sampled_from([(640, 480), (320, 240)]),
    ),
    max_size=12,
    unique_by=lambda video: (video.video_id, video.camera),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(FILES, st.randoms(use_true_random=False), st.sampled_from([0.0, 0.5, 2.0]))
def test_the_order_of_arrival_changes_nothing(files: list[FilmedVideo], rng: random.Random, gap_s: float) -> None:
    found = plan_recordings(files, gap_s)
    shuffled = list(files)
    rng.shuffle(shuffled)
    assert plan_recordings(shuffled, gap_s) == found
    assert {video.video_id for each in found for video in each.videos} == {video.video_id for video in files}
    duration_s = {(video.video_id, video.camera): video.duration_s for video in files}
    for each in found:
        for before, after in pairwise(each.videos):
            assert before.start_at is not None
            assert after.start_at is not None
            end = before.start_at + timedelta(seconds=duration_s[before.video_id, each.camera])
            assert abs((after.start_at - end).total_seconds()) <= gap_s + 1e-5
            assert after.start_s >= before.start_s + duration_s[before.video_id, each.camera] - 1e-9


@given(FILES, FILES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_changes_lead_from_any_arrangement_to_any_other(one: list[FilmedVideo], other: list[FilmedVideo]) -> None:
    """Applied as they are stored: cut, then filled; a recording that is not changed keeps its id."""
    former = dict(enumerate(plan_recordings(one, GAP_S)))
    wanted = plan_recordings(other, GAP_S)
    now, new = dict(former), itertools.count(1000)
    for each in rearrangements(wanted, former):
        assert each.former == {
            key: former[key] for key in former if {video.video_id for video in former[key].videos} & each.video_ids
        }
        for recording_id in each.removed:
            del now[recording_id]
        for change in each.changes:
            kept = () if change.recording_id is None else former[change.recording_id].videos[: change.first]
            assert [video.place for video in kept] == [video.place for video in change.recording.videos[: change.first]]
            now[next(new) if change.recording_id is None else change.recording_id] = change.recording
    assert sorted(now.values(), key=repr) == sorted(wanted, key=repr)
    assert all(now[key] == value for key, value in former.items() if value in wanted)


# Both nights of daylight saving: the offset that Python's own conversion gives, at any second of any film.


@pytest.mark.parametrize("night", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
@given(st.integers(0, 4 * 3600_000), st.floats(0, 4 * 3600), st.floats(0, 1))
@settings(max_examples=50)
def test_local_time_in_the_nights_of_daylight_saving(
    night: datetime, start_ms: int, duration_s: float, part: float
) -> None:
    zone, start_at = ZoneInfo("Europe/Berlin"), night + timedelta(milliseconds=start_ms)
    offset_s, changes_s, later_s = utc_offsets("Europe/Berlin", start_at, duration_s)
    t_s = part * duration_s
    used = later_s if changes_s is not None and t_s >= changes_s else offset_s
    assert used == (start_at + timedelta(seconds=t_s)).astimezone(zone).utcoffset().total_seconds()  # type: ignore[union-attr]


def test_offsets_that_are_not_known() -> None:
    assert utc_offsets(None, MIDNIGHT, 1.0) == utc_offsets("UTC", None, 1.0) == (None, None, None)
    assert utc_offsets("Nowhere/Here", MIDNIGHT, 1.0) == (None, None, None)
    assert utc_offsets("Asia/Kathmandu", MIDNIGHT, 1e300) == (20700, None, None)


# In the database


def test_an_arrangement_is_stored_and_is_stable(engine: Engine) -> None:
    for video in (filmed(3, 20), filmed(1, 0), filmed(2, 10), filmed(4, None), filmed(5, 0, camera=None)):
        add_file(engine, video)
    assert arrange(engine, GAP_S) == (3, 3)
    assert sorted(stored(engine), key=repr) == [("door", ["1", "2", "3"]), ("door", ["4"]), (None, ["5"])]
    assert arrange(engine, GAP_S) == (3, 0)
    assert list(read_recordings(engine).values()) == plan_recordings(read_filmed(engine), GAP_S)


def ids(engine: Engine) -> dict[str, int]:
    """Hash of each video's end -> its recording."""
    rows = query(engine, "SELECT sha256, recording_id FROM recording_videos JOIN videos USING (video_id)")[1]
    return {sha256.lstrip("0"): recording_id for sha256, recording_id in rows}


def test_a_recording_keeps_its_id_when_files_come_and_go(engine: Engine) -> None:
    for number in (1, 2, 4):
        add_file(engine, filmed(number, 10.0 * number))
    arrange(engine, GAP_S)
    before = ids(engine)
    assert before["1"] == before["2"] != before["4"]
    add_file(engine, filmed(3, 30))
    arrange(engine, GAP_S)
    assert stored(engine) == [("door", ["1", "2", "3", "4"])]
    assert set(ids(engine).values()) == {before["1"]}
    place_file(engine, "door/00000002.mp4", filmed(2, 20, camera="shed"))
    arrange(engine, GAP_S)
    assert stored(engine) == [("door", ["1"]), ("door", ["3", "4"]), ("shed", ["2"])]
    assert ids(engine)["1"] == before["1"]  # which need not be analysed again
    assert query(engine, "SELECT count(*) FROM recordings")[1].__next__() == (3,)


def test_a_camera_with_another_name_and_time_zone_keeps_its_recordings(engine: Engine) -> None:
    for number in (1, 2):
        add_file(engine, filmed(number, 10.0 * number))
    arrange(engine, GAP_S)
    before = ids(engine)
    for number in (1, 2):
        moved = filmed(number, 10.0 * number - 3600, camera="porch", time_zone="Europe/Berlin")
        place_file(engine, f"door/{number:08d}.mp4", moved)
    assert arrange(engine, GAP_S) == (1, 1)
    assert ids(engine) == before
    [found] = read_recordings(engine).values()
    assert (found.camera, found.time_zone, found.videos[0].utc_offset_s) == ("porch", "Europe/Berlin", 3600)


def test_files_that_are_removed_stay_and_superseded_ones_go(engine: Engine) -> None:
    for number in (1, 2):
        add_file(engine, filmed(number, 10.0 * number))
    arrange(engine, GAP_S)
    mark_gone(engine, "archive/", ["door/00000001.mp4"])
    assert arrange(engine, GAP_S) == (1, 0)
    part = query(engine, "SELECT video_id FROM videos WHERE sha256 LIKE '%2'")[1].__next__()[0]
    whole = add_file(engine, filmed(3, 20, 15.0), key="door/00000002.mp4")
    assert supersede(engine, part, whole)
    arrange(engine, GAP_S)
    assert stored(engine) == [("door", ["1", "3"])]


def test_a_video_of_no_file_is_a_recording(engine: Engine) -> None:
    add_file(engine, filmed(1, 0))
    record_unreadable(engine, RecordedFile("archive/", "door/00000001.mp4", 1, "other"), "rotten")
    arrange(engine, GAP_S)
    assert stored(engine) == [(None, ["1"])]


def test_two_processes_that_arrange_at_the_same_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one notices, and compares again."""
    for number in (1, 2):
        add_file(engine, filmed(number, 10.0 * number))
    late = rearrangements(plan_recordings(read_filmed(engine), GAP_S), read_recordings(engine))
    arrange(engine, GAP_S)
    with pytest.raises(ArrangementChangedError):
        store(engine, late)
    add_file(engine, filmed(3, 30))
    once = iter([True])

    def with_another(*arguments: object) -> None:
        if next(once, False):
            monkeypatch.undo()
            arrange(engine, GAP_S)
            add_file(engine, filmed(4, 40))
        store(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recordings, "store", with_another)
    arrange(engine, GAP_S)
    assert stored(engine) == [("door", ["1", "2", "3", "4"])]


@given(st.permutations(range(8)))
@settings(max_examples=5)
def test_any_order_of_nights_gives_the_same_recordings(order: list[int]) -> None:
    """Pure: each arrival is compared with what was stored before it."""
    files = [filmed(number, 10.0 * number + (30 if number > 5 else 0)) for number in range(8)]
    now: dict[int, Recording] = {}
    new = itertools.count()
    for count in range(1, 9):
        some = plan_recordings([files[number] for number in order[:count]], GAP_S)
        for each in rearrangements(some, now):
            for recording_id in each.removed:
                del now[recording_id]
            for change in each.changes:
                now[next(new) if change.recording_id is None else change.recording_id] = change.recording
    assert sorted(now.values(), key=repr) == sorted(plan_recordings(files, GAP_S), key=repr)
