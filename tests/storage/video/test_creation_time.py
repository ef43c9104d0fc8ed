"""The creation time that a container claims: real containers, fields that were never set, and hostile text."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.sandbox.parent import Sandbox
from storage.video.containers.creation_time import creation_time
from storage.video.probe import checked_created_s, created_record, from_record, probe_record, probe_video
from tests.ffmpeg import ffmpeg
from tests.videos import make_video

AT = datetime(2026, 3, 1, 22, 14, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", frames=5)


def remuxed(film: Path, name: str, *metadata: str) -> Path:
    """Copy the film into another container with these tags."""
    path = film.with_name(name)
    tags = [part for tag in metadata for part in ("-metadata", tag)]
    ffmpeg("-y", "-i", film, "-c", "copy", "-movflags", "use_metadata_tags", *tags, path)
    return path


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("a.mp4", ["creation_time=2026-03-01T22:14:07Z"]),
        ("b.mov", ["creation_time=2026-03-01T22:14:07.000000Z"]),
        ("c.mkv", ["creation_time=2026-03-01T22:14:07Z"]),
        ("d.avi", ["date=2026-03-01 22:14:07"]),
        ("e.mov", ["creation_time=1904-01-01T00:00:00Z", "com.apple.quicktime.creationdate=2026-03-01T23:14:07+0100"]),
    ],
)
def test_the_probe_and_the_header_alone_give_the_creation_time(film: Path, name: str, tags: list[str]) -> None:
    path = remuxed(film, name, *tags)
    video, _ = from_record(probe_record(path))
    assert video.created_read
    assert video.created_s == pytest.approx(AT.timestamp(), abs=1e-3)
    assert created_record(path) == {"created_s": video.created_s}


@pytest.mark.parametrize("tags", [[], ["creation_time=1970-01-01T00:00:00Z"], ["creation_time=1904-01-01T00:00:05Z"]])
def test_a_container_without_a_creation_time_claims_none(film: Path, tags: list[str]) -> None:
    path = remuxed(film, "none.mp4", *tags)
    video, _ = probe_video(path)
    assert (video.created_read, video.created_s) == (True, None)


def test_the_header_is_read_in_the_sandbox(film: Path) -> None:
    with Sandbox() as sandbox:
        assert sandbox.call(created_record, film, cpu_s=20) == {"created_s": None}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01T22:14:07Z", AT),
        ("2026-03-01 22:14:07", AT),
        ("2026:03:01 22:14:07", AT),
        ("2026-03-01T23:14:07+0100", AT),
        ("2026-03-01T16:44:07.999999999-05:30", AT.replace(microsecond=999_999)),
        ("  2026-03-01T22:14:07 UTC", AT),
        ("0001-01-01T00:00:00+2359", None),
        ("9999-12-31T23:59:59-2359", None),
        ("1904-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00.000000Z", None),
        ("1970-12-31T23:59:59Z", None),
        ("1980-01-01T00:00:00Z", None),
        ("2001-01-01T00:00:00Z", None),  # Matroska's zero
        ("2040-02-06T06:28:15Z", None),  # 32 bits of MP4, all set
        ("2026-02-30T00:00:00Z", None),
        ("2026-03-01T25:00:00Z", None),
        ("٢٠٢٦-٠٣-٠١T٢٢:١٤:٠٧Z", None),
        ("2026-03-01T22:14:07Z" + " " * 1000 + "x", None),
        ("2026-03-01T22:14:07Z\0", None),
        ("2026", None),
        ("", None),
        ("\x1b[31m'; DROP TABLE videos", None),
    ],
)
def test_a_text_is_a_time_or_none(text: str, time: datetime | None) -> None:
    assert creation_time([{"creation_time": text}]) == time


def test_the_first_usable_time_counts() -> None:
    never, set_ = {"creation_time": "1904-01-01T00:00:00Z"}, {"CREATION_TIME": "2026-03-01T22:14:07Z"}
    assert creation_time([never, set_]) == AT
    assert creation_time([{}, never]) is None


@pytest.mark.parametrize("value", ["2026", 1e300, float("nan"), -1.0, True, [1.0]])
def test_a_sandbox_returns_seconds_or_nothing(value: object) -> None:
    with pytest.raises(ValueError, match="creation time"):
        checked_created_s(value)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("intel_car-detection.mp4", datetime(2018, 4, 19, 22, 46, tzinfo=UTC)),
        ("intel_one-by-one-person-detection.mp4", datetime(2017, 9, 26, 16, 57, 49, tzinfo=UTC)),
        ("sports2d_demo.mp4", datetime(2024, 8, 20, 17, 27, 55, tzinfo=UTC)),
        ("mmpose_demo.mp4", None),
        ("mmaction2_test.avi", None),
    ],
)
def test_the_creation_times_of_real_films(data: Path, name: str, time: datetime | None) -> None:
    """The times are those that ffprobe prints."""
    found = created_record(data / "videos" / name)["created_s"]
    assert found == (None if time is None else pytest.approx(time.timestamp(), abs=1.0))
    video, _ = probe_video(data / "videos" / name)
    assert (video.created_read, video.created_s) == (True, found)
