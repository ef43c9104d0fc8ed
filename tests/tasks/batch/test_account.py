"""The account of a batch, with invented ledgers on both databases, and the chart by its pixels."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from models.drawing.figures import PALE_BLUE, bgr
from models.drawing.night import MOST_LANES, WIDTH, Lane, draw_night
from storage.ledger import assignments
from storage.ledger.account import write_estimate
from storage.ledger.batches import expect_segments, finish_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import quarantine_segment, release
from storage.objects.artifacts import FolderArtifacts
from storage.sql.database import DatabaseError
from tasks.batch.account import (
    Account,
    _rows_line,
    comparable,
    device_table,
    read_account,
    share_of_best,
    throttling,
    video_table,
    visit_lines,
    visit_table,
)
from tasks.batch.report import _tables, describe_videos, print_account, quarantine_table
from tasks.browse.links import Pages
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.text.markdown import markdown_table
from tasks.text.wording import deviation, duration
from tests.storage.analysed import analyse_all
from tests.storage.samples import make_poses, make_report, make_video, must_claim, planned_batch, record_file
from tests.tasks.nights import CPU, STICK, commit, do, set_times


@pytest.fixture
def night(engine: Engine) -> Engine:
    """14 segments of 10 frames in 30 s; 25 s were estimated. pi-1 processes 9, five in a second each, four in two.
    pi-2 processes 3 and loses its stick; its CPU processes one. One is quarantined; two attempts failed."""
    video_id, _, batch_id = planned_batch(engine, make_video(frames=140), length=10)
    record_file(engine, "archive/", "yard.mp4", 1, "etag", video_id=video_id)
    record_file(engine, "elsewhere/", "a.mp4", 1, "etag", video_id=video_id)
    do(engine, batch_id, 5, "pi-1", wall_s=1.0)
    do(engine, batch_id, 4, "pi-1", wall_s=2.0)
    do(engine, batch_id, 2, "pi-2", wall_s=0.5)
    release(engine, must_claim(engine, batch_id), "the stick is gone")
    lost = assignments.create(engine, batch_id)
    assignments.grant(engine, lost, "pi-2", STICK, 1, lease_s=60)
    assignments.end(engine, lost.assignment_id, "lost", "MYRIAD was lost")
    never = assignments.create(engine, batch_id)
    assignments.end(engine, never.assignment_id, "lost", "its run never started")
    do(engine, batch_id, 1, "pi-2", wall_s=4.0, device=CPU)
    quarantine_segment(engine, must_claim(engine, batch_id), "rotten")
    again = must_claim(engine, batch_id)
    commit(engine, again, "pi-2", 0.5)
    write_estimate(engine, batch_id, 25.0)
    finish_batch(engine, batch_id)
    ends = [*range(2, 7), 8, 10, 12, 14, 3, 4, *sorted(range(5, 8))]
    set_times(engine, batch_id, 0, 0, [float(end) for end in ends], 30)
    with engine.begin() as connection:
        connection.execute(text("UPDATE assignments SET ended_at = '2026-11-24T01:00:09.500Z'"))
    return engine


def test_each_device_has_its_frames_speed_retries_and_losses(night: Engine) -> None:
    account = read_account(night)
    rows = {row["device"]: row for row in device_table(account)}
    assert set(rows) == {"pi-1/MYRIAD", "pi-2/MYRIAD", "pi-2/CPU"}
    numbers = {who: (row["frames"], row["frames/s"], row["segments"], row["lost"]) for who, row in rows.items()}
    assert numbers == {
        "pi-1/MYRIAD": (90, 6.9, 9, 0),
        "pi-2/MYRIAD": (30, 20.0, 3, 1),
        "pi-2/CPU": (10, 2.5, 1, 0),
    }
    assert sum(row["retries"] for row in rows.values()) == 2, "one was released, one belonged to the lost run"
    assert rows["pi-1/MYRIAD"]["retries"] == 0
    assert rows["pi-1/MYRIAD"]["throttling"] == "throttled from 01:00 UTC: 5.0 frames/s, before 10.0 frames/s"
    assert account.throttling["pi-1", STICK].began_s == pytest.approx(6.0, abs=0.01)
    assert list(account.throttling) == [("pi-1", STICK)]


def test_losses_are_reported_with_their_reason(night: Engine) -> None:
    assert sorted(read_account(night).lost_lines()) == [
        "01:00 UTC, a run without a device: its run never started",
        "01:00 UTC, pi-2: MYRIAD was lost",
    ]


def test_each_video_is_listed_under_its_name_in_this_archive(night: Engine) -> None:
    [row] = video_table(read_account(night))
    assert row == {
        "video": "yard.mp4",
        "people": 0,
        "frames": 130,
        "frames/s": pytest.approx(130 / 18.5, abs=0.05),
        "in quarantine": 1,
    }
    assert list(row)[:2] == ["video", "people"], "the most important columns are first"


def test_tables_have_at_most_seven_columns(night: Engine) -> None:
    account = read_account(night)
    worst = account.videos[0]._replace(frames_undecodable=3, segments=20)
    faulty = dataclasses.replace(account, videos=[worst])
    assert len(video_table(faulty)[0]) == 7
    assert len(device_table(account)[0]) == 7


def test_people_and_the_longest_stay_are_reported_per_video(night: Engine) -> None:
    """Two people, by the tracks of `analyse_all`, in all done segments of the video."""
    assert visit_lines(read_account(night)) == {}
    assert visit_table(read_account(night)) == []
    analyse_all(night)
    account = read_account(night)
    [row] = visit_table(account)
    assert (row["people seen"], row["video"]) == (2, "yard.mp4")
    assert 5 < row["longest stay, s"] <= 5.6
    assert visit_lines(account)["seen"].startswith("2 tracks of at least 1 s, the longest stay 5.")
    [video] = describe_videos(Site(Settings(), night, FolderArtifacts(Path("unused"))), account)
    assert (video["people seen"], video["longest stay, s"]) == (2, row["longest stay, s"])


def test_times_are_shown_in_the_sites_time_zone(
    night: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = read_account(night, zone=ZoneInfo("Asia/Kolkata"))
    assert account.throttling_text(account.devices[0]).startswith("throttled from 06:30 IST")
    print_account(Site(Settings(), night, FolderArtifacts(tmp_path)), account)
    assert "2026-11-24 06:30 IST to 2026-11-24 06:30 IST" in capsys.readouterr().out
    assert np.any(account.chart() != read_account(night).chart()), "the axis of the chart, too"


def test_the_time_axis_survives_a_change_of_clocks() -> None:
    """In Berlin, the hour from two to three occurs twice on 25 October 2026."""
    begun = datetime(2026, 10, 25, 0, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    one = lane("a", [30.0] * 10)
    assert draw_night("n", begun, 6 * 3600.0, [one]).shape == draw_night("n", STARTED, 6 * 3600.0, [one]).shape


def test_results_are_reported_with_the_change_since_the_previous_batch(engine: Engine) -> None:
    """Ten seconds of film with two people in each frame; then twenty with one."""
    for number, (frames, people) in enumerate(((250, 2), (500, 1))):
        video = make_video(f"{number:064x}", frames)
        video_id, _, batch_id = planned_batch(engine, video, length=frames)
        record_file(engine, "archive/", f"cam{number}.mp4", 1, "etag", video_id=video_id)
        poses = make_poses(0, frames, people)
        assert commit_segment(engine, must_claim(engine, batch_id), poses, make_report(frames))
        finish_batch(engine, batch_id)
        set_times(engine, batch_id, 0, 0, [10.0], 10.0)
    lines = read_account(engine, batch_id).found_lines()
    assert lines["people"] == "500 rows, one per person per frame"
    assert lines["film"] == "20 s"
    assert lines["most"] == "1 in view at 0:00 of cam1.mp4"
    assert lines["change"].startswith(
        "video length +100 %, people per hour of video -50 %, speed +100 % compared with batch 1 of 2026-"
    )
    first = read_account(engine, batch_id - 1).found_lines()
    assert (first["most"], "change" in first) == ("2 in view at 0:00 of cam0.mp4", False)


def test_reasons_of_the_quarantine_are_counted() -> None:
    refused = [{"key": key, "reason": why} for key, why in (("a", "empty"), ("b", "no video"), ("c", "no video"))]
    assert quarantine_table(refused) == [
        {"count": 2, "for example": "b", "reason": "no video"},
        {"count": 1, "for example": "a", "reason": "empty"},
    ]


@pytest.mark.parametrize("name", ["PCK@0.2", "cam@yard.mp4"])
def test_a_cell_never_becomes_a_mail_link(name: str) -> None:
    assert "\\@" in markdown_table([{"name": name}])
    assert "@" not in markdown_table([{"name": name}]).replace("\\@", "")


def test_the_error_of_the_estimate_is_reported(night: Engine) -> None:
    account = read_account(night)
    assert account.time_line() == "took 30 s, 20 % longer than estimated (25 s)"
    with night.begin() as connection:
        connection.execute(text("UPDATE batches SET estimated_s = NULL"))
    assert read_account(night).time_line() == "took 30 s; not estimated, as no device was measured before"


def test_running_and_missing_batches_are_reported(engine: Engine) -> None:
    with pytest.raises(DatabaseError, match=r"There is no such batch\. Run 'nightjar run"):
        read_account(engine)
    _, _, batch_id = planned_batch(engine, make_video())
    account = read_account(engine)
    assert account.time_line().startswith("running for ")
    assert (account.batch.batch_id, account.counts.missing, account.devices) == (batch_id, 5, [])


def test_results_of_later_nights_do_not_change_the_account(night: Engine) -> None:
    """The numbers are from the batch's end."""
    before = read_account(night)
    with night.begin() as connection:
        connection.execute(text("UPDATE segments SET batch_id = NULL WHERE status = 'quarantined'"))
        connection.execute(
            text("UPDATE segments SET status = 'planned', finished_at = NULL WHERE status = 'quarantined'")
        )
    assert read_account(night).counts == before.counts
    assert before.counts.quarantined == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.42, "0.4 s"),
        (48.2, "48 s"),
        (59.7, "1 min"),
        (750, "12 min 30 s"),
        (3599.6, "1 h"),
        (9620, "2 h 40 min"),
        (86400, "24 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("took_s", "words"),
    [
        (107, "7 % longer"),
        (93, "7 % shorter"),
        (100.2, "as long as"),
        (260, "2.6 times as long as"),
        (10, "90 % shorter"),
    ],
)
def test_deviations_in_words(took_s: float, words: str) -> None:
    assert deviation(took_s, 100) == f"{words}{'' if words.endswith('as') else ' than'} estimated"


def test_a_workers_text_cannot_control_terminal_or_markdown(
    night: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with night.begin() as connection:
        connection.execute(text("UPDATE assignments SET reason = :words"), {"words": "gone\x1b[2J\n| <img src=x> |"})
    account = read_account(night)
    print_account(Site(Settings(), night, FolderArtifacts(tmp_path)), account)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert [line for line in printed.splitlines() if line.startswith("lost")] == [
        "lost      01:00 UTC, pi-2: gone\\x1b[2J\\n| <img src=x> |",
        "lost      01:00 UTC, a run without a device: gone\\x1b[2J\\n| <img src=x> |",
    ]
    table = "\n".join(_tables(account, Pages("http://127.0.0.1:4270")))
    assert "\\<img src=x\\>" in table
    assert "<img" not in table.replace("\\<img", "")


# Throttling


def slowed(
    speeds: Sequence[float], frames: int = 900
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
    """Consecutive segments with these numbers of frames and speeds: begun_s, frames, frames_per_s."""
    each = np.asarray(speeds, np.float64)
    begun = np.concatenate([[0.0], np.cumsum(frames / each)])[:-1]
    return begun, np.full(len(each), frames, np.int32), each


@given(st.lists(st.floats(26, 36), max_size=60))
def test_a_device_that_keeps_its_speed_does_not_throttle(speeds: list[float]) -> None:
    assert throttling(*slowed(speeds)) is None


@given(st.integers(3, 30), st.integers(3, 30), st.floats(3, 19))
def test_throttling_begins_with_the_first_slow_segment(cool: int, hot: int, hot_fps: float) -> None:
    begun, frames, speeds = slowed([30.0] * cool + [hot_fps] * hot)
    found = throttling(begun, frames, speeds)
    assert found is not None
    assert found == pytest.approx((begun[cool], hot_fps, 30.0))


@pytest.mark.parametrize(
    "speeds",
    [
        [30.0] * 8 + [4.0] + [30.0] * 8,  # a single slow segment
        [10.0] * 3 + [30.0] * 9,  # a slow start
        [30.0, 30.0, 10.0, 10.0],  # too few to tell
        [],
    ],
)
def test_a_single_slow_segment_is_no_throttling(speeds: list[float]) -> None:
    assert throttling(*slowed(speeds)) is None


def test_short_segments_at_a_videos_end_are_no_throttling() -> None:
    begun, frames, speeds = slowed([30.0, 12.0] * 10)
    frames[1::2] = 100
    assert throttling(begun, frames, speeds) is None


def film_night(engine: Engine, films: Sequence[tuple[int, Sequence[float]]], device: str) -> Account:
    """A batch of consecutive films on one device. films: a picture width and the segments' frames/s of each."""
    batch_id, ends, now = 0, [], 0.0
    for number, (width, speeds) in enumerate(films):
        video = dataclasses.replace(make_video(f"{number:064x}", 100 * len(speeds)), width=width)
        video_id, _, own = planned_batch(engine, video, length=100)
        batch_id = batch_id or own
        if number:
            expect_segments(engine, batch_id, [video_id], files_listed=1, files_quarantined=0)
        for speed in speeds:
            do(engine, batch_id, 1, "pi-1", wall_s=100 / speed, device=device)
            now += 100 / speed
            ends.append(now)
    finish_batch(engine, batch_id)
    set_times(engine, batch_id, 0, 0, ends, ends[-1])
    return read_account(engine, batch_id)


FAST, SLOW = [100.0] * 6, [50.0] * 6


@pytest.mark.parametrize(
    ("films", "device"),
    [
        ([(640, FAST), (1920, SLOW)], STICK),  # a larger picture takes longer to decode
        ([(640, FAST), (640, SLOW)], STICK),  # another film, with more people
        ([(640, FAST + SLOW)], CPU),  # other programs use the CPU, too
        ([(640, [100.0])] * 6 + [(1920, [50.0])] * 6, STICK),  # clips of two cameras
    ],
)
def test_other_films_and_a_cpus_other_work_are_no_throttling(
    engine: Engine, films: list[tuple[int, Sequence[float]]], device: str
) -> None:
    account = film_night(engine, films, device)
    assert account.throttling == {}
    assert len(account.spans.lane) == 12


@pytest.mark.parametrize(
    ("films", "began_s"),
    [
        ([(640, FAST + SLOW)], 6.0),
        ([(640, FAST), (1920, [60.0] * 6 + [30.0] * 6)], 16.0),
        ([(640, [100.0])] * 6 + [(640, [50.0])] * 6, 6.0),  # one camera's clips, too short to be compared within
    ],
)
def test_a_stick_that_slows_within_its_films_throttles(
    engine: Engine, films: list[tuple[int, Sequence[float]]], began_s: float
) -> None:
    account = film_night(engine, films, "MULTI:MYRIAD.1.1-ma2480,MYRIAD.1.2-ma2480")
    [found] = account.throttling.values()
    assert found.began_s == pytest.approx(began_s, abs=0.02)


def test_bars_are_coloured_by_comparison_with_similar_films() -> None:
    film, kind = np.repeat([1, 2, 3, 4], [6, 6, 1, 1]).astype(np.int32), np.repeat([0, 1, 1, 1], [6, 6, 1, 1])
    speeds = np.array([*FAST, *SLOW, 40.0, 20.0])
    share = share_of_best(speeds, comparable(film, kind.astype(np.int32)))
    assert share == pytest.approx([1.0] * 12 + [40 / 39, 20 / 39])


# The chart


def lane(label: str, speeds: Sequence[float], retried: int | None = None, lost_s: Sequence[float] = ()) -> Lane:
    begun, frames, each = slowed(speeds)
    attempt = np.ones(len(each), np.int32)
    if retried is not None:
        attempt[retried] = 2
    share = share_of_best(each, np.zeros(len(each), np.int64))
    return Lane(label, "MYRIAD", begun, begun + frames / each, each, share, attempt, lost_s)


STARTED = datetime(2026, 11, 24, 1, 0, 12, tzinfo=UTC)


def draw(*lanes: Lane, took_s: float = 600.0) -> NDArray[np.uint8]:
    return draw_night("batch 1", STARTED, took_s, lanes)


def bars(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(columns,) blue minus red in the middle of the first lane: positive is fast, negative is slow."""
    y = 130 + 300 + 80 + 56 // 2
    row = picture[y, 305 : WIDTH - 55].astype(np.int64)
    return row[:, 0] - row[:, 2]


def test_the_chart_shows_which_device_throttled_and_when() -> None:
    tones = bars(draw(lane("pi-1", [30.0] * 10 + [10.0] * 3), took_s=570.0))
    middle = len(tones) * 300 // 570
    assert np.median(tones[: middle - 20]) > 50
    assert np.median(tones[middle + 20 :]) < -50


def test_the_curve_contains_all_frames() -> None:
    """Only where a device works: five segments fill 150 of the 600 seconds, ten 300."""
    area = bgr(PALE_BLUE)
    one, idle = draw(lane("a", [30.0] * 10)), draw(lane("a", [30.0] * 5))
    inside = lambda picture: np.all(picture[130:430, 310:1540] == area, axis=2)  # noqa: E731
    assert inside(idle)[:, :290].mean() > 0.65
    assert inside(idle)[:, 320:].mean() == 0
    assert inside(one)[:, 320:600].mean() > 0.65
    assert inside(one)[:, 640:].mean() == 0


def test_retries_and_losses_are_marked() -> None:
    plain = draw(lane("pi-1", [30.0] * 10))
    retried, lost = draw(lane("pi-1", [30.0] * 10, retried=4)), draw(lane("pi-1", [30.0] * 10, lost_s=[200.0]))
    assert np.any(plain[:600] != retried[:600])
    assert np.any(plain[:600] != lost[:600])


@pytest.mark.parametrize(("lanes", "took_s"), [(0, 0.0), (1, 0.5), (3, 40.0), (MOST_LANES + 5, 50_000.0)])
def test_any_night_can_be_drawn(lanes: int, took_s: float) -> None:
    """No device, an instant, fourteen hours; names with letters beyond ASCII, and long ones."""
    picture = draw(*(lane(f"Küche {'x' * number}", [30.0] * 5) for number in range(lanes)), took_s=took_s)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    assert picture.shape[0] < 3000


def test_the_chart_has_one_lane_per_device(night: Engine) -> None:
    account: Account = read_account(night)
    picture = account.chart()
    assert picture.shape[0] == draw(*[lane("a", [1.0])] * 3).shape[0]
    assert account.chart_key() == f"batches/{account.batch.batch_key}/night.png"


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("posenet-075", "try movenet-multipose ('nightjar convert movenet-multipose')"),
        ("movenet-multipose", "convert movenet-multipose with a larger --size"),
    ],
)
def test_a_batch_without_people_suggests_a_better_model(model: str, remedy: str) -> None:
    lines = _rows_line(0, "pose", model)
    assert lines["people"] == f"{model} found nobody in any frame. If people are in the videos, {remedy}"
    assert _rows_line(7, "pose", model) == {"people": "7 rows, one per person per frame"}
    assert _rows_line(0, "classification", model) == {"labels": "0 rows, one per processed frame"}
