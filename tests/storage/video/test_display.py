"""Pictures as a player shows them: orientation, pixel aspect, crops, changes of size. ffmpeg is the oracle."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from models.types import Video
from storage.video.frames import read_frames
from storage.video.geometry import DisplayGeometry, geometry_of
from storage.video.probe import Limits, VideoError, probe_video
from tests.ffmpeg import ffmpeg
from tests.videos import make_video, number_of, numbered_picture, with_clean_aperture

FAST_VPX = {"deadline": "realtime", "cpu-used": "8"}


def picture(width: int = 128, height: int = 96) -> np.ndarray:
    """A picture with a different colour in every corner, smooth enough for any codec."""
    corners = np.array([[(250, 20, 20), (20, 220, 30)], [(30, 40, 240), (230, 230, 20)]], np.uint8)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def shown(path: Path, size: tuple[int, int] | None = None) -> tuple[Video, list[np.ndarray]]:
    """Every frame that read_frames yields."""
    video, index = probe_video(path)
    frames = list(read_frames(path, video, index, 0, video.frames, size))
    assert [frame.number for frame in frames] == list(range(video.frames))
    return video, [frame.rgb for frame in frames]


def by_ffmpeg(path: Path, width: int, height: int, filters: str = "null") -> np.ndarray:
    """The first frame as ffmpeg rotates it by itself."""
    form = ["-vf", filters, "-pix_fmt", "rgb24", "-f", "rawvideo"]
    raw = ffmpeg("-i", path, "-frames:v", "1", *form, "-")
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("aspect", [None, Fraction(2), Fraction(8, 9)])
def test_every_orientation_and_aspect_equals_ffmpegs(
    tmp_path: Path, rotation: int, mirrored: bool, aspect: Fraction | None
) -> None:
    path = tmp_path / "a.mp4"
    make_video(path, pictures=[picture()] * 2, rotation=rotation, mirrored=mirrored, pixel_aspect=aspect)
    video, frames = shown(path)
    wide = round(128 * (aspect or 1))
    assert (video.width, video.height) == ((96, wide) if rotation % 180 else (wide, 96))
    assert (video.rotation, video.mirrored, video.stored_width) == (rotation, mirrored, 128)
    oracle = by_ffmpeg(path, video.width, video.height, f"scale={video.width}:{video.height}")
    assert np.abs(frames[0].astype(int) - oracle).mean() < 2
    small = shown(path, (video.width // 2, video.height // 2))[1][0]
    assert np.abs(small.astype(int) - cv2.resize(oracle, small.shape[1::-1], interpolation=cv2.INTER_AREA)).mean() < 2


WIDE = {
    "mp4": {},
    "mkv": {},
    "ts": {},
    "flv": {},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {}},
    "mpg": {"codec": "mpeg2video", "options": {}},
    "avi": {"codec": "mpeg4", "options": {}},
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_pixels_are_shown_square_in_every_container(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / f"a.{name}", 12, pixel_aspect=Fraction(4, 3), **WIDE[name])
    video, frames = shown(path)
    assert (video.width, video.height, video.stored_width) == (round(128 * 4 / 3), 96, 128)
    assert [number_of(rgb) for rgb in frames] == list(range(12))


@pytest.mark.parametrize("name", ["webm", "mkv", "mp4"])
def test_wide_pixels_declared_by_the_container_only_are_shown_square(tmp_path: Path, name: str) -> None:
    coding = {"codec": "libvpx-vp9", "options": FAST_VPX, "b_frames": 0} if name == "webm" else {}
    plain, wide = make_video(tmp_path / f"a.{name}", 5, **coding), tmp_path / f"b.{name}"
    ffmpeg("-i", plain, "-c", "copy", "-aspect", "16:9", wide)
    assert [shown(path)[0].width for path in (plain, wide)] == [128, 171]


def test_an_aspect_declared_by_the_stream_only_is_used_in_an_mp4(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 5, pixel_aspect=Fraction(2))
    path.write_bytes(path.read_bytes().replace(b"pasp", b"free"))
    assert shown(path)[0].width == 256


def test_an_impossible_aspect_counts_as_square(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 5, pixel_aspect=Fraction(200))
    assert shown(path)[0].width == 128


def test_a_picture_too_large_only_when_displayed_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 5, pixel_aspect=Fraction(10))
    with pytest.raises(VideoError, match=r"absurd dimensions: 1280x96 as shown"):
        probe_video(path, Limits(max_pixels=100_000))


@pytest.mark.parametrize("edges", [(40, 0, 24, 0), (0, 10, 0, 22), (17, 5, 11, 3)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_clean_aperture_is_cropped(tmp_path: Path, edges: tuple[int, int, int, int], rotation: int) -> None:
    left, top, right, bottom = edges
    width, height = 128 - left - right, 96 - top - bottom
    whole = make_video(tmp_path / "whole.mp4", pictures=[picture()] * 2, rotation=rotation)
    path = with_clean_aperture(
        whole, tmp_path / "a.mp4", 2 * width, 2 * height, left - right, top - bottom, denominator=2
    )
    video, frames = shown(path)
    assert (video.crop_left, video.crop_top, video.crop_right, video.crop_bottom) == edges
    oracle = by_ffmpeg(whole, *((height, width) if rotation else (width, height)), crop_filter(edges, rotation))
    assert frames[0].shape == oracle.shape
    assert np.abs(frames[0].astype(int) - oracle).mean() < 2
    small = shown(path, (video.width // 2, video.height // 2))[1][0]
    assert np.abs(small.astype(int) - cv2.resize(oracle, small.shape[1::-1], interpolation=cv2.INTER_AREA)).mean() < 2


def crop_filter(edges: tuple[int, int, int, int], rotation: int) -> str:
    """ffmpeg's crop of the already rotated picture."""
    left, top, right, bottom = edges
    if rotation:  # clockwise: the bottom comes to the left, the left to the top
        left, top, right, bottom = bottom, left, top, right
    return f"format=rgb24,crop=iw-{left + right}:ih-{top + bottom}:{left}:{top}:exact=1"


def test_a_matroska_crop_is_applied(tmp_path: Path) -> None:
    mp4 = with_clean_aperture(make_video(tmp_path / "whole.mp4", 12), tmp_path / "a.mp4", 96, 96, 16)
    path = tmp_path / "a.mkv"
    with av.open(str(mp4)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        copied = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copied
                out.mux(packet)
    video, frames = shown(path)
    assert (video.width, video.height, video.crop_left, video.crop_right) == (96, 96, 32, 0)
    assert np.array_equal(frames[3], shown(mp4)[1][3])


def test_a_crop_of_the_whole_picture_is_ignored(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", 3)
    assert shown(with_clean_aperture(whole, tmp_path / "a.mp4", 1, 1, 500, 500))[0].width == 128
    assert shown(with_clean_aperture(whole, tmp_path / "b.mp4", 0, 0))[0].width == 128


# Sizes and shapes that change


def joined(tmp_path: Path, *parts: dict) -> Path:
    """MPEG-TS of concatenated parts of 12 frames each; `size` is the stored one of a part, the rest is coding."""
    path, data = tmp_path / "joined.ts", b""
    for number, part in enumerate(parts):
        part = dict(part)
        size = part.pop("size")
        pictures = [numbered_picture(12 * number + n, *size) for n in range(12)]
        times_s = [(12 * number + n) / 25 for n in range(12)]
        data += make_video(tmp_path / "part.ts", pictures=pictures, times_s=times_s, **part).read_bytes()
    path.write_bytes(data)
    return path


MPEG2 = {"codec": "mpeg2video", "options": {}}


def inside(rgb: np.ndarray, own: tuple[int, int]) -> np.ndarray:
    """The part of the picture that contains a frame of this shape; everything else must be grey."""
    height, width = rgb.shape[:2]
    scale = min(width / own[0], height / own[1])
    inner_width, inner_height = round(own[0] * scale), round(own[1] * scale)
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    mask = np.ones((height, width), bool)
    mask[top : top + inner_height, left : left + inner_width] = False
    assert np.all(rgb[mask] == 127)
    return rgb[top : top + inner_height, left : left + inner_width]


HEVC = {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3"}}


@pytest.mark.parametrize("coding", [{}, MPEG2, HEVC], ids=["h264", "mpeg2", "hevc"])
@pytest.mark.parametrize("second", [(96, 128), (640, 480), (64, 48), (352, 96)])
def test_a_change_of_size_loses_and_distorts_no_frame(tmp_path: Path, coding: dict, second: tuple[int, int]) -> None:
    path = joined(tmp_path, {"size": (128, 96), **coding}, {"size": second, **coding}, {"size": (128, 96), **coding})
    video, frames = shown(path)
    assert (video.width, video.height, len(frames)) == (128, 96, 36)
    assert [number_of(inside(rgb, second if 12 <= n < 24 else (128, 96))) for n, rgb in enumerate(frames)] == list(
        range(36)
    )
    assert same_in_parts(path, frames)


def same_in_parts(path: Path, frames: list[np.ndarray]) -> bool:
    """Return whether reading segment by segment gives the same pixels."""
    video, index = probe_video(path)
    cuts = [0, 7, 13, 20, 26, video.frames]
    parts = [
        frame.rgb
        for start, stop in itertools.pairwise(cuts)
        for frame in read_frames(path, video, index, start, min(stop, video.frames))
    ]
    return all(np.array_equal(part, whole) for part, whole in zip(parts, frames, strict=True))


@pytest.mark.parametrize("coding", [{}, MPEG2], ids=["h264", "mpeg2"])
@pytest.mark.parametrize("threads", [False, True])
def test_a_changing_aspect_applies_to_each_frame(
    tmp_path: Path, coding: dict, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4:3, then 16:9, then 4:3, all with the same number of pixels; B-frames delay the decoder."""
    monkeypatch.setattr("storage.video.frames._pays", lambda stream: threads)
    narrow, wide = Fraction(1), Fraction(4, 3)
    path = joined(tmp_path, *({"size": (128, 96), "pixel_aspect": each, **coding} for each in (narrow, wide, narrow)))
    video, frames = shown(path)
    assert (video.width, video.height, len(frames)) == (128, 96, 36)
    barred = [bool(np.all(rgb[0] == 127)) for rgb in frames]
    assert barred == [False] * 12 + [True] * 12 + [False] * 12
    assert [
        number_of(inside(rgb, (171, 96) if bar else (128, 96))) for rgb, bar in zip(frames, barred, strict=True)
    ] == list(range(36))
    assert same_in_parts(path, frames)


def test_a_frame_beyond_the_size_limit_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.video.frames.MAX_PIXELS", 200 * 200)
    path = joined(tmp_path, {"size": (128, 96), **MPEG2}, {"size": (640, 480), **MPEG2})
    video, index = probe_video(path)
    numbers = [frame.number for frame in read_frames(path, video, index, 0, video.frames)]
    assert numbers == list(range(12))


# The cases


ODD = ["mirror_hflip.mp4", "sar_2_1.mp4", "clap.mp4", "grow.webm", "turn_landscape_portrait.ts"]


@pytest.mark.cases
@pytest.mark.parametrize("name", ODD)
def test_a_case_matches_its_ground_truth(cases: Path, name: str) -> None:
    """All frames exist in the true size, and people's feet are where they are in the plain film."""
    path = cases / "video" / name
    truth = json.loads(path.with_name(f"{name}.truth.json").read_text())
    video, frames = shown(path)
    assert [video.width, video.height] == truth["size"]
    assert len(frames) == len(truth["truth"])
    assert geometry_of(video).size == (video.width, video.height)


def test_the_geometry_of_a_plain_video_is_the_identity(tmp_path: Path) -> None:
    assert geometry_of(probe_video(make_video(tmp_path / "a.mp4", 5))[0]) == DisplayGeometry(128, 96)
