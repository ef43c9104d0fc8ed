"""Writing videos: frames are read back, and files are complete or absent."""

import hashlib
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from storage.video.encode import ENCODERS, find_encoder, reproducible, write_video
from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tests.conftest import ROOT
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


WRITE_PAN = """
import os, sys
from pathlib import Path
from tests.storage.video.test_encode import written_pan
os.sched_setaffinity(0, {int(sys.argv[3])} if sys.argv[3] else os.sched_getaffinity(0))
print(written_pan(Path(sys.argv[1]), sys.argv[2]))
"""


def written_pan(folder, container):
    """Write a camera's turn with a reproducible x264 and return the hash of the file's bytes.

    320 pixels are 20 macroblocks, which x264 does not divide into eights.
    """
    noise = np.random.default_rng(1).integers(0, 256, (20, 40, 3)).astype(np.uint8)
    scenery = cv2.resize(noise, (800, 240), interpolation=cv2.INTER_CUBIC)
    frames = ((number / 25, np.ascontiguousarray(scenery[:, 7 * number : 7 * number + 320])) for number in range(40))
    encoder = reproducible(ENCODERS[0])._replace(container=container)
    return hashlib.sha256(write_video(folder / "pan", frames, 320, 240, 25.0, encoder).read_bytes()).hexdigest()


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_reproducible_bytes_depend_neither_on_memory_nor_on_cores(tmp_path, container):
    """glibc fills new memory with what MALLOC_PERTURB_ says."""

    def hash_of(perturb, core):
        command = [sys.executable, "-c", WRITE_PAN, str(tmp_path), container, core]
        env = os.environ | {"MALLOC_PERTURB_": perturb, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    core = str(min(os.sched_getaffinity(0)))
    assert hash_of("0", "") == hash_of("170", core)


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx", "mpeg4"])
def test_other_encoders_give_equal_bytes_again(tmp_path, codec):
    encoder = reproducible(next(item for item in ENCODERS if item.codec == codec))
    first, second = (write_video(tmp_path / name, pictures(30), 128, 96, 25.0, encoder) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


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
