"""Files that browsers play as they are, and the reasons for which others are converted."""

import itertools
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.video.playable import KeyPacket, reason_to_convert, sought_exactly
from storage.video.probe import probe_video
from tests.ffmpeg import ffmpeg
from tests.videos import make_video, numbered_picture, with_clean_aperture

VP8: dict[str, Any] = {"codec": "libvpx", "options": {}}
VARIABLE_S = [0.0, *itertools.accumulate([0.04, 0.1, 0.033, 0.2, 0.04, 0.5] * 4)]


def reason(path: Path) -> str | None:
    return reason_to_convert(path, *probe_video(path))


def remuxed(source: Path, target: Path, *options: str) -> Path:
    """Rewrite a film by ffmpeg without decoding it."""
    ffmpeg("-i", str(source), "-c", "copy", *options, str(target))
    return target


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {}),
        ("a.mov", {}),
        ("a.mp4", {"b_frames": 0, "times_s": VARIABLE_S}),
        ("a.mp4", {"rotation": 90}),
        ("a.mp4", {"pixel_aspect": Fraction(2)}),
        ("a.mp4", {"sound": True}),
        ("a.mp4", {"b_frames": 0, "movflags": "frag_keyframe+empty_moov"}),
        ("a.webm", VP8),
        ("a.webm", {"codec": "libvpx-vp9", "options": {}}),
        ("a.mp4", {"codec": "libvpx-vp9", "options": {}}),
    ],
)
def test_plain_files_are_played_as_they_are(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    assert reason(make_video(tmp_path / name, 25, **how)) is None


@pytest.mark.parametrize(
    ("name", "how", "why"),
    [
        ("a.avi", {"codec": "mpeg4", "options": {}}, "mpeg4 in avi"),
        ("a.mp4", {"codec": "mpeg4", "options": {}}, "mpeg4 in mov"),
        ("a.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=error"}}, "hevc in mov"),
        ("a.mpg", {"codec": "mpeg2video", "options": {}}, "mpeg2video in mpeg"),
        ("a.mkv", {}, "h264 in matroska"),
        ("a.ts", {}, "h264 in mpegts"),
        ("a.mkv", VP8, "a Matroska file that is not WebM"),
        ("a.mp4", {"mirrored": True}, "a mirrored picture"),
        ("a.mp4", {"times_s": VARIABLE_S}, "keyframes that Chromium does not find by their time"),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}, "keyframes that Chromium does not find by their time"),
    ],
)
def test_other_files_are_converted(tmp_path: Path, name: str, how: dict[str, Any], why: str) -> None:
    assert reason(make_video(tmp_path / name, 25, **how)) == why


def test_pixels_that_browsers_do_not_show_are_converted(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 5)
    for pixels in ("yuv420p10le", "yuv422p", "yuv444p"):
        target = tmp_path / f"{pixels}.mp4"
        ffmpeg("-i", str(source), "-c:v", "libx264", "-pix_fmt", pixels, str(target))
        assert reason(target) == f"{pixels} pixels"


def test_a_cropped_picture_is_converted(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 5)
    assert reason(with_clean_aperture(source, tmp_path / "b.mp4", 64, 96)) == "edges that the container cuts off"


def test_a_late_start_is_played_and_a_cut_one_converted(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 40, gop=20)
    late, cut = tmp_path / "late.mp4", tmp_path / "cut.mp4"
    for target, option, start in ((late, "-itsoffset", "1.5"), (cut, "-ss", "0.5")):
        ffmpeg(option, start, "-i", str(source), "-c", "copy", str(target))
    assert reason(late) is None
    assert reason(cut) == "frames that an edit list hides"


def test_without_an_edit_list_reordered_frames_are_converted(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 40)
    why = "keyframes that Chromium does not find by their time"
    assert reason(remuxed(source, tmp_path / "b.mp4", "-use_editlist", "0")) == why


def test_an_edit_list_with_a_cut_is_converted(tmp_path: Path) -> None:
    """Its only edit becomes two, in the room of the box of free space behind it."""
    source = make_video(tmp_path / "a.mp4", 25)
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") - 4
    entry = bytes(data[at + 16 : at + 28])
    data[at : at + 28] = struct.pack(">I4sII", 40, b"elst", 0, 2) + entry + entry
    for name in (b"edts", b"trak", b"moov"):
        box = data.index(name, data.index(b"moov")) - 4
        data[box : box + 4] = struct.pack(">I", int.from_bytes(data[box : box + 4], "big") + 12)
    target = tmp_path / "b.mp4"
    target.write_bytes(data)
    assert reason(target) == "an edit list with cuts"


def test_a_sound_that_browsers_do_not_decode_is_a_reason(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 5)
    target = tmp_path / "b.mp4"
    sound = ["-f", "lavfi", "-i", "sine=d=0.2", "-c:v", "copy", "-c:a", "ac3"]
    ffmpeg("-i", source, *sound, target)
    assert reason(target) == "sound that browsers do not play (ac3)"


@pytest.mark.parametrize("how", [VP8, {"codec": "libvpx-vp9", "options": {}}, {}])
def test_pictures_of_another_size_are_converted(tmp_path: Path, how: dict[str, Any]) -> None:
    suffix = ".webm" if how else ".ts"
    parts = [
        make_video(tmp_path / f"{width}{suffix}", pictures=[numbered_picture(n, width) for n in range(5)], **how)
        for width in (128, 160)
    ]
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"file '{part}'\n" for part in parts))
    target = tmp_path / ("joined.webm" if how else "joined.mp4")
    ffmpeg("-f", "concat", "-safe", "0", "-i", str(listing), "-c", "copy", str(target))
    assert reason(target) in ("pictures of several sizes", "a change of the codec's header")


def test_a_keyframe_may_be_decoded_as_early_as_the_first_one() -> None:
    keys = [KeyPacket(0, -80), KeyPacket(400, 320)]
    assert sought_exactly(keys, skips=True)
    assert not sought_exactly(keys, skips=False)
    assert not sought_exactly([*keys, KeyPacket(800, 719)], skips=True)
    assert sought_exactly([KeyPacket(0, 0), KeyPacket(400, 400)], skips=False)
    assert sought_exactly([], skips=False)


@pytest.mark.cases
def test_cases_are_converted_for_their_reasons(cases: Path) -> None:
    reasons = {
        "plain.mp4": None,
        "sar_2_1.mp4": None,
        "single_tick.mp4": None,
        "mirror_hflip.mp4": "a mirrored picture",
        "clap.mp4": "edges that the container cuts off",
        "grow.webm": "pictures of several sizes",
        "vfr_one_equal.webm": "damaged time stamps",
        "clock_set.mkv": "h264 in matroska",
        "turn_landscape_portrait.ts": "h264 in mpegts",
    }
    assert {name: reason(cases / "video" / name) for name in reasons} == reasons


@pytest.mark.real_data
def test_damaged_real_files_are_read_without_fault(data: Path) -> None:
    reasons = {path.name: reason(path) for path in sorted((data / "badvideo").glob("*.mov"))}
    assert set(reasons.values()) == {None}, reasons
    assert np.all([reason(data / "videos" / name) is not None for name in ("intel_asl_walk.mkv", "mmaction2_test.avi")])
