"""Files larger than their films: the film is read, and the excess is counted."""

import random
import struct
from pathlib import Path

import pytest

from storage.video.probe import probe_video
from tests.videos import make_video

FRAMES, EXCESS = 20, 3 << 19
FILMS = {
    "a.mp4": {},
    "first.mp4": {"movflags": "+faststart"},
    "fragmented.mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "sound.mov": {"sound": True},
    "a.mkv": {},
    "a.avi": {"codec": "mpeg4", "options": {}},
    "a.ts": {},
    "a.flv": {},
    "a.mpg": {"codec": "mpeg1video", "options": {}},
    "a.wmv": {"codec": "wmv2", "options": {}, "b_frames": 0},
    "a.mxf": {"codec": "mpeg2video", "options": {}},
}
FILLINGS = {
    "zeros": bytes(EXCESS),
    "random": random.Random(7).randbytes(EXCESS),
    "text": b"hello wo" * (EXCESS // 8),
}


def box(kind: bytes, length: int) -> bytes:
    return struct.pack(">I4s", length, kind) + bytes(length - 8)


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("name", FILMS)
def test_data_after_a_film_is_counted_and_the_film_is_read(tmp_path: Path, name: str, filling: str) -> None:
    path = make_video(tmp_path / name, FRAMES, **FILMS[name])
    assert probe_video(path)[0].unused_bytes == 0
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + FILLINGS[filling])
    video, _ = probe_video(path)
    assert video.frames == FRAMES
    # Random bytes may look like a packet; an index counts if it cannot be distinguished from the excess.
    assert EXCESS * 0.95 < video.unused_bytes <= EXCESS + whole


@pytest.mark.parametrize("movflags", ["", "+faststart"])
def test_unused_space_inside_mdat_is_counted(tmp_path: Path, movflags: str) -> None:
    path = make_video(tmp_path / "a.mp4", FRAMES, movflags=movflags)
    data = path.read_bytes()
    start = data.index(b"mdat") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    stop = start + length
    longer = (length + EXCESS).to_bytes(4, "big")
    path.write_bytes(data[:start] + longer + data[start + 4 : stop] + bytes(EXCESS) + data[stop:])
    video, _ = probe_video(path)
    assert (video.frames, video.unused_bytes) == (FRAMES, EXCESS)


@pytest.mark.parametrize("kind", [b"free", b"skip", b"gps ", b"udta", b"uuid"])
def test_boxes_with_a_declared_length_are_no_excess(tmp_path: Path, kind: bytes) -> None:
    """As dashcams store positions, and cameras reserve space."""
    path = make_video(tmp_path / "a.mp4", FRAMES)
    path.write_bytes(path.read_bytes() + box(kind, EXCESS))
    assert (probe_video(path)[0].frames, probe_video(path)[0].unused_bytes) == (FRAMES, 0)


def test_space_declared_by_matroska_is_no_excess(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", FRAMES)
    data = path.read_bytes()
    at = data.index(b"\x18\x53\x80\x67") + 4
    length = int.from_bytes(data[at : at + 8], "big") - (1 << 56)
    void = b"\xec\x01" + (EXCESS - 9).to_bytes(7, "big") + b"\x07" * (EXCESS - 9)
    path.write_bytes(data[:at] + ((1 << 56) + length + EXCESS).to_bytes(8, "big") + data[at + 8 :] + void)
    assert (probe_video(path)[0].frames, probe_video(path)[0].unused_bytes) == (FRAMES, 0)


def test_little_data_after_a_long_film_is_no_excess(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", FRAMES)
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert probe_video(path)[0].unused_bytes == 0
