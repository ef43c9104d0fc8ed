"""Patterns of times: directives, wildcards, named parts, and impossible times."""

from datetime import UTC, datetime

import pytest

from tasks.site_file.times import NoTimeError, compile_time


@pytest.mark.parametrize(
    ("pattern", "key", "local"),
    [
        ("%Y-%m-%d_%H-%M-%S", "2026-03-01_22-14-07.mp4", datetime(2026, 3, 1, 22, 14, 7)),
        ("%Y-%m-%d_%H-%M-%S", "cam_2026-3-1_2-4-7_x.mp4", datetime(2026, 3, 1, 2, 4, 7)),
        ("%F %T", "2026-03-01 22:14:07.mkv", datetime(2026, 3, 1, 22, 14, 7)),
        ("%y%m%d%H%M%S", "260301221407.mp4", datetime(2026, 3, 1, 22, 14, 7)),
        ("%y%m%d%H%M%S", "690301221407.mp4", datetime(1969, 3, 1, 22, 14, 7)),
        ("%Y%j%H%M", "20263652214.mp4", datetime(2026, 12, 31, 22, 14)),
        ("%d %b %Y %H.%M", "1 MARCH 2026 22.14.MOV", datetime(2026, 3, 1, 22, 14)),
        ("%m-%d-%Y, %I.%M.%S%p", "Front Door - 2-9-2026, 11.21.12pm.mp4", datetime(2026, 2, 9, 23, 21, 12)),
        ("%m-%d-%Y, %I.%M.%S %p", "2-9-2026, 12.00.00 A.M..mp4", datetime(2026, 2, 9)),
        ("%Y%m%d%I%M%S%p", "20260209120000PM.mp4", datetime(2026, 2, 9, 12)),
        ("%Y%m%d_%H%M%S%f", "PXL_20260711_154426209.TS.mp4", datetime(2026, 7, 11, 15, 44, 26, 209_000)),
        ("%Y%m%d%H%M%S", "20260302235960.mp4", datetime(2026, 3, 3)),  # a leap second
        ("%Y/%m/%d/*/%Y%m%d-%H%M%S", "2026/03/01/door/20260302-000001.mp4", datetime(2026, 3, 2, 0, 0, 1)),
        ("100%% %Y-%m-%d %H", "100% 2026-03-01 22.mp4", datetime(2026, 3, 1, 22)),
        ("%Y-%m-%d/**/%H.%M", "2026-03-01/22.14.mp4", datetime(2026, 3, 1, 22, 14)),
        ("%Y-%m-%d/**/%H.%M", "2026-03-01/a/b/22.14.mp4", datetime(2026, 3, 1, 22, 14)),
        ("%H.%M.%S %Y-%m-%d.mp4", "22.14.07 2026-03-01.MP4", datetime(2026, 3, 1, 22, 14, 7)),
        ("Küche %Y-%m-%d %H", "Ku\u0308che 2026-03-01 22.mp4", datetime(2026, 3, 1, 22)),
        ("%Y-%m-%d_%H", "2026-03-01_22 [a(b]\n.mp4", datetime(2026, 3, 1, 22)),
    ],
)
def test_a_time_is_read_from_a_name(pattern: str, key: str, local: datetime) -> None:
    assert compile_time(pattern).read(key).local == local


@pytest.mark.parametrize(
    ("pattern", "key", "instant"),
    [
        ("%s", "1706108297-1706108310.mp4", datetime(2024, 1, 24, 14, 58, 17, tzinfo=UTC)),
        ("%s.%f", "door-1706108297.25-abc.mp4", datetime(2024, 1, 24, 14, 58, 17, 250_000, tzinfo=UTC)),
        ("%Q", "1706108297250.mp4", datetime(2024, 1, 24, 14, 58, 17, 250_000, tzinfo=UTC)),
        ("%FT%T%z", "2026-03-01T22:14:07+0530.mp4", datetime(2026, 3, 1, 16, 44, 7, tzinfo=UTC)),
        ("%FT%T%z", "2026-03-01T22:14:07-03:30.mp4", datetime(2026, 3, 2, 1, 44, 7, tzinfo=UTC)),
        ("%Y%m%dT%H%M%S%z", "20260301T221407Z.mp4", datetime(2026, 3, 1, 22, 14, 7, tzinfo=UTC)),
        ("%Y%m%d_%H%M%S_%Z", "20260301_221407_UTC.mp4", datetime(2026, 3, 1, 22, 14, 7, tzinfo=UTC)),
    ],
)
def test_a_time_with_its_zone_needs_no_other(pattern: str, key: str, instant: datetime) -> None:
    found = compile_time(pattern).read(key)
    assert (found.local, found.instant) == (None, instant)


def test_of_two_times_the_first_counts_and_the_last_for_an_end() -> None:
    pattern, name = compile_time("%Y%m%d%H%M%S"), "NVR_20260301120000_20260301123000.mp4"
    assert pattern.read(name).local == datetime(2026, 3, 1, 12)
    assert pattern.read(name, last=True).local == datetime(2026, 3, 1, 12, 30)


def test_an_impossible_time_is_passed_over_for_a_possible_one() -> None:
    found = compile_time("%Y%m%d%H%M%S").read("20261399101112_20260302101112.mp4")
    assert found.local == datetime(2026, 3, 2, 10, 11, 12)


def test_digits_that_go_on_are_no_time() -> None:
    pattern = compile_time("%Y%m%d_%H%M%S")
    assert pattern.read("9920260101_000000 20260302_101112.mp4").local == datetime(2026, 3, 2, 10, 11, 12)
    with pytest.raises(NoTimeError, match="does not match"):
        pattern.read("120260302_1011129.mp4")


@pytest.mark.parametrize(
    ("pattern", "key", "said"),
    [
        ("%Y-%m-%d %H", "2026-02-30 10.mp4", "day is out of range"),
        ("%Y-%m-%d %H", "2026-13-01 10.mp4", "month must be"),
        ("%Y-%m-%d %H.%M", "2026-03-01 24.00.mp4", "no 24:00:00"),
        ("%Y-%m-%d %I%p", "2026-03-01 13pm.mp4", "hour must be"),
        ("%Y-%m-%d %I%p", "2026-03-01 00am.mp4", "hour must be"),
        ("%Y %j %H", "2026 366 10.mp4", "no day 366"),
        ("%Y-%m-%d %H", "0000-03-01 10.mp4", "year 0 is out of range"),
        ("%Y-%m-%dT%H%z", "2026-03-01T10+9900.mp4", "offset must be"),
    ],
)
def test_an_impossible_time_is_a_reason(pattern: str, key: str, said: str) -> None:
    with pytest.raises(NoTimeError, match=said):
        compile_time(pattern).read(key)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("%Y-%m-%d", "lacks an hour"),
        ("%H-%M-%S", "lacks a year .%Y., a month and a day"),
        ("%Y-%m-%d %I.%M", "lacks the half of the day"),
        ("%Y-%m-%d_%H-%S", "lacks minutes"),
        ("%Y-%m-%d_%h", "'%h', which is not known. Did you mean '%H'"),
        ("%Y-%m-%d_%H%", "'%', which is not known"),
        ("* " * 13 + "%s", "wildcards"),
    ],
)
def test_a_pattern_that_cannot_be_a_time_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compile_time(pattern)


def test_named_parts_stay_in_one_element_and_are_equal_where_they_occur_twice() -> None:
    pattern = compile_time("^{camera}/{camera}.%Y%m%d_%H%M%S")
    assert pattern.read("x/Back Door/Back Door.20260301_221407.mp4").names == {"camera": "Back Door"}
    with pytest.raises(NoTimeError):
        pattern.read("Back/Front.20260301_221407.mp4")
    last = compile_time("^%Y-%m-%d_%H-%M-%S-{camera}$").read("a/2026-06-02_09-10-25/2026-06-02_09-10-05-left_side.mp4")
    assert (last.names, last.local) == ({"camera": "left_side"}, datetime(2026, 6, 2, 9, 10, 5))
