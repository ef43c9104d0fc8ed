"""Probing and reading: undamaged videos are exact to the pixel in any segmentation; bad ones give a reason."""

import errno
import itertools
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from models.files import sha256_of
from models.types import AttemptError, FrameIndex, Video
from storage.video import probe as video_module
from storage.video.containers.completeness import tells_its_end
from storage.video.frame_index import demux as demux_packets
from storage.video.frames import open_container, read_frames
from storage.video.geometry import DisplayGeometry
from storage.video.pixels import to_rgb
from storage.video.probe import Limits, VideoError, from_record, probe_record, probe_video
from storage.video.regular_file import open_regular
from tests.ffmpeg import ffmpeg
from tests.videos import cut, damage, make_sound, make_video, number_of, numbered_picture, patched

MPEG4 = {"codec": "mpeg4", "options": {}}
OPEN_GOP = {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
REFRESH = {"preset": "veryfast", "x264-params": "intra-refresh=1:keyint=10:bframes=0"}
HEVC = {"preset": "ultrafast", "x265-params": "open-gop=1:bframes=3:log-level=none:keyint=10"}
FAST_VPX = {"deadline": "realtime", "cpu-used": "8"}
FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof"
SOUND_VIDEOS = {
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "fragmented.mp4": {"movflags": FRAGMENTED},
    "sound.mp4": {"sound": True},
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "intra_refresh.mkv": {"options": REFRESH},
    "hevc_open_gop.mp4": {"codec": "libx265", "options": HEVC},
    "mpeg4.avi": {"codec": "mpeg4", "options": {}},
    "mpeg4_no_b.avi": {"codec": "mpeg4", "options": {}, "b_frames": 0},
    "mjpeg.avi": {"codec": "mjpeg", "options": {}, "b_frames": 0},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {}},
    "wmv2.wmv": {"codec": "wmv2", "options": {}, "b_frames": 0},
    "vp8.webm": {"codec": "libvpx", "options": FAST_VPX, "b_frames": 0},
    "vp9.webm": {"codec": "libvpx-vp9", "options": FAST_VPX, "b_frames": 0},
    "mpeg2.mxf": {"codec": "mpeg2video", "options": {}},
    "vp8.ivf": {"codec": "libvpx", "options": FAST_VPX, "b_frames": 0},
    "bare.h264": {},
    "bare.hevc": {"codec": "libx265", "options": HEVC},
    "bare.m2v": {"codec": "mpeg2video", "container": "mpeg2video", "options": {}},
    "mpeg2.mod": {"codec": "mpeg2video", "container": "vob", "options": {}},
    "h264.m2t": {"container": "mpegts"},
    "h264.qt": {"container": "mov"},
}


def in_parts(path: Path, video: Video, index: FrameIndex, cuts: list[int]) -> dict[int, np.ndarray]:
    """The frames read segment by segment; a segment without any counts as none."""
    frames: dict[int, np.ndarray] = {}
    for start, stop in itertools.pairwise(cuts):
        try:
            for frame in read_frames(path, video, index, start, stop, (90, 62)):
                assert start <= frame.number < stop
                assert frame.number not in frames
                assert frame.t_s == index.timestamps_s[frame.number]
                frames[frame.number] = frame.rgb
        except VideoError:
            continue
    return frames


def assert_same_in_any_parts(path: Path, video: Video, index: FrameIndex, parts: tuple[int, ...] = (3, 10)) -> None:
    whole = in_parts(path, video, index, [0, video.frames])
    by_keyframe = [*index.keyframes.tolist()[:12], video.frames]
    for cuts in [np.unique(np.linspace(0, video.frames, n + 1).astype(int)).tolist() for n in parts] + [by_keyframe]:
        pieces = in_parts(path, video, index, cuts)
        assert pieces.keys() == whole.keys()
        assert [number for number, rgb in pieces.items() if not np.array_equal(rgb, whole[number])] == []


def decoded_count(path: Path) -> int:
    """Frames of a full decode: the ground truth for probing."""
    count = 0
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            try:
                count += len(packet.decode())
            except av.error.FFmpegError:
                continue
    return count


@pytest.mark.parametrize("name", SOUND_VIDEOS)
def test_every_frame_has_its_number_in_any_number_of_segments(tmp_path, name):
    path = make_video(tmp_path / name, 60, **SOUND_VIDEOS[name])
    video, index = probe_video(path)
    assert video.frames == decoded_count(path) == 60
    assert [number_of(frame.rgb) for frame in read_frames(path, video, index, 0, 60)] == list(range(60))
    assert_same_in_any_parts(path, video, index)
    assert index.keyframes[0] == 0
    assert np.allclose(np.diff(index.timestamps_s), 1 / 25, atol=0.0011)  # Matroska and FLV round to milliseconds
    assert video.fps == pytest.approx(25, rel=0.02)


def test_keyframes_are_those_where_decoding_can_start(tmp_path):
    assert len(probe_video(make_video(tmp_path / "a.mp4", options=OPEN_GOP))[1].keyframes) == 6
    assert probe_video(make_video(tmp_path / "b.mkv", options=REFRESH))[1].keyframes.tolist() == [0]


def test_variable_times_are_kept(tmp_path):
    times_s = [0.0, 0.04, 0.5, 0.51, 2.0, 2.04, 7.0]
    path = make_video(tmp_path / "vfr.mp4", times_s=times_s, pictures=[numbered_picture(n) for n in range(7)])
    video, index = probe_video(path)
    assert index.timestamps_s == pytest.approx(times_s, abs=1e-4)
    assert [frame.number for frame in read_frames(path, video, index, 2, 5)] == [2, 3, 4]
    assert video.duration_s >= 7.0


def test_an_avi_with_b_frames_begins_at_0(tmp_path):
    """AVI has no times of its own: those that FFmpeg invents begin with the decoder's delay."""
    index = probe_video(make_video(tmp_path / "a.avi", codec="mpeg4", options={}))[1]
    assert index.timestamps_s == pytest.approx(np.arange(60) / 25)


@pytest.mark.parametrize("coding", [{}, {"b_frames": 0}, MPEG4, {"codec": "mjpeg", "options": {}, "b_frames": 0}])
def test_skipped_frames_of_an_avi_leave_a_gap(tmp_path, coding):
    """AVI has a constant rate and stores a skipped frame as an empty packet."""
    times_s = [number / 25 + 0.4 * (number >= 20) + (number >= 40) for number in range(60)]
    video, index = probe_video(make_video(tmp_path / "a.avi", 60, times_s=times_s, **coding))
    assert index.timestamps_s == pytest.approx(times_s)
    assert video.duration_s == pytest.approx(times_s[-1] + 0.04)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_video_is_shown_as_players_show_it(tmp_path, rotation):
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:32, :48] = (250, 20, 20)
    path = make_video(tmp_path / "rotated.mp4", pictures=[picture] * 3, rotation=rotation)
    video, index = probe_video(path)
    shown = next(read_frames(path, video, index, 0, 1)).rgb
    corner = {0: (5, 5), 90: (5, -5), 180: (-5, -5), 270: (-5, 5)}[rotation]
    assert shown.shape == (video.height, video.width, 3) == ((128, 96, 3) if rotation % 180 else (96, 128, 3))
    assert shown[corner] == pytest.approx([250, 20, 20], abs=12)
    opencv = cv2.VideoCapture(str(path)).read()[1]
    assert np.array_equal(shown, opencv[:, :, ::-1])
    small = next(read_frames(path, video, index, 0, 1, (video.width // 2, video.height // 2))).rgb
    assert np.abs(small.astype(int) - cv2.resize(shown, small.shape[1::-1])).mean() < 1


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p10le", "gray", "rgb24", "nv12"])
@pytest.mark.parametrize("colorspace", [1, 5, 9])
def test_downscaled_pictures_keep_their_colours(pix_fmt, colorspace):
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8), (0, 0), 6)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format=pix_fmt, dst_colorspace=colorspace, dst_color_range=2 if pix_fmt == "yuvj420p" else 1
    )
    frame.colorspace = colorspace
    expected = cv2.resize(frame.to_ndarray(format="rgb24"), (50, 40), interpolation=cv2.INTER_LINEAR)
    difference = np.abs(to_rgb(frame, (50, 40), DisplayGeometry(128, 96)).astype(int) - expected)
    assert difference.mean() < 1.6
    assert difference.max() < 12


@pytest.mark.parametrize(("name", "coding", "skip"), [("a.mp4", {}, 0), ("m.mp4", MPEG4, 24), ("m.avi", MPEG4, 20)])
@pytest.mark.parametrize("packet", [25, 20, 56, 2, 58])
def test_a_damaged_frame_is_missing_from_any_segmentation(tmp_path, name, coding, skip, packet):
    path = damage(make_video(tmp_path / name, 60, **coding), tmp_path / f"damaged_{name}", packet, skip=skip)
    video, index = probe_video(path)
    assert video.frames == 60
    assert_same_in_any_parts(path, video, index)
    assert 50 <= len(in_parts(path, video, index, [0, 60])) <= 60 - (packet in (25, 20, 56))  # some damage is concealed


def test_an_undecodable_segment_is_an_error(tmp_path):
    path = make_video(tmp_path / "a.mp4", 30, b_frames=0)
    for packet in range(10, 20):
        path = damage(path, tmp_path / "a.mp4", packet)
    video, index = probe_video(path)
    with pytest.raises(VideoError, match="None of the frames 10 to 19 can be decoded"):
        list(read_frames(path, video, index, 10, 20))
    assert len(list(read_frames(path, video, index, 0, 30))) == 20


def test_a_file_that_changed_since_it_was_probed_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mp4", 10)
    video, index = probe_video(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(AttemptError, match=r"changed since it was probed, from \d+ to \d+ bytes"):
        list(read_frames(path, video, index, 0, 10))


def at_first_packets(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Run an action in the middle of a probe, between the hash and the demuxing."""

    def demux(*arguments: object) -> object:
        happen()
        return packets(*arguments)

    packets: Callable[..., Any] = demux_packets
    monkeypatch.setattr(video_module, "demux", demux)


def test_a_file_touched_while_it_is_read_is_the_same_video(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", 10)
    expected = probe_video(path)[0]
    at_first_packets(monkeypatch, lambda: os.utime(path, (1, 1)))
    assert probe_video(path)[0] == expected


@pytest.mark.parametrize("how", ["grows", "overwritten", "cut"])
def test_a_file_that_changes_while_it_is_read_is_a_failed_attempt(tmp_path, monkeypatch, how):
    """An overwritten file cannot be demuxed, which is not a fault of the new video."""
    path = make_video(tmp_path / "a.mp4", 10)
    data = path.read_bytes()
    later = {"grows": data + b"more", "overwritten": data[:40] + bytes(len(data) - 40), "cut": data[:1000]}[how]

    def change() -> None:
        with path.open("r+b") as file:
            file.write(later)
            file.truncate()

    at_first_packets(monkeypatch, change)
    with pytest.raises(AttemptError, match="changed while it was read"):
        probe_video(path)
    path.write_bytes(data)
    monkeypatch.undo()
    assert probe_video(path)[0].frames == 10


@pytest.mark.parametrize("unreadable", [True, False])
def test_an_io_error_counts_for_the_disk_only_if_a_read_fails(tmp_path, monkeypatch, unreadable):
    """FFmpeg reports the same for some damaged files: reading the bytes distinguishes them."""
    path = make_video(tmp_path / "a.mp4", 10)
    reads = iter([sha256_of, fail_to_read if unreadable else sha256_of])
    monkeypatch.setattr("storage.video.regular_file.sha256_of", lambda file, _count: next(reads)(file))

    def fail() -> None:
        raise av.error.OSError(errno.EIO, "Input/output error")

    at_first_packets(monkeypatch, fail)
    expected, words = (AttemptError, "cannot be read") if unreadable else (av.error.OSError, "Input/output error")
    with pytest.raises(expected, match=words):
        probe_video(path)


def fail_to_read(file: object) -> str:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv", "a.mpg", "a.mxf", "fragmented.mp4"])
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.97])
def test_a_truncated_file_is_refused(tmp_path, name, keep):
    codec = {"a.mpg": "mpeg1video", "a.avi": "mpeg4", "a.mxf": "mpeg2video"}.get(name, "libx264")
    options: dict[str, str] | None = {} if codec != "libx264" else None
    whole = make_video(tmp_path / name, codec=codec, options=options, movflags=FRAGMENTED if "frag" in name else "")
    part = cut(whole, tmp_path / f"part_{name}", keep)
    part.write_bytes(part.read_bytes()[: -1 if part.stat().st_size % 188 == 0 else None])
    with pytest.raises(VideoError, match=r"truncated: it has \d+ bytes.*Copy it again"):
        probe_video(part)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_an_unfinished_copy_into_reserved_space_is_refused(tmp_path, name):
    """Its length is right, and the rest is zeros. Zeros after a complete file are a different case."""
    whole = make_video(tmp_path / name, 60, options={"preset": "ultrafast", "crf": "1"}).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(VideoError, match=r"truncated: there are only zeros before byte \d+.*Copy it again"):
        probe_video(tmp_path / name)
    (tmp_path / name).write_bytes(whole + bytes(100_000))
    assert probe_video(tmp_path / name)[0].frames == 60


def test_an_index_that_points_beyond_the_end_is_refused(tmp_path):
    whole = make_video(tmp_path / "a.mp4", movflags="+faststart")
    data = whole.read_bytes()
    mdat = data.index(b"mdat") - 4
    kept = data[mdat : mdat + (len(data) - mdat) // 2]
    whole.write_bytes(data[:mdat] + struct.pack(">I", len(kept)) + kept[4:])  # boxes in order, samples gone
    with pytest.raises(VideoError, match=r"truncated: .* its index points to byte"):
        probe_video(whole)


NOT_VIDEOS = {
    "empty (0 bytes)": b"",
    "a JPEG picture": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(300),
    "a playlist or description that names other files": b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n",
    "that names other files": b"ffconcat version 1.0\nfile 'secret.mp4'\n",
    "names other files": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "a text file": b"this is a bad video\n",
    "nothing but zero bytes": bytes(5000),
    "unknown data": bytes(range(255, 0, -1)),
    "a HEIF or AVIF picture": b"\x00\x00\x00\x18ftypheic" + bytes(200),
    "a WAV sound file": b"RIFF\x00\x01\x00\x00WAVEfmt " + bytes(200),
    "lack the index": b"\x00\x00\x00\x18ftypmp42" + b"\xaa" * 500,
    "0 bytes|truncated": b"\x00\x00\x01\xba",
    "truncated": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
}


@pytest.mark.parametrize("reason", NOT_VIDEOS)
def test_other_file_types_are_named(tmp_path, reason):
    make_video(tmp_path / "secret.mp4", 5)
    path = tmp_path / "wrongly named.mp4"
    path.write_bytes(NOT_VIDEOS[reason])
    with pytest.raises(VideoError) as caught:
        probe_video(path)
    assert any(words in str(caught.value) for words in reason.split("|"))


@pytest.mark.parametrize(
    ("magic", "name"),
    [(b".RMF", "RealMedia"), (b"YUV4MPEG2 W1 H1", "raw video"), (b"GIF89a", "a GIF picture or animation")],
)
def test_for_unsupported_videos_the_advice_is_to_convert(tmp_path, magic, name):
    (tmp_path / "a.video").write_bytes(magic + bytes(500))
    with pytest.raises(VideoError, match=f"{name}.*Convert it to MP4"):
        probe_video(tmp_path / "a.video")


def test_the_film_of_a_video_cd_is_read(tmp_path):
    """A CD's sectors: 24 bytes before each pack of 2,324, and 4 behind it."""
    source, packs = make_video(tmp_path / "a.mp4", 60), tmp_path / "a.mpg"
    coding = ["-r", "25", "-c:v", "mpeg1video", "-q:v", "2", "-g", "10", "-f", "vcd", "-packetsize", "2324"]
    ffmpeg("-i", source, *coding, "-muxrate", "1411200", packs)
    stream = packs.read_bytes()
    sectors = b"".join(bytes(24) + stream[at : at + 2324] + bytes(4) for at in range(0, len(stream), 2324))
    header = b"RIFF" + struct.pack("<I", len(sectors) + 36) + b"CDXAfmt " + struct.pack("<I16x", 16) + b"data"
    path = tmp_path / "AVSEQ01.DAT"
    path.write_bytes(header + struct.pack("<I", len(sectors)) + sectors)
    video, index = probe_video(path)
    assert [number_of(frame.rgb) for frame in read_frames(path, video, index, 0, 60)] == list(range(60))
    assert_same_in_any_parts(path, video, index)
    path.write_bytes(path.read_bytes()[:-2352])
    with pytest.raises(VideoError, match="truncated"):
        probe_video(path)


def test_a_theora_film_of_ffmpeg_is_read(tmp_path):
    source = make_video(tmp_path / "a.mp4", 60)
    ffmpeg("-i", source, "-r", "25", "-q:v", "8", "-c:v", "libtheora", tmp_path / "a.ogv")
    video, index = probe_video(tmp_path / "a.ogv")
    assert (video.container, video.codec, video.frames) == ("ogg", "theora", 60)
    assert [number_of(frame.rgb) for frame in read_frames(tmp_path / "a.ogv", video, index, 0, 60)] == list(range(60))
    assert_same_in_any_parts(tmp_path / "a.ogv", video, index)
    with pytest.raises(VideoError, match="truncated"):
        probe_video(cut(tmp_path / "a.ogv", tmp_path / "part.ogv", 0.7))


def test_a_broadcast_that_begins_inside_a_packet_is_read(tmp_path):
    whole = make_video(tmp_path / "a.ts", 60).read_bytes()
    (tmp_path / "b.ts").write_bytes(whole[188 - 50 :])
    assert probe_video(tmp_path / "b.ts")[0].frames == 60


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
@pytest.mark.parametrize("packets_before", [61, 122])
def test_a_broadcast_with_a_long_gap_is_read_to_its_end(tmp_path, filling, packets_before):
    """FFmpeg gives up after 64 KB without a packet. This gap lies between packets and loses no picture."""
    whole = make_video(tmp_path / "a.ts", 60).read_bytes()
    path, at = tmp_path / "b.ts", 188 * min(packets_before, len(whole) // 188)
    path.write_bytes(whole[:at] + filling * (188 * 2000) + whole[at:])
    video, index = probe_video(path)
    assert [number_of(frame.rgb) for frame in read_frames(path, video, index, 0, 60)] == list(range(60))
    assert index.timestamps_s == pytest.approx(np.arange(60) / 25)
    assert_same_in_any_parts(path, video, index)


def test_reserved_space_after_a_broadcast_is_no_missing_end(tmp_path):
    path = make_video(tmp_path / "a.ts", 60)
    path.write_bytes(path.read_bytes() + bytes(1 << 20))
    assert path.stat().st_size % 188, "not a whole number of packets"
    assert probe_video(path)[0].frames == 60


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(("start", "stop"), [(12, 42), (30, 52), (3, 6)])
def test_a_gap_in_an_mp4_loses_only_its_own_frames(tmp_path, b_frames, start, stop):
    """Packets of zeros, as after a failing disk or an interrupted download."""
    path = make_video(tmp_path / "a.mp4", 60, b_frames=b_frames)
    whole = probe_video(path)[1]
    for packet in range(start, stop):
        path = damage(path, tmp_path / "a.mp4", packet, fill=0)
    video, index = probe_video(path)
    assert video.frames == 60
    assert index.timestamps_s == pytest.approx(whole.timestamps_s)
    assert video.time_repairs == ()
    found = {frame.number: number_of(frame.rgb) for frame in read_frames(path, video, index, 0, 60)}
    sound = [*range(start - 3), *range(-(-stop // 10) * 10, 60)]
    assert {number: found.get(number) for number in sound} == {number: number for number in sound}
    assert not found.keys() & set(range(start + 3, stop - 3))


OPEN_ENDED = ["a.ts", "a.mpg", "a.flv", "live.mkv", "fragmented.mp4", "a.h264"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ogg", "a.mxf", *OPEN_ENDED])
def test_only_some_containers_show_a_missing_end(tmp_path, name):
    codec = {"a.mpg": "mpeg1video", "a.mxf": "mpeg2video", "a.ogg": "libvpx"}.get(name, "libx264")
    path = tmp_path / name
    make_video(path, 20, codec=codec, options=None if codec == "libx264" else {}, b_frames=0)
    if name == "fragmented.mp4":
        make_video(path, 20, movflags=f"{FRAGMENTED}+skip_trailer")
    if name == "live.mkv":  # as from a muxer that cannot seek: the Segment's length is unknown
        data = path.read_bytes()
        at = data.index(b"\x18\x53\x80\x67") + 4
        path.write_bytes(data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :])
    with path.open("rb") as file:
        assert tells_its_end(file, path.stat().st_size) == (name not in OPEN_ENDED)


def test_a_playlist_does_not_open_other_files(tmp_path):
    make_video(tmp_path / "secret.mp4", 5)
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile 'secret.mp4'\n")
    for container in ("concat", "hls", "mov"):
        with (
            open_regular(playlist) as (_, name),
            pytest.raises(VideoError, match="cannot be opened"),
            open_container(name, container) as opened,
        ):
            assert not opened.streams.video


def test_sound_without_pictures_is_no_video(tmp_path):
    with pytest.raises(VideoError, match="has audio, but no video stream"):
        probe_video(make_sound(tmp_path / "sound.mp4"))


def test_a_video_without_frames_is_refused(tmp_path):
    with av.open(str(tmp_path / "none.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    with pytest.raises(VideoError, match=r"no video stream|no frames"):
        probe_video(tmp_path / "none.mp4")


def test_a_codec_without_a_decoder_is_named(tmp_path):
    path = make_video(tmp_path / "a.mp4", 5)
    with pytest.raises(VideoError, match="no decoder"):
        probe_video(patched(path, path, b"avc1", b"zzz1"))


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_absurd_dimensions_are_refused_before_decoding(tmp_path, side):
    path = make_video(tmp_path / "a.avi", 5, codec="ffv1", options={}, b_frames=0)
    with pytest.raises(VideoError, match="absurd dimensions"):
        probe_video(patched(path, path, struct.pack("<II", 128, 96), struct.pack("<II", side, side)))


def test_absurd_rates_durations_and_lengths_are_refused(tmp_path):
    fast = make_video(tmp_path / "fast.mp4", 20, times_s=[n / 60_000 for n in range(20)])
    with pytest.raises(VideoError, match="absurd frame rate: 60000 per second, more than 1000"):
        probe_video(fast)
    slow = make_video(tmp_path / "slow.mkv", 20, times_s=[n * 36_000.0 for n in range(20)])
    with pytest.raises(VideoError, match="absurd duration"):
        probe_video(slow)
    with pytest.raises(VideoError, match="more than 10 frames"):
        probe_video(make_video(tmp_path / "a.mp4", 20), Limits(max_frames=10))


def test_any_name_and_links_are_accepted_but_not_pipes_and_folders(tmp_path):
    path = make_video(tmp_path / "a 'quoted'\n\"$(name)\" file:x|y.mp4", 5)
    link = tmp_path / "link.mp4"
    link.symlink_to(path)
    assert probe_video(path)[0] == probe_video(link)[0]
    os.mkfifo(tmp_path / "pipe.mp4")
    for bad in (tmp_path / "pipe.mp4", tmp_path):
        with pytest.raises(VideoError, match="not a file"):
            probe_video(bad)
    with pytest.raises(AttemptError, match="cannot be opened"):
        probe_video(tmp_path / "absent.mp4")


def test_a_stored_record_gives_the_same_video(tmp_path):
    path = make_video(tmp_path / "a.mp4", 10)
    video, index = from_record(probe_record(path))
    assert (video, index.pts.tolist()) == (probe_video(path)[0], probe_video(path)[1].pts.tolist())
    with pytest.raises(ValueError, match="not the record"):
        from_record({"video": {}})


REAL_VIDEOS = [
    "intel_asl_walk.mkv",
    "intel_car-detection.mp4",
    "intel_one-by-one-person-detection.mp4",
    "mmaction2_test.avi",
    "mmpose_demo.mp4",
    "pixeltable_v_shooting_01_01.mpg",
    "posetrack_000001_mpiinew_test.mp4",
    "sports2d_demo.mp4",
]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL_VIDEOS)
def test_real_videos_have_the_frames_of_a_full_decode(data, name):
    path = data / "videos" / name
    video, index = probe_video(path)
    assert video.frames == decoded_count(path)
    assert_same_in_any_parts(path, video, index, (7,))
    assert len(in_parts(path, video, index, [0, video.frames])) == video.frames


@pytest.mark.real_data
def test_the_list_contains_every_real_video(data):
    assert sorted(REAL_VIDEOS) == sorted(path.name for path in (data / "videos").iterdir())


@pytest.mark.real_data
def test_real_frames_equal_those_that_opencv_decodes(data):
    """OpenCV counts from the start and applies rotation: an independent reader for numbers and pixels."""
    for name in (
        "videos/pixeltable_v_shooting_01_01.mpg",
        "videos/mmaction2_test.avi",
        "badvideo/decord_video_rot90.mov",
    ):
        path = data / name
        video, index = probe_video(path)
        capture = cv2.VideoCapture(str(path))
        for frame in read_frames(path, video, index, 0, min(video.frames, 40)):
            expected = capture.read()[1][:, :, ::-1]
            assert np.abs(frame.rgb.astype(int) - expected).mean() < 2


@pytest.mark.real_data
def test_real_bad_videos(data):
    folder = data / "badvideo"
    video, index = probe_video(folder / "decord_corrupted.mp4")
    assert video.frames == 50
    # One packet does not decode, and the decoder flags one more picture as corrupt.
    assert sorted(set(range(50)) - in_parts(folder / "decord_corrupted.mp4", video, index, [0, 50]).keys()) == [30, 32]
    assert_same_in_any_parts(folder / "decord_corrupted.mp4", video, index)
    video, index = probe_video(folder / "psd_delayed_start.mp4")
    assert (video.frames, index.timestamps_s[0]) == (24, pytest.approx(1.075))
    assert_same_in_any_parts(folder / "psd_delayed_start.mp4", video, index)
    assert probe_video(folder / "decord_unordered.mov")[0].frames == 4
    assert probe_video(folder / "decord_video_rot90.mov")[0].rotation == 90
    assert probe_video(folder / "decord_video_rot270.mov")[0].rotation == 270
    with pytest.raises(VideoError, match="a text file"):
        probe_video(folder / "pixeltable_bad_video.mp4")


def test_a_file_that_is_mostly_holes_is_refused_at_once(tmp_path: Path) -> None:
    """64 GB, of which the film takes a few kilobytes: reading the zeros would take minutes, twice."""
    path = make_video(tmp_path / "huge.mp4", 10)
    with path.open("ab") as file:
        file.write(struct.pack(">I4sQ", 1, b"free", (64 << 30) - path.stat().st_size))
        file.truncate(64 << 30)
    begun = time.monotonic()
    with pytest.raises(VideoError, match=r"sparse: of 68\.7 GB only 0\.0 MB are written\. Copy it again"):
        probe_video(path)
    assert time.monotonic() - begun < 30


def test_a_film_with_a_gap_is_read(tmp_path: Path) -> None:
    """Most of this file is written, and the hole is not part of the film."""
    path = make_video(tmp_path / "hole.mp4", 10)
    before = path.stat().st_size
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 300 << 20, b"free") + bytes(200 << 20))
        file.truncate(before + (300 << 20))
    assert probe_video(path)[0].frames == 10
