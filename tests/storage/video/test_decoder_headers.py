"""Files whose decoder needs data that only some packets carry: any keyframe gives the same pictures."""

from pathlib import Path

import numpy as np
import pytest

from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tests.ffmpeg import ffmpeg
from tests.videos import make_video, number_of, numbered_picture

FLV_HEADER_BYTES = 13
SCRIPT_TAG = 18


def flv_tags(data: bytes) -> list[bytes]:
    """Tags of an FLV file, each followed by its length; without the duration and size of the file."""
    position, tags = FLV_HEADER_BYTES, []
    while position < len(data):
        stop = position + 15 + int.from_bytes(data[position + 1 : position + 4])
        tags.append(data[position:stop])
        position = stop
    return [tag for tag in tags if tag[0] != SCRIPT_TAG]


def restarted_recording(tmp_path: Path, size: tuple[int, int]) -> Path:
    """A stream whose sender was restarted with other settings: 24 frames, a new codec header, 24 frames of `size`."""
    times_s = [number / 25 for number in range(49)]
    pictures = [numbered_picture(number, *(size if number >= 24 else (128, 96))) for number in range(48)]
    first = make_video(tmp_path / "a.flv", pictures=pictures[:24], times_s=times_s[:24], b_frames=0)
    main = {"preset": "veryfast", "crf": "18", "profile": "main"}
    second = make_video(tmp_path / "b.flv", pictures=pictures[24:], times_s=times_s[24:48], options=main, b_frames=0)
    path = tmp_path / "restarted.flv"
    path.write_bytes(first.read_bytes() + b"".join(flv_tags(second.read_bytes())))
    return path


@pytest.mark.parametrize("size", [(128, 96), (320, 240)])
def test_a_restarted_stream_is_read_from_every_keyframe(tmp_path: Path, size: tuple[int, int]) -> None:
    path = restarted_recording(tmp_path, size)
    video, index = probe_video(path)
    assert (video.width, video.frames) == (128, 48)
    assert index.keyframes.tolist() == [0, 10, 20, 24, 34, 44]
    assert index.key_headers.tolist() == [0, 0, 0, 1, 1, 1]
    for start in index.keyframes.tolist():
        assert [number_of(frame.rgb) for frame in read_frames(path, video, index, start, 48)] == list(range(start, 48))


def test_a_palette_applies_from_every_keyframe(tmp_path: Path) -> None:
    """An AVI with 256 colours, as old screen recorders and cameras wrote, delivers its palette only once."""
    source, path = make_video(tmp_path / "a.mp4", 20), tmp_path / "a.avi"
    ffmpeg("-i", source, "-c:v", "rawvideo", "-pix_fmt", "pal8", path)
    video, index = probe_video(path)
    whole = [frame.rgb for frame in read_frames(path, video, index, 0, 20)]
    assert [number_of(rgb) for rgb in whole] == list(range(20))
    assert len(index.keyframes) == 20
    for start in (1, 7, 19):
        part = next(read_frames(path, video, index, start, start + 1))
        assert np.array_equal(part.rgb, whole[start])


def test_an_ordinary_file_has_no_such_headers(tmp_path: Path) -> None:
    assert not len(probe_video(make_video(tmp_path / "a.flv", 20))[1].key_headers)
