"""Writing videos: frames are read back, and files are complete or absent."""

import numpy as np
import pytest

from storage.video.encode import ENCODERS, find_encoder, write_video
from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tests.videos import number_of, numbered_picture

VARIABLE_S = [0.5, 0.54, 0.7, 1.0, 1.0334] + [1.1 + number * 1001 / 30_000 for number in range(40)]


def pictures(count, width=128, height=96):
    """(t_s, bgr) pairs."""
    for number in range(count):
        yield VARIABLE_S[number], np.ascontiguousarray(numbered_picture(number, width, height)[:, :, ::-1])


@pytest.mark.parametrize(
    "encoder", [item for item in ENCODERS if item.codec != "libopenh264"], ids=lambda item: item.codec
)
def test_frames_and_times_survive_a_round_trip(tmp_path, encoder):
    path = write_video(tmp_path / "a 'b'\n:c.avi", pictures(45), 128, 96, 25.0, encoder)
    assert path.suffix == encoder.suffix
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    video, index = probe_video(path)
    assert index.timestamps_s == pytest.approx(VARIABLE_S, abs=0.0006)
    frames = list(read_frames(path, video, index, 0, video.frames))
    assert [number_of(frame.rgb) for frame in frames] == list(range(45))
    assert np.abs(frames[7].rgb.astype(int) - numbered_picture(7)).mean() < 6


def test_a_browser_plays_the_file(tmp_path):
    encoder = find_encoder()
    data = write_video(tmp_path / "a", pictures(10), 128, 96, 25.0).read_bytes()
    assert encoder.codec == "libx264"
    assert encoder.plays
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # a browser starts before the file is complete
    assert data.index(b"avc1")


@pytest.mark.parametrize(("width", "height"), [(129, 95), (128, 97), (131, 96)])
def test_odd_sizes_get_one_more_row_or_column(tmp_path, width, height):
    video, index = probe_video(write_video(tmp_path / "a.mp4", pictures(5, width, height), width, height, 25.0))
    assert (video.width, video.height) == (width + width % 2, height + height % 2)
    frame = next(read_frames(tmp_path / "a.mp4", video, index, 4, 5))
    assert np.abs(frame.rgb[:height, :width].astype(int) - numbered_picture(4, width, height)).mean() < 6


@pytest.mark.parametrize("fps", [0.001, 12.5, 29.97, 100_000.0])
def test_any_rate_is_accepted(tmp_path, fps):
    assert probe_video(write_video(tmp_path / "a.mp4", pictures(5), 128, 96, fps))[0].frames == 5


def failing():
    yield from pictures(30)
    raise OSError("no space left")


@pytest.mark.parametrize(
    ("frames", "error"), [(failing(), OSError), (iter([]), ValueError), (pictures(5, 64, 64), ValueError)]
)
def test_an_error_leaves_only_the_previous_file(tmp_path, frames, error):
    (tmp_path / "a.mp4").write_bytes(b"last night's")
    with pytest.raises(error):
        write_video(tmp_path / "a.mp4", frames, 128, 96, 25.0)
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"last night's"]
