"""Cameras and clocks of files: layouts, time zones, both nights of daylight saving, and reasons."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.site_file.clock import NOT_READ, ArchivedFile, Place, resolve, resolve_all
from tasks.site_file.layouts import LAYOUTS
from tasks.site_file.load import SiteFileError, parse_site_file
from tasks.site_file.sidecar import SidecarError, SidecarRow, read_sidecar
from tasks.site_file.spec import SiteFile


def site(cameras: str, time_zone: str = "Europe/Berlin") -> SiteFile:
    """Parse a site file with one entry of [[cameras]]."""
    return parse_site_file(Path("nightjar.toml"), f"[site]\ntime_zone = '{time_zone}'\n[[cameras]]\n{cameras}")


def utc(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, microsecond: int = 0
) -> datetime:
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)


def place(cameras: str, key: str, **known: object) -> Place:
    return resolve(site(cameras), ArchivedFile(key, **known))


# Names from public documentation and threads. Wall clocks in Berlin: UTC + 1 in winter, + 2 in summer.
IN_LAYOUTS = {
    "frigate": ("recordings/2026-03-01/22/back_door/14.07.mp4", "back_door", utc(2026, 3, 1, 22, 14, 7)),
    "unifi-protect-backup": ("Door/2026-03-01/2026-03-01T22-14-37 motion.mp4", "Door", utc(2026, 3, 1, 21, 14, 7)),
    "unifi-protect": ("Front Door - 2-9-2020, 11.21.12pm.mp4", "Front Door", utc(2020, 2, 9, 22, 21, 12)),
    "protect-archiver": ("Yard - 2020-07-09 - 23.21.12-0800.mp4", "Yard", utc(2020, 7, 10, 7, 21, 12)),
    "reolink": (
        "Mp4Record/2022-03-06/RecM01_20220306_020024_020118_6732828_2821E4C.mp4",
        None,
        utc(2022, 3, 6, 1, 0, 24),
    ),
    "reolink-ftp": ("Driveway_00_20260706020024.mp4", "Driveway", utc(2026, 7, 6, 0, 0, 24)),
    "dahua": ("2019-05-09/001/dav/21/21.04.49-21.05.14[M][0@0][0].mp4", None, utc(2019, 5, 9, 19, 4, 49)),
    "dahua-export": ("NVR_ch1_main_20230619064223_20230619064228.dav", "ch1", utc(2023, 6, 19, 4, 42, 23)),
    "brickcom": ("20140509-000500-001000_192.168.1.11-CH2.avi", "CH2", utc(2014, 5, 8, 22, 5)),
    "abus": ("ABUS_20091115_164501.avi", "ABUS", utc(2009, 11, 15, 15, 45, 1)),
    "blue-iris": ("Back Yard.20260301_221407.mp4", "Back Yard", utc(2026, 3, 1, 21, 14, 7)),
    "motioneye": ("Camera1/2026-03-01/22-14-07.mp4", "Camera1", utc(2026, 3, 1, 21, 14, 7)),
    "mediamtx": ("yard/2026-03-01_22-14-07-500000.mp4", "yard", utc(2026, 3, 1, 21, 14, 7, 500_000)),
    "shinobi": ("g/yard/2026-03-01T22-14-07.mp4", "yard", utc(2026, 3, 1, 21, 14, 7)),
    "tapo": ("1706108297-1706108310.mp4", None, utc(2024, 1, 24, 14, 58, 17)),
    "yi": ("record/2022Y03M09D15H/E123M45S67.mp4", None, utc(2022, 3, 9, 15, 23, 45)),
    "wyze": ("record/20210503/09/14.mp4", None, utc(2021, 5, 3, 7, 14)),
    "aqara": ("lumi3/20260314/173154.mp4", None, utc(2026, 3, 14, 16, 31, 54)),
    "blink": ("20221206_144408_Kitchen.mp4", "Kitchen", utc(2022, 12, 6, 13, 44, 8)),
    "ring": ("Ring_FrontDoor_202408081615.mp4", "FrontDoor", utc(2024, 8, 8, 14, 15)),
    "android": ("DCIM/Camera/VID_20191028_124338.mp4", None, utc(2019, 10, 28, 11, 43, 38)),
    "pixel": ("PXL_20250711_154426209.TS.mp4", None, utc(2025, 7, 11, 15, 44, 26, 209_000)),
    "iphone": ("IMG_6886.MOV", None, utc(2020, 12, 22, 9, 2, 49)),
    "gopro": ("GX010123.MP4", None, utc(2020, 12, 22, 8, 2, 49)),
    "dji": ("DJI_20230813102011_0008_D.MP4", None, utc(2023, 8, 13, 8, 20, 11)),
    "teslacam": ("SavedClips/2020-06-02_09-10-25/2020-06-02_09-10-05-front.mp4", "front", utc(2020, 6, 2, 7, 10, 5)),
    "blackvue": ("Record/20260715_140212_NF.mp4", "F", utc(2026, 7, 15, 12, 2, 12)),
    "70mai": ("NO20230512-143012-000123F.MP4", "F", utc(2023, 5, 12, 12, 30, 12)),
    "viofo": ("2023_0512_143012_001F.MP4", "F", utc(2023, 5, 12, 12, 30, 12)),
    "iso": ("yard/clip 2026-03-01 22.14.07 (1).mp4", None, utc(2026, 3, 1, 21, 14, 7)),
}


def test_each_layout_has_a_name_from_outside() -> None:
    assert IN_LAYOUTS.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_resolves_a_name_from_outside(layout: str) -> None:
    key, camera, start_at = IN_LAYOUTS[layout]
    name = "" if camera else "name = 'hall'\n"
    created = {"creation_time": utc(2020, 12, 22, 9, 2, 49)}
    found = place(f"{name}layout = '{layout}'", key, duration_s=30.0, **created)
    assert (found.camera, found.start_at, found.time_zone) == (camera or "hall", start_at, "Europe/Berlin")
    assert found.no_clock is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_documented_example_of_a_layout_is_one(layout: str) -> None:
    found = place(f"name = 'hall'\nlayout = '{layout}'", LAYOUTS[layout].example, creation_time=utc(2026, 1, 1, 1))
    assert found.start_at or "duration" in (found.no_clock or "")


def test_the_mark_for_summer_decides_between_the_two_times_of_a_reolink_camera() -> None:
    names = ["RecM0A_DST20261025_021129_021209_0_5514C080000000_66A92E.mp4", "RecM01_20261025_021129_021209_1_2.mp4"]
    summer, unknown = (place("name = 'a'\nlayout = 'reolink'", name) for name in names)
    assert (summer.start_at, summer.or_start_at) == (utc(2026, 10, 25, 0, 11, 29), None)
    assert (unknown.start_at, unknown.or_start_at) == (utc(2026, 10, 25, 0, 11, 29), utc(2026, 10, 25, 1, 11, 29))


ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
FORMATS = [
    "%Y-%m-%d_%H-%M-%S",
    "%y%m%d%H%M%S",
    "%Y%j-%H%M%S",
    "%d %b %Y %I.%M.%S %p",
    "%B %d, %Y %I%M%S%p",
    "%Y/%m/%d/%H/%M.%S",
    "%Y-%m-%dT%H.%M.%S%z",
    "%H%M%S_%m%d%Y_%f",
]


@given(
    st.datetimes(datetime(1971, 1, 2), datetime(2060, 1, 1)),
    st.sampled_from(ZONES),
    st.sampled_from(FORMATS),
    st.sampled_from(["start", "end"]),
)
def test_a_formatted_instant_is_resolved_within_a_second(
    naive: datetime, time_zone: str, pattern: str, is_: str
) -> None:
    instant = naive.replace(tzinfo=UTC)
    key = f"cam 7/{instant.astimezone(ZoneInfo(time_zone)).strftime(pattern)} x.MP4"
    entry = f"name = 'a'\ntime_zone = '{time_zone}'\nstart = {{ pattern = '{pattern}', in = 'path', is = '{is_}' }}"
    found = resolve(site(entry), ArchivedFile(key, duration_s=90.0))
    assert found.start_at is not None, found.no_clock
    started = instant - timedelta(seconds=90 if is_ == "end" else 0)
    close = [abs(time - started) < timedelta(seconds=1) for time in (found.start_at, found.or_start_at) if time]
    assert any(close), (found, started)


@given(st.datetimes(datetime(1971, 1, 2), datetime(2199, 1, 1)), st.sampled_from(ZONES), st.sampled_from([*LAYOUTS]))
def test_an_instant_that_a_recorder_writes_is_resolved_within_a_second(
    naive: datetime, time_zone: str, layout: str
) -> None:
    time = LAYOUTS[layout].times[-1]
    assume(time.pattern and (layout != "tapo" or naive.year in range(2002, 2285)))
    instant = naive.replace(tzinfo=UTC)
    written = instant.astimezone(ZoneInfo(time_zone if time.time_zone == "local" else time.time_zone))
    name = time.pattern.strip("^$").replace("**/", "").replace("*", "x").replace("?", "-").replace("{camera}", "cam")
    name = name.replace("%s", str(int(instant.timestamp())))
    name = "Rec" + name[3:] if layout == "reolink" else name
    found = resolve(
        site(f"name = 'a'\nlayout = '{layout}'", time_zone),
        ArchivedFile(written.strftime(name) + ".mp4", duration_s=0.0),
    )
    assert found.start_at is not None, (name, found.no_clock)
    fine = timedelta(minutes=1) if layout == "wyze" else timedelta(seconds=1)
    assert any(abs(at - instant) < fine for at in (found.start_at, found.or_start_at) if at), (found, instant)


@pytest.mark.parametrize(
    ("wall", "start_at"),
    [
        ("2026-03-29 01.59.59", utc(2026, 3, 29, 0, 59, 59)),
        ("2026-03-29 02.30.00", utc(2026, 3, 29, 1, 30)),  # shown by a clock that was not put forward: 03:30 in summer
        ("2026-03-29 03.00.00", utc(2026, 3, 29, 1)),
        ("2026-10-25 01.59.59", utc(2026, 10, 24, 23, 59, 59)),
        ("2026-10-25 02.30.00", utc(2026, 10, 25, 0, 30)),  # the first one, where nothing else is known
        ("2026-10-25 03.00.00", utc(2026, 10, 25, 2)),
    ],
)
def test_both_nights_of_daylight_saving(wall: str, start_at: datetime) -> None:
    entry = "name = 'a'\nstart = { pattern = '%Y-%m-%d %H.%M.%S' }"
    (found,) = resolve_all(site(entry), [ArchivedFile(f"{wall}.mp4", duration_s=10.0)])
    assert found.start_at == start_at


def recorded(step_s: int, zone: str, first: datetime, last: datetime, name: str) -> list[tuple[str, datetime]]:
    """Return (key, start) of files that follow each other without a gap. name: format of the local time"""
    found, number = [], 0
    while first < last:
        found.append((first.astimezone(ZoneInfo(zone)).strftime(name).replace("NNNN", f"{number:04d}"), first))
        first, number = first + timedelta(seconds=step_s), number + 1
    return found


@pytest.mark.parametrize(
    ("zone", "first"), [("Europe/Berlin", utc(2026, 10, 24, 22)), ("Australia/Lord_Howe", utc(2026, 4, 4, 12))]
)
@pytest.mark.parametrize("step_s", [10, 301, 613, 1777])
def test_films_that_follow_each_other_decide_the_hour_that_occurs_twice(
    zone: str, first: datetime, step_s: int
) -> None:
    made = recorded(step_s, zone, first, first + timedelta(hours=6), "%Y%m%d_%H%M%S")
    truth: dict[str, list[datetime]] = {}
    for key, at in made:
        truth.setdefault(key, []).append(at)
    # Recorders add a number to a name that exists.
    keys = [f"{key}{f' ({n})' if n else ''}.mp4" for key, times in truth.items() for n, _ in enumerate(times)]
    times = [at for group in truth.values() for at in group]
    entry = "name = 'a'\nstart = { pattern = '%Y%m%d_%H%M%S' }"
    found = resolve_all(site(entry, zone), [ArchivedFile(key, duration_s=float(step_s)) for key in reversed(keys)])
    assert [each.start_at for each in found] == times[::-1]


def test_running_numbers_decide_the_hour_that_occurs_twice() -> None:
    made = recorded(900, "Europe/Berlin", utc(2026, 10, 24, 22), utc(2026, 10, 25, 3), "clips/NNNN %Y%m%d_%H%M%S.mp4")
    some = [each for number, each in enumerate(made) if number % 3 != 1]
    entry = "name = 'a'\nstart = { pattern = '%Y%m%d_%H%M%S' }"
    found = resolve_all(site(entry), [ArchivedFile(key, duration_s=5.0) for key, _ in some])
    assert [each.start_at for each in found] == [at for _, at in some]


def test_the_creation_time_decides_the_hour_that_occurs_twice() -> None:
    at = utc(2026, 10, 25, 1, 30)
    entry = "name = 'a'\nstart = { pattern = '%Y%m%d_%H%M%S' }"
    for created in (at, at + timedelta(seconds=600)):  # some write the start, others the end
        file = ArchivedFile("20261025_023000.mp4", duration_s=600.0, creation_time=created)
        assert resolve_all(site(entry), [file])[0].start_at == at


def test_films_of_two_lenses_at_once_prove_nothing() -> None:
    keys = [
        f"2026-10-25_{hour:02d}-{minute:02d}-00-{lens}.mp4" for hour in (1, 2, 3) for minute in (0, 30) for lens in "ab"
    ]
    entry = "name = 'car'\nlayout = 'teslacam'"
    found = resolve_all(site(entry), [ArchivedFile(key, duration_s=1800.0) for key in keys])
    assert [each.start_at for each in found[4:8]] == [utc(2026, 10, 25, 0)] * 2 + [utc(2026, 10, 25, 0, 30)] * 2


def test_copies_of_the_same_bytes_have_the_same_time() -> None:
    files = [ArchivedFile(f"{folder}/20261025_023000.mp4", duration_s=60.0, content=7) for folder in "ab"]
    found = resolve_all(site("name = 'a'\nstart = { pattern = '%Y%m%d_%H%M%S' }"), files)
    assert {each.start_at for each in found} == {utc(2026, 10, 25, 0, 30)}


@pytest.mark.parametrize(
    ("cameras", "key", "known", "said"),
    [
        ("name = 'a'\nfiles = 'x/**'", "y/a.mp4", {}, "no glob of the site file's"),
        ("name = 'a'", "a.mp4", {}, "neither start nor layout"),
        ("name = 'a'\nlayout = 'frigate'", "a.mp4", {}, "does not match the pattern"),
        ("name = 'a'\nstart = { pattern = '%F %T' }", "2026-02-30 10:00:00.mp4", {}, "is no time: day is out of range"),
        ("name = 'a'\nstart = { pattern = '%F %T' }", "1970-01-01 00:00:08.mp4", {}, "its clock was not set"),
        ("name = 'a'\nstart = { pattern = '%F %T' }", "9999-12-31 23:59:59.mp4", {}, "its clock was not set"),
        ("name = 'a'\nstart = { in = 'creation_time' }", "a.mp4", {}, "no creation time"),
        ("name = 'a'\nstart = { in = 'creation_time' }", "a.mp4", {"creation_time_read": False}, NOT_READ),
        ("name = 'a'\nstart = { pattern = '%F %T', is = 'end' }", "2026-03-01 10:00:00.mp4", {}, "its duration"),
        ("name = 'a'\nstart = { in = 'sidecar', file = 't.csv' }", "a.mp4", {}, "not in the sidecar t.csv"),
    ],
)
def test_a_file_without_a_clock_has_a_reason(cameras: str, key: str, known: dict, said: str) -> None:
    found = place(cameras, key, **known)
    assert found.start_at is None
    assert found.clock is None
    assert said in (found.no_clock or "")


def test_without_cameras_there_is_a_reason() -> None:
    assert "no [[cameras]]" in (resolve(SiteFile(), ArchivedFile("a.mp4")).no_clock or "")


def test_the_sources_are_tried_in_their_order() -> None:
    entry = """name = 'phone'
    layout = ['pixel', 'android', 'iphone']
    start = { pattern = 'at %F %H.%M' }"""
    created = {"creation_time": utc(2026, 5, 5, 5)}
    found = [place(entry, key, **created) for key in ("at 2026-03-01 22.14.mp4", "VID_20260301_221407.mp4", "x.mp4")]
    assert [each.clock for each in found] == ["name", "path", "creation_time"]
    assert [each.start_at for each in found] == [
        utc(2026, 3, 1, 21, 14),
        utc(2026, 3, 1, 21, 14, 7),
        utc(2026, 5, 5, 5),
    ]


def test_a_creation_time_may_be_local_and_may_be_that_of_the_end() -> None:
    known = {"creation_time": utc(2026, 7, 1, 12), "duration_s": 60.5}
    starts = {
        "": utc(2026, 7, 1, 12),
        ", time_zone = 'local'": utc(2026, 7, 1, 10),
        ", time_zone = 'America/New_York'": utc(2026, 7, 1, 16),
        ", is = 'end'": utc(2026, 7, 1, 11, 58, 59, 500_000),
    }
    for more, start_at in starts.items():
        assert place(f"name = 'a'\nstart = {{ in = 'creation_time'{more} }}", "a.mp4", **known).start_at == start_at


def test_names_may_be_in_another_zone_than_the_camera() -> None:
    entry = "name = 'a'\ntime_zone = 'Asia/Tokyo'\nstart = { pattern = '%F %H', time_zone = 'UTC' }"
    found = place(entry, "2026-03-01 22.mp4")
    assert (found.start_at, found.time_zone) == (utc(2026, 3, 1, 22), "Asia/Tokyo")


def test_the_name_of_a_camera_is_made_of_named_parts() -> None:
    entry = "name = '{house}, {camera}'\nfiles = '{house}/{camera}_*/**'\nstart = { pattern = '%F %H' }"
    assert place(entry, "Villa/Tu\u0308r_7/2026-03-01 22.mp4").camera == "Villa, Tür"


def test_an_entry_may_be_of_one_archive_and_the_first_entry_counts() -> None:
    text = "name = 'a'\narchive = '/disk/**'\n[[cameras]]\nname = 'b'\n[[cameras]]\nname = 'c'"
    found = [resolve(site(text), ArchivedFile("x.mp4", archive)).camera for archive in ("/disk/cctv", "s3://b/p")]
    assert found == ["a", "b"]


@pytest.mark.parametrize(
    ("cameras", "said"),
    [
        ("layout = 'frigat'", "The layout 'frigat' is not known. Did you mean 'frigate'?"),
        ("layout = 'android'", "The key 'name' is missing."),
        ("name = '{house}'\nfiles = ['{house}/**', 'x/**']", "Nothing gives '{house}' of the name."),
        ("name = 'a'\nstart = { in = 'name' }", "The key 'pattern' is missing"),
        ("name = 'a'\nstart = { in = 'creation_time', pattern = '%s' }", "A creation time has no pattern."),
        ("name = 'a'\nstart = { in = 'sidecar' }", "The key 'file' names the CSV"),
        ("name = 'a'\nstart = { pattern = '%Y-%m-%d %I' }", "lacks the half of the day"),
        (
            "name = 'a'\nstart = { pattern = '%F %H', time_zone = 'Berlin' }",
            "start.time_zone: the time zone 'Berlin' does",
        ),
        ("name = 'a'\nstart = { pattern = '%F %H', in = 'nmae' }", "input should be 'name', 'path'"),
        ("name = 'a'\nfiles = []", "at least 1 item"),
        ("name = 'a\\u0007'", "name"),
    ],
)
def test_a_mistake_in_an_entry_is_named(cameras: str, said: str) -> None:
    cameras = cameras.replace("'a\\u0007'", '"a\\u0007"')
    with pytest.raises(SiteFileError) as error:
        site(cameras)
    assert said.lower() in str(error.value).lower()


def test_a_sidecar_gives_times_and_cameras(tmp_path: Path) -> None:
    table = tmp_path / "times.csv"
    table.write_text(
        "\ufeffFile; Time; Camera; note\n"
        "Ku\u0308che/a.mp4; 2026-07-01T12:00:00; Küche; x\n"
        "b.mp4; 2026-07-01 12:00:00.5+00:00;; y\n"
        "c.mp4; 1782907200;;\n"
        "d.mp4; yesterday;;\n"
    )
    rows = read_sidecar(table)
    entry = site("name = '{camera}'\nstart = { in = 'sidecar', file = 'times.csv' }").with_sidecars({"times.csv": rows})
    found = [resolve(entry, ArchivedFile(key)) for key in ("Küche/a.mp4", "x/b.mp4", "c.mp4", "d.mp4")]
    assert [each.start_at for each in found] == [
        utc(2026, 7, 1, 10),
        utc(2026, 7, 1, 12, 0, 0, 500_000),
        utc(2026, 7, 1, 12),
        None,
    ]
    assert [each.camera for each in found] == ["Küche", None, None, None]
    assert "'yesterday'" in (found[3].no_clock or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,at\na.mp4,1", "Name them file and time"),
        ("", "columns none"),
        ("file,time\na.mp4,2026-01-01\na.mp4,2026-01-02\n", "two times for 'a.mp4'"),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SidecarError, match=said):
        read_sidecar(tmp_path / "t.csv")


def test_a_row_of_a_sidecar_may_have_its_own_pattern() -> None:
    entry = site("name = 'a'\nstart = { in = 'sidecar', file = 't', pattern = '%d.%m.%Y %H:%M', is = 'end' }")
    entry = entry.with_sidecars({"t": {"a.mp4": SidecarRow("1.3.2026 22:14", "")}})
    assert resolve(entry, ArchivedFile("a.mp4", duration_s=60.0)).start_at == utc(2026, 3, 1, 21, 13)
