"""Files with damaged timestamps: frames keep their numbers, pixels, keyframes, and all valid times."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from models.types import FrameIndex, TimeRepair, Video
from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tests.ffmpeg import ffprobe
from tests.storage.damaged_stamps import rewrite_stamps
from tests.videos import make_video, number_of, numbered_picture

FRAMES, TICKS = 60, 3600
WRAP = 1 << 33


def assert_readable_in_parts(path: Path, video: Video, index: FrameIndex, frames: int = FRAMES) -> None:
    """Every picture shows its number, from the start and from every keyframe."""
    assert video.frames == len(index.timestamps_s) == frames
    assert np.all(np.diff(index.timestamps_s) > 0)
    starts = [0, *index.keyframes.tolist()[1:], frames - 3]
    for start, stop in zip(starts, [frames, *(start + 4 for start in starts[1:-1]), frames], strict=True):
        found = [(frame.number, number_of(frame.rgb)) for frame in read_frames(path, video, index, start, stop)]
        assert found == [(number, number) for number in range(start, stop)]


@pytest.mark.parametrize("b_frames", [0, 2])
def test_single_faults_in_mpeg_ts_stay_local(tmp_path: Path, b_frames: int) -> None:
    """One timestamp each: duplicate, missing, far ahead, far behind, back."""
    whole = make_video(tmp_path / "whole.ts", FRAMES, b_frames=b_frames, gop=10)
    truth = probe_video(whole)[1]
    changes = {12: None, 20: int(truth.pts[3]), 27: 1 << 31, 33: 5, 45: None, 51: 1 << 32}
    path = rewrite_stamps(whole, tmp_path / "damaged.ts", changes)
    video, index = probe_video(path)
    assert index.numbered_by == "packet"
    assert_readable_in_parts(path, video, index)
    hurt = {number for repair in video.time_repairs for number in range(repair.start_frame, repair.stop_frame)}
    assert len(hurt) <= 2 * len(changes)
    sound = [number for number in range(FRAMES) if number not in hurt]
    assert index.timestamps_s[sound] == pytest.approx(truth.timestamps_s[sound], abs=1e-9)
    assert index.timestamps_s == pytest.approx(truth.timestamps_s, abs=0.09)
    assert video.fps == pytest.approx(25, rel=0.03)
    assert len(index.keyframes) >= 4


def test_a_restarted_clock_in_mpeg_ts_keeps_its_rate(tmp_path: Path) -> None:
    """Two recordings in one file, as a restarted recorder writes them."""
    fast = make_video(tmp_path / "fast.ts", 30, b_frames=0)
    pictures = [numbered_picture(number) for number in range(30, 60)]
    slow = make_video(tmp_path / "slow.ts", b_frames=0, times_s=[n / 10 for n in range(30)], pictures=pictures)
    path = tmp_path / "both.ts"
    path.write_bytes(fast.read_bytes() + slow.read_bytes())
    video, index = probe_video(path)
    assert_readable_in_parts(path, video, index)
    assert np.diff(index.timestamps_s[:31]) == pytest.approx(1 / 25)
    assert np.diff(index.timestamps_s[30:]) == pytest.approx(1 / 10)
    assert [(repair.start_frame, repair.stop_frame, repair.frames) for repair in video.time_repairs] == [(30, 60, 0)]
    assert video.duration_s == pytest.approx(30 / 25 + 30 / 10, rel=0.03)
    assert index.keyframes.tolist() == [0, 10, 20, 30, 40, 50]


def test_a_wrapped_clock_in_mpeg_ts_continues(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", FRAMES, b_frames=0)
    stamps = {number: (WRAP - 30 * TICKS + number * TICKS) % WRAP for number in range(FRAMES)}
    path = rewrite_stamps(whole, tmp_path / "wrapped.ts", stamps)
    video, index = probe_video(path)
    assert_readable_in_parts(path, video, index)
    assert index.timestamps_s == pytest.approx(np.arange(FRAMES) / 25)
    assert video.time_repairs == ()


def test_a_wrapped_24_bit_clock_in_flv_continues(tmp_path: Path) -> None:
    """Writers that leave the upper eight bits at 0 restart every four and a half hours."""
    whole = make_video(tmp_path / "whole.flv", FRAMES, b_frames=0)
    stamps = {number: ((1 << 24) - 1200 + number * 40) % (1 << 24) for number in range(FRAMES)}
    path = rewrite_stamps(whole, tmp_path / "wrapped.flv", stamps)
    video, index = probe_video(path)
    assert_readable_in_parts(path, video, index)
    assert np.diff(index.timestamps_s) == pytest.approx(np.full(FRAMES - 1, 0.04), abs=1e-9)
    assert [repair.start_frame for repair in video.time_repairs] == [30]


@pytest.mark.parametrize("number", [0, FRAMES - 1])
@pytest.mark.parametrize("stamp", [None, 5 * (1 << 30)])
def test_a_fault_at_an_end_does_not_change_the_duration(tmp_path: Path, number: int, stamp: int | None) -> None:
    whole = make_video(tmp_path / "whole.ts", FRAMES, b_frames=0)
    path = rewrite_stamps(whole, tmp_path / "damaged.ts", {number: stamp})
    video, index = probe_video(path)
    assert_readable_in_parts(path, video, index)
    assert index.timestamps_s == pytest.approx(np.arange(FRAMES) / 25)
    assert video.duration_s == pytest.approx(FRAMES / 25, rel=0.03)


def test_a_stream_without_timestamps_has_the_rate_of_its_header(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", FRAMES, b_frames=0)
    path = rewrite_stamps(whole, tmp_path / "none.ts", dict.fromkeys(range(1, FRAMES), None))
    video, index = probe_video(path)
    assert_readable_in_parts(path, video, index)
    assert np.diff(index.timestamps_s) == pytest.approx(1 / 25, rel=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_any_faults_of_a_file_are_repaired(tmp_path: Path, seed: int) -> None:
    """Random combinations of faults: no frame is lost or moved, and the duration stays near the true one."""
    draw = random.Random(seed)
    suffix = draw.choice(["ts", "flv"])
    ticks, none = (TICKS, None) if suffix == "ts" else (40, 0)
    whole = make_video(tmp_path / f"whole.{suffix}", FRAMES, b_frames=0, gop=draw.choice([5, 10, 20]))
    truth = probe_video(whole)[1]
    hurt = draw.sample(range(2, FRAMES - 2, 2), 6)
    kinds = [none, 3 * ticks, 7_000 * ticks, 1 << 31, (1 << 31) - 5]
    changes = {number: draw.choice([*kinds, int(truth.pts[number - 1])]) for number in hurt}
    path = rewrite_stamps(whole, tmp_path / f"damaged.{suffix}", changes)
    video, index = probe_video(path)
    assert_readable_in_parts(path, video, index)
    sound = [number for number in range(FRAMES) if not {number, number + 1} & set(hurt)]
    assert index.timestamps_s[sound] == pytest.approx(truth.timestamps_s[sound], abs=1e-9)
    assert video.duration_s == pytest.approx(FRAMES / 25, rel=0.03)
    assert len(index.keyframes) > 1


def ffprobe_times(path: Path, stream: int = 0) -> list[float]:
    """Presentation times by another reader."""
    told = ffprobe("-select_streams", str(stream), "-of", "json", "-show_entries", "frame=pts_time", path)
    return [float(frame.get("pts_time", "nan")) for frame in json.loads(told)["frames"]]


@pytest.mark.cases
def test_a_repeated_timestamp_changes_no_other_frames_time(cases: Path) -> None:
    path = cases / "video" / "vfr_one_equal.webm"
    video, index = probe_video(path)
    theirs = np.array(ffprobe_times(path))
    others = np.delete(np.arange(40), 20)
    assert index.timestamps_s[others] == pytest.approx(theirs[others])
    assert theirs[19] < index.timestamps_s[20] < theirs[21]
    assert index.timestamps_s[-1] == pytest.approx(6.701)
    assert video.fps == pytest.approx(5.9, abs=0.1)
    assert index.keyframes.tolist() == [0, 10, 20, 30]
    assert video.time_repairs == (TimeRepair(20, 21, 1, None),)
    assert [frame.number for frame in read_frames(path, video, index, 30, 40)] == list(range(30, 40))


@pytest.mark.cases
def test_a_clock_set_during_recording_is_recorded_without_its_jump(cases: Path) -> None:
    video, index = probe_video(cases / "video" / "clock_set.mkv")
    assert video.frames == 20
    assert index.timestamps_s == pytest.approx(np.arange(20) * 0.08)
    assert (video.duration_s, video.fps) == pytest.approx((1.6, 12.5))
    assert video.time_repairs == (TimeRepair(10, 20, 0, pytest.approx(200_000)),)


@pytest.mark.cases
def test_a_single_frame_has_no_rate(cases: Path) -> None:
    path = cases / "video" / "single_tick.mp4"
    video, index = probe_video(path)
    assert (video.frames, video.fps) == (1, None)
    assert len(list(read_frames(path, video, index, 0, 1))) == 1


@pytest.mark.cases
def test_an_unmarked_thumbnail_is_not_the_film(cases: Path) -> None:
    video, _ = probe_video(cases / "video" / "thumb_first_unmarked.mkv")
    assert (video.width, video.height, video.frames) == (320, 240, 16)
    assert (video.stream, video.streams) == (1, 2)
